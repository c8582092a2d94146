#include "core/solvers/sensitivities.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "Eigen/Eigenvalues"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/problem/active_face.h"

namespace bilevel {
namespace {

// Curvatures below this share of the largest count as none.
constexpr double kFlat = 1e-9;
// A right-hand side with more than this share in flat directions has no answer.
constexpr double kUnanswerable = 1e-5;

// How x* answers when the gradient of phi moves.
class Response {
 public:
  Response(const BilevelProblem& problem, const ActiveFace& face, Hessian& hessian, const Interrupt& interrupt)
      : problem_(problem), face_(face), hessian_(hessian), interrupt_(interrupt) {}

  // Nothing when interrupted.
  bool Prepare() {
    const Eigen::Index n = hessian_.x().size();
    Eigen::MatrixXd matrix(n, n);
    for (Eigen::Index i = 0; i < n; ++i) {
      if (interrupt_.Check().has_value()) return false;
      matrix.col(i) = face_.Project(Curve(face_.Project(Vector::Unit(n, i))));
    }
    if (!matrix.allFinite() || interrupt_.Check().has_value()) return false;
    solver_.compute(0.5 * (matrix + matrix.transpose()));
    return true;
  }

  // Of F = sign * phi along v: (H + D) v.
  Vector Curve(const Vector& v) {
    return problem_.sign() * hessian_.Multiply(v, interrupt_) + face_.curvature().cwiseProduct(v);
  }

  // -Z (Z^T (H + D) Z)^+ Z^T move; empty where that does not determine it. move: of the gradient of F.
  Vector To(const Vector& move) const {
    const Vector b = face_.Project(move);
    const Eigen::VectorXd& curvature = solver_.eigenvalues();
    const double largest = curvature.cwiseAbs().maxCoeff();
    const Vector along = solver_.eigenvectors().transpose() * b;
    Vector answer = Vector::Zero(along.size());
    double lost = 0;
    for (Eigen::Index i = 0; i < along.size(); ++i) {
      if (std::abs(curvature[i]) > kFlat * largest) {
        answer[i] = -along[i] / curvature[i];
      } else {
        lost = std::hypot(lost, along[i]);
      }
    }
    if (lost > kUnanswerable * b.norm()) return {};
    return solver_.eigenvectors() * answer;
  }

 private:
  const BilevelProblem& problem_;
  const ActiveFace& face_;
  Hessian& hessian_;
  const Interrupt& interrupt_;
  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver_;
};

class SensitivitySolver {
 public:
  SensitivitySolver(const BilevelProblem& problem, Hessian& hessian, const Interrupt& interrupt)
      : problem_(problem),
        hessian_(hessian),
        interrupt_(interrupt),
        x_(hessian.x()),
        sign_(problem.sign()),
        face_(problem.feasible_set, x_, sign_ * Gradient(), problem.penalties.l1) {}

  Sensitivities Run() {
    const Eigen::Index n = x_.size();
    if (n > kMaxSensitivityParameters) {
      result_.note = absl::StrCat("dx* left out: ", n, " parameters; at most ", kMaxSensitivityParameters);
    } else if (Ties()) {
      result_.note = "dx* left out: several contexts share the gradient of the worst case";
    } else {
      response_.emplace(problem_, face_, hessian_, interrupt_);
      if (!response_->Prepare()) {
        response_.reset();
        result_.note = interrupt_.Check().has_value() ? "dx* left out: no time was left"
                                                      : "dx* left out: the Hessian or a multiplier is not finite";
      }
    }
    for (size_t c = 0; c < problem_.contexts.size(); ++c) AddContext(c);
    AddGroups();
    AddLimits();
    result_.lower = sign_ * face_.multipliers().lower;
    result_.upper = sign_ * face_.multipliers().upper;
    result_.squared_l2 = Answer(0.5 * sign_ * x_.squaredNorm(), [this] { return Vector(sign_ * x_); });
    result_.l1 = Answer(sign_ * x_.lpNorm<1>(), [this] {
      return Vector(sign_ * x_.unaryExpr([](double v) { return (v > 0) - (v < 0) + 0.0; }));
    });
    if (undetermined_ > 0 && result_.note.empty()) {
      result_.note = absl::StrCat("dx* left out for ", Counted(undetermined_, "number"),
                                  ": the objective does not curve in the directions that x is pushed; optima along "
                                  "them differ in d phi*, which is that of the one found");
    }
    return std::move(result_);
  }

 private:
  // Whether two contexts or more are the worst.
  bool Ties() const {
    return problem_.aggregation == Aggregation::kWorstCase &&
           std::count_if(hessian_.weights().begin(), hessian_.weights().end(), [](double w) { return w != 0; }) > 1;
  }

  Vector Gradient() const {
    ParameterGradient total(x_.size());
    for (size_t c = 0; c < hessian_.contexts().size(); ++c) {
      if (hessian_.weights()[c] != 0) total.Add(hessian_.weights()[c], hessian_.contexts()[c].gradient.gradient);
    }
    return problem_.AssembleGradient(total, x_);
  }

  // objective: d phi/dp at x fixed. gradient_move: makes d(grad phi)/dp, when there is use and time for it.
  template <typename GradientMove>
  Sensitivity Answer(double objective, GradientMove gradient_move) {
    Sensitivity result{objective, {}};
    if (!response_.has_value()) return result;
    if (interrupt_.Check().has_value()) {
      if (result_.note.empty()) result_.note = "dx* left out in part: no time was left";
      return result;
    }
    result.parameters = response_->To(sign_ * gradient_move());
    if (result.parameters.size() == 0) ++undetermined_;
    return result;
  }

  void AddContext(size_t c) {
    const Context& context = problem_.contexts[c];
    const Hessian::ContextState& state = hessian_.contexts()[c];
    const double weight = hessian_.weights()[c];
    // Under the worst case, its multiplier.
    const bool worst_case = problem_.aggregation == Aggregation::kWorstCase;
    const double share = !worst_case ? 1 : weight == 0 ? 0 : weight / context.weight;
    ContextSensitivities& result = result_.contexts.emplace_back();
    if (!std::isfinite(state.solution.residual)) {
      // A follower without weight whose values overflow.
      result.weight.objective = std::numeric_limits<double>::quiet_NaN();
      result.term_weights.resize(context.objective.size());
      if (result_.note.empty()) result_.note = absl::StrCat("context ", c, " left out: its values overflow");
      return;
    }
    result.weight = share == 0 ? Zero() : Answer(share * state.gradient.objective.value, [&] {
      return Vector(share * hessian_.ContextGradientOf(c));
    });
    for (size_t t = 0; t < context.objective.size(); ++t) {
      result.term_weights.push_back(weight == 0 ? Zero()
                                                : Answer(weight * state.gradient.objective.terms[t].value, [&] {
                                                    return Vector(weight * hessian_.TermGradient(c, t, interrupt_));
                                                  }));
    }
    std::vector<double> unit(problem_.contexts.size(), 0.0);
    unit[c] = 1;
    const Vector nowhere = Vector::Zero(x_.size());
    result.discount = weight == 0 ? Zero() : Answer(weight * DiscountDerivative(context, state), [&] {
      return hessian_.Differentiate({nowhere, {}, unit, {}}, interrupt_);
    });
    result.temperature = weight == 0 ? Zero() : Answer(weight * TemperatureDerivative(state), [&] {
      return hessian_.Differentiate({nowhere, {}, {}, unit}, interrupt_);
    });
  }

  Sensitivity Zero() const { return {0, Vector::Zero(response_.has_value() ? x_.size() : 0)}; }

  // df/dgamma = sum lambda (P V) + sum over terms that follow it of d pi (P V_u).
  static double DiscountDerivative(const Context& context, const Hessian::ContextState& state) {
    const TabularMdp& mdp = state.world->mdp();
    double sum = state.gradient.adjoint.reward_gradient.dot(mdp.ExpectNext(state.solution.value));
    for (size_t t = 0; t < context.objective.size(); ++t) {
      const bool follows = std::visit(
          [](const auto& measure) {
            if constexpr (requires { measure.discount; }) return !measure.discount.has_value();
            return false;
          },
          context.objective[t].measure);
      const TermValue& term = state.gradient.objective.terms[t];
      if (follows) {
        sum += context.objective[t].weight * term.occupancy.visits.dot(mdp.ExpectNext(term.policy_value.value));
      }
    }
    return sum;
  }

  // df/dtau = -(1/tau) [ sum_s z' H + sum_sa yc log pi ].
  static double TemperatureDerivative(const Hessian::ContextState& state) {
    const SoftBackup& backup = state.solution.backup;
    const Adjoint& adjoint = state.gradient.adjoint;
    return (adjoint.z.dot(NegativeEntropy(state.world->mdp(), backup)) - adjoint.centered_y.dot(backup.log_pi)) /
           state.follower.temperature;
  }

  void AddGroups() {
    const Vector& gradient = hessian_.theta_gradient();
    const Vector unscaled = problem_.map.ApplyUnscaled(x_);
    Vector probabilities = Vector::Zero(x_.size());
    for (const Context& context : problem_.contexts) {
      if (context.dynamics.has_value()) probabilities = probabilities.cwiseMax(context.dynamics->used());
    }
    Eigen::Index first = 0;
    for (const ParameterGroup& group : problem_.map.groups()) {
      const auto segment = [&](const Vector& v) { return v.segment(first, group.size); };
      if (!segment(probabilities).isZero(0)) {
        result_.group_scales.push_back({});  // no other scale gives probabilities
        first += group.size;
        continue;
      }
      const double objective = segment(gradient).dot(segment(unscaled));
      result_.group_scales.push_back(Answer(objective, [&] {
        // theta moves by the group's map itself, and J^T of the group grows in proportion.
        Vector move = Vector::Zero(x_.size()), of_group = move;
        move.segment(first, group.size) = segment(unscaled);
        of_group.segment(first, group.size) = segment(gradient);
        return Vector(hessian_.Differentiate({Vector::Zero(x_.size()), move, {}, {}}, interrupt_) +
                      problem_.map.PullbackUnscaled(x_, of_group));
      }));
      first += group.size;
    }
  }

  void AddLimits() {
    Eigen::Index first = 0;
    for (size_t b = 0; b < problem_.feasible_set.blocks().size(); ++b) {
      const double objective = sign_ * face_.multipliers().limit[static_cast<Eigen::Index>(b)];
      // What keeps the face, and how x answers to it.
      Vector carried;
      Sensitivity& limit = result_.limits.emplace_back(Answer(objective, [&] {
        carried = face_.FollowLimit(first);
        return Vector(sign_ * response_->Curve(carried));
      }));
      if (limit.parameters.size() != 0) limit.parameters += carried;
      first += problem_.feasible_set.blocks()[b].size;
    }
  }

  const BilevelProblem& problem_;
  Hessian& hessian_;
  const Interrupt& interrupt_;
  const Vector& x_;
  const double sign_;
  const ActiveFace face_;
  std::optional<Response> response_;
  Sensitivities result_;
  int undetermined_ = 0;
};

}  // namespace

absl::StatusOr<Sensitivities> ComputeSensitivities(const BilevelProblem& problem, const LowerLevelOptions& options,
                                                   const Vector& x, const WarmStart& start,
                                                   const Interrupt& interrupt) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Hessian> hessian, Hessian::Create(problem, options, x, start, interrupt));
  if (hessian->termination().reason == StopReason::kDiverged || interrupt.Check().has_value()) {
    Sensitivities nothing;
    nothing.note = "left out: " + hessian->termination().detail;
    return nothing;
  }
  return SensitivitySolver(problem, *hessian, interrupt).Run();
}

}  // namespace bilevel
