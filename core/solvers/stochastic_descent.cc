#include "core/solvers/stochastic_descent.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {

absl::Status StochasticDescentOptions::Validate() const {
  const auto positive = [](const char* field, double value) {
    if (value > 0 && std::isfinite(value)) return absl::OkStatus();
    return FieldError(field, absl::StrCat("is ", ToText(value), "; must be finite and > 0"));
  };
  RETURN_IF_ERROR(positive("first_step", first_step));
  RETURN_IF_ERROR(positive("confidence", confidence));
  if (!(gradient_tolerance >= 0) || !std::isfinite(gradient_tolerance)) {
    return FieldError("gradient_tolerance",
                      absl::StrCat("is ", ToText(gradient_tolerance), "; must be finite and >= 0"));
  }
  if (max_steps < 1) return FieldError("max_steps", absl::StrCat("is ", max_steps, "; must be >= 1"));
  if (steps.has_value()) RETURN_IF_ERROR(WithField("steps", steps->Validate(1e12)));
  if (!averaging.has_value()) return absl::OkStatus();
  if (!momentum) return FieldError("averaging", "is of momentum alone");
  return WithField("averaging", averaging->Validate());
}

StochasticDescent::StochasticDescent(const BilevelProblem& problem, const Vector& start,
                                     const StochasticDescentOptions& options)
    : problem_(&problem), options_(options) {
  Restart(start);
}

void StochasticDescent::Restart(const Vector& x) {
  x_ = problem_->feasible_set.Project(x);
  previous_x_ = x_;
  direction_ = variance_ = Vector::Zero(x_.size());
  steps_ = 0;
  best_.reset();
  earlier_best_.reset();
  termination_.reset();
}

double StochasticDescent::Averaging() const {
  if (!options_.momentum || steps_ == 0) return 1;
  if (options_.averaging.has_value()) return options_.averaging->At(static_cast<double>(steps_));
  return largest_ > 0 ? std::pow(SquareSum(), -2.0 / 3) : 1;
}

double StochasticDescent::kept_share() const { return 1 - Averaging(); }

Vector StochasticDescent::StepFrom(const Vector& x, double step, const Vector& direction) const {
  return problem_->feasible_set.Prox(x - step * problem_->sign() * direction, step * problem_->penalties.l1);
}

double StochasticDescent::MapNorm(const Vector& gradient) const {
  const double trial = options_.first_step / std::max(gradient.norm(), problem_->penalties.l1);
  return std::isinf(trial) ? 0 : (x_ - StepFrom(x_, trial, gradient)).norm() / trial;
}

double StochasticDescent::StepSize(const Vector& gradient) {
  if (options_.steps.has_value()) return options_.steps->At(static_cast<double>(steps_ - 1));
  const double norm = MapNorm(gradient);
  squares_ += norm * norm;
  largest_ = std::max(largest_, std::sqrt(squares_ / static_cast<double>(++norms_)));
  if (largest_ == 0) return 0;
  const double step = options_.first_step / (largest_ * std::pow(SquareSum(), options_.momentum ? 1.0 / 3 : 0.5));
  return std::min(step, options_.first_step / MapNorm(direction_));
}

bool StochasticDescent::IsBetter(const DescentStep& step, const std::optional<DescentStep>& than) const {
  const auto worst_case = [this](const DescentStep& of) {
    return problem_->sign() * of.objective + options_.confidence * of.objective_standard_error;
  };
  return !than.has_value() || worst_case(step) < worst_case(*than);
}

const std::optional<DescentStep>& StochasticDescent::best() const {
  return best_.has_value() && earlier_best_.has_value() && IsBetter(*earlier_best_, best_) ? earlier_best_ : best_;
}

const DescentStep& StochasticDescent::Take(const GradientSample& sample) {
  const double kept = sample.previous.size() == 0 ? 0 : kept_share(), averaging = 1 - kept;
  constexpr double kUnknown = std::numeric_limits<double>::infinity();
  const auto variance = [=](const Vector& error, Eigen::Index n) {
    return error.size() == 0 ? Vector::Constant(n, kUnknown) : Vector(error.cwiseAbs2());
  };
  if (kept > 0) {
    direction_ = sample.gradient + kept * (direction_ - sample.previous);
    // Batches are independent of each other.
    variance_ = kept * kept * variance_ + variance(sample.innovation_standard_error, x_.size());
  } else {
    direction_ = sample.gradient;
    variance_ = variance(sample.standard_error, x_.size());
  }
  ++steps_;
  DescentStep step{.number = steps_,
                   .x = x_,
                   .direction = direction_,
                   .step_size = StepSize(sample.gradient),
                   .averaging = averaging,
                   .objective = sample.objective,
                   .objective_standard_error = sample.objective_standard_error,
                   .gradient_norm = problem_->ProjectedGradientNorm(x_, direction_),
                   .gradient_norm_error = std::sqrt(variance_.sum())};
  const bool power_of_two = (steps_ & (steps_ - 1)) == 0;
  if (power_of_two) earlier_best_ = std::exchange(best_, std::nullopt);
  if (IsBetter(step, best_)) best_ = step;
  const double upper_end = step.gradient_norm + options_.confidence * step.gradient_norm_error;
  if (upper_end <= options_.gradient_tolerance) {
    termination_ = {
        StopReason::kConverged,
        absl::StrCat("the projected gradient's norm is at most ", upper_end, ", ", ToText(options_.confidence),
                     " standard errors included; gradient_tolerance is ", ToText(options_.gradient_tolerance))};
  } else if (steps_ >= options_.max_steps) {
    termination_ = {StopReason::kIterationLimit,
                    absl::StrCat("max_steps = ", options_.max_steps, " were taken; the projected gradient's norm is ",
                                 step.gradient_norm, " +- ", step.gradient_norm_error)};
  }
  if (!stopped()) {
    Vector next = StepFrom(x_, step.step_size, direction_);
    if (next.allFinite() && problem_->map.Apply(next).allFinite()) {
      previous_x_ = std::exchange(x_, std::move(next));
    } else {
      termination_ = {StopReason::kDiverged, absl::StrCat("a step of ", ToText(step.step_size),
                                                          " times the direction leads where parameters, or what their "
                                                          "groups map them to, are not finite")};
    }
  }
  last_ = std::move(step);
  return *last_;
}

}  // namespace bilevel
