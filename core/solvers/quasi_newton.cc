#include "core/solvers/quasi_newton.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/solvers/model_step.h"
#include "core/solvers/monotone_descent.h"

namespace bilevel {
namespace {

using Outcome = MonotoneDescent::Outcome;

// Of the line search along a quasi-Newton direction, before the pairs are dropped.
constexpr int kMaxTrials = 20;
// Of the longest move that a gradient step may make. On Four-Rooms at temperature 0.001 and beta 1, 24 starts end
// at 1.13 on average with it and at 0.90 without: long steps of a young model skip over good optima.
constexpr double kTrusted = 0.3;

class QuasiNewtonSteps {
 public:
  QuasiNewtonSteps(const BilevelProblem& problem, const QuasiNewtonOptions& method, const Interrupt& interrupt,
                   MonotoneDescent& descent)
      : problem_(problem),
        interrupt_(interrupt),
        descent_(descent),
        model_(method.memory, WorstCaseStages::Apply(problem) ? QuasiNewtonState() : method.state) {}

  absl::StatusOr<Outcome> Step() {
    if (std::exchange(stage_, descent_.stage()) != descent_.stage()) model_.Clear();
    const Vector x = descent_.current().x, gradient = descent_.Gradient();
    ASSIGN_OR_RETURN(const Outcome outcome, Move(x, gradient));
    if (outcome != Outcome::kMoved) return outcome;
    if (!model_.Add(descent_.current().x - x, descent_.Gradient() - gradient)) ++without_pair_;  // [D1]
    return outcome;
  }

  const QuasiNewtonState& state() const { return model_.state(); }

  std::vector<std::string> Notes() const {
    std::vector<std::string> notes;
    if (without_pair_ > 0) {
      notes.push_back(Counted(without_pair_, "step") + " brought no pair: the objective does not curve there");
    }
    if (restarts_ > 0) {
      notes.push_back(
          absl::StrCat("pairs dropped ", Counted(restarts_, "time"), ", where they gave no direction of descent"));
    }
    return notes;
  }

 private:
  absl::StatusOr<Outcome> Move(const Vector& x, const Vector& gradient) {
    if (!model_.empty()) {
      ASSIGN_OR_RETURN(const Outcome outcome, Search(x, gradient, ModelDirection(x, gradient), kMaxTrials));
      if (outcome != Outcome::kNoDescent) return outcome;
      model_.Clear();  // [D3]
      ++restarts_;
    }
    return Search(x, gradient, GradientDirection(x, gradient), MonotoneDescent::kMaxTrials);
  }

  // (1)
  Vector ModelDirection(const Vector& x, const Vector& gradient) const {
    if (problem_.penalties.l1 == 0 && problem_.feasible_set.unconstrained()) return -model_.Solve(gradient);
    return MinimizeModel(model_, problem_.feasible_set, problem_.penalties.l1, x, gradient, interrupt_);
  }

  Vector GradientDirection(const Vector& x, const Vector& gradient) const {
    const double t = 1 / std::max(gradient.norm(), 1e-12);
    return problem_.feasible_set.Prox(x - t * gradient, t * problem_.penalties.l1) - x;
  }

  // (2)
  absl::StatusOr<Outcome> Search(const Vector& x, const Vector& gradient, Vector d, int max_trials) {
    d *= std::min(1.0, kTrusted * descent_.LongestMove() / std::max(d.norm(), 1e-300));  // [D2]
    const double longer = ((x + d).cwiseAbs() - x.cwiseAbs()).sum();
    const double slope = gradient.dot(d) + problem_.penalties.l1 * longer;
    if (!(slope < 0)) return Outcome::kNoDescent;
    const auto along = [&](double t) {
      // The projection undoes the rounding of x + t d.
      return MonotoneDescent::Trial{problem_.feasible_set.Project(x + t * d),
                                    -MonotoneDescent::kSufficientDecrease * t * slope};
    };
    return descent_.Search(1, along, max_trials);
  }

  const BilevelProblem& problem_;
  const Interrupt& interrupt_;
  MonotoneDescent& descent_;
  LimitedMemory model_;
  int stage_ = 0;
  int without_pair_ = 0;
  int restarts_ = 0;
};

}  // namespace

absl::Status QuasiNewtonOptions::Validate() const {
  if (memory < 1 || memory > kMaxMemory) {
    return FieldError("memory", absl::StrCat("is ", memory, "; must be in [1, ", kMaxMemory, "]"));
  }
  if (state.steps.cols() > memory) {
    return FieldError("state.steps",
                      absl::StrCat("has ", state.steps.cols(), " pairs; must have at most memory = ", memory));
  }
  return WithField("state", state.Validate());
}

absl::StatusOr<OuterResult> SolveQuasiNewton(const BilevelProblem& problem, const Vector& start,
                                             const QuasiNewtonOptions& method, const OuterOptions& options,
                                             const Interrupt& interrupt, ProgressReporter& reporter) {
  const Eigen::Index rows = method.state.steps.rows();
  if (method.state.steps.cols() > 0 && rows != problem.num_parameters) {
    return FieldError("state.steps", absl::StrCat("has pairs of ", rows,
                                                  " entries; must have num_parameters = ", problem.num_parameters));
  }
  MonotoneDescent descent(problem, options, interrupt, reporter);
  QuasiNewtonSteps stepper(problem, method, interrupt, descent);
  ASSIGN_OR_RETURN(OuterResult result, descent.Run(start, [&] { return stepper.Step(); }));
  result.quasi_newton = stepper.state();
  result.notes = stepper.Notes();
  return result;
}

}  // namespace bilevel
