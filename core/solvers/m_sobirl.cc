// Laid out after Yang, Gao, Yuan (2025), arXiv:2405.19697, algorithm 1. Deviations:
// [D1] the adjoint step may also be the 1-norm iteration or a linear solve; the paper's single step is the default;
// [D2] zeta defaults to 1 / lambda_max(A^T A), followed by power iteration, and is lowered when it must diverge;
// [D3] the result is re-evaluated by the exact hyper-gradient, which also decides convergence;
// [D4] objectives of the follower's value and dynamics that depend on x, which the paper does not have.

#include "core/solvers/m_sobirl.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/mdp/soft_bellman.h"
#include "core/problem/terms/context_objective.h"
#include "core/problem/world.h"

namespace bilevel {
namespace {

constexpr int kFirstPowerIterations = 100;
constexpr double kRelativeNoise = 1e-12;
// The exact gradient is asked for when |h| meets the tolerance; if it does not agree, not again for this many steps.
constexpr int kConvergencePatience = 10;
constexpr double kDivergence = 1e12;
// Of residuals |T V - V|_inf.
constexpr double kMuchNearer = 10;

// What the single loop carries for one context.
struct TrackedFollower {
  Vector value;       // V_k [S]
  SoftBackup backup;  // T at V_k: Q_k and pi_k
  Vector w;           // w_k [S]
  std::unique_ptr<World> world;
  Vector singular;        // direction of the largest singular value of A
  double lambda_max = 0;  // of A^T A, from below
  std::optional<double> zeta;
};

class MSobirlSolver {
 public:
  MSobirlSolver(const BilevelProblem& problem, const MSobirlOptions& method, const OuterOptions& options,
                const Interrupt& interrupt, ProgressReporter& reporter)
      : problem_(problem), method_(method), options_(options), interrupt_(interrupt), reporter_(reporter) {}

  absl::StatusOr<OuterResult> Run(const Vector& start) {
    x_ = problem_.feasible_set.Project(start);
    Initialise();
    RETURN_IF_ERROR(CheckZeta());
    best_x_ = x_;
    int recheck = 0;
    Vector h;
    while (true) {
      FollowAdjoint();
      h = Direction();
      h_norm_ = problem_.ProjectedGradientNorm(x_, h);
      KeepIfBest(h);
      ReportIteration(
          iterations_, [this] { return MakeProgress(); }, reporter_, options_.record_history ? &history_ : nullptr);
      if (iterations_ == 0) first_h_norm_ = h_norm_;
      if (!std::isfinite(h_norm_) || !std::isfinite(objective_) ||
          h_norm_ > kDivergence * std::max(1.0, first_h_norm_)) {
        if (iterations_ > 0) x_ = best_x_;
        Stop(StopReason::kDiverged,
             absl::StrCat("|h| = ", ToText(h_norm_), " at iteration ", iterations_, "; lower step_size or zeta"));
        break;
      }
      if (h_norm_ <= options_.gradient_tolerance && iterations_ >= recheck && HasRoomFor(2)) {
        ASSIGN_OR_RETURN(const bool stationary, StationaryExactly());
        if (stationary) break;
        recheck = iterations_ + kConvergencePatience;
      }
      if (Limited()) break;
      last_finite_x_ = x_;
      // x_{k+1} = Project(x_k - beta h_k)
      x_ = problem_.feasible_set.Prox(x_ - method_.step_size * problem_.sign() * h,
                                      method_.step_size * problem_.penalties.l1);
      ++iterations_;
      if (!x_.allFinite()) {
        x_ = last_finite_x_;
        Stop(StopReason::kDiverged, absl::StrCat("x overflowed at iteration ", iterations_, "; lower step_size"));
        break;
      }
      UpdateFollowers();
    }
    return Conclude(h);
  }

 private:
  // V_1 = T^N V_0 (V_0 = 0 unless warm), w_0 = 0.
  void Initialise() {
    followers_.resize(problem_.contexts.size());
    for (size_t c = 0; c < followers_.size(); ++c) {
      const int S = problem_.contexts[c].mdp->num_states();
      TrackedFollower& follower = followers_[c];
      const WarmStart& warm = options_.warm_start;
      const bool has_value = c < warm.values.size() && warm.values[c].size() == S;
      follower.value = has_value ? warm.values[c] : Vector::Zero(S);
      follower.w = Vector::Zero(S);
      follower.world =
          std::make_unique<World>(problem_, c, SystemKind(options_.lower_level, *problem_.contexts[c].mdp));
      follower.zeta = method_.zeta;
    }
    UpdateFollowers();
    if (method_.adjoint_step != MSobirlOptions::AdjointStep::kGradient) return;
    for (TrackedFollower& follower : followers_) {
      // Slightly uneven, so that it is orthogonal to no singular vector that matters.
      follower.singular = Vector::LinSpaced(follower.value.size(), 1.0, 2.0).normalized();
    }
    for (int i = 0; i < kFirstPowerIterations && !interrupt_.Check().has_value(); ++i) {
      for (size_t c = 0; c < followers_.size(); ++c) EstimateLambda(c);
    }
  }

  // V <- T_x^N V, pi = softmax(Q / tau).
  void UpdateFollowers() {
    theta_ = problem_.map.Apply(x_);
    Vector backup;
    for (TrackedFollower& follower : followers_) {
      const RegularizedMdp mdp = follower.world->At(x_, theta_);
      for (int i = 0; i < method_.sweeps && !interrupt_.Check().has_value(); ++i) {
        SoftValueBackup(mdp, follower.value, backup);
        std::swap(follower.value, backup);
      }
      follower.backup = ApplySoftBellman(mdp, follower.value);
      follower.world->system().SetPolicy(follower.backup.pi);
    }
  }

  // A w, A = (I - gamma P^pi)^T, and its transpose.
  Vector ApplyA(size_t c, const Vector& w) {
    return w - problem_.contexts[c].discount * followers_[c].world->system().MultiplyTransposed(w);
  }
  Vector ApplyATransposed(size_t c, const Vector& v) {
    return v - problem_.contexts[c].discount * followers_[c].world->system().Multiply(v);
  }

  // One power iteration for lambda_max(A^T A); the estimate never exceeds it.
  void EstimateLambda(size_t c) {
    TrackedFollower& follower = followers_[c];
    const Vector image = ApplyA(c, follower.singular);
    follower.lambda_max = image.squaredNorm();
    const Vector next = ApplyATransposed(c, image);
    if (const double norm = next.norm(); norm > 0 && std::isfinite(norm)) follower.singular = next / norm;
  }

  absl::Status CheckZeta() {
    if (method_.adjoint_step != MSobirlOptions::AdjointStep::kGradient || !method_.zeta.has_value()) {
      return absl::OkStatus();
    }
    for (size_t c = 0; c < followers_.size(); ++c) {
      if (*method_.zeta >= 2 / followers_[c].lambda_max) {
        return FieldError("zeta", absl::StrCat("is ", ToText(*method_.zeta), "; in context ", c,
                                               " it must be below 2 / lambda_max(A^T A) = ",
                                               ToText(2 / followers_[c].lambda_max), ", or w diverges"));
      }
    }
    return absl::OkStatus();
  }

  double Zeta(size_t c) {
    TrackedFollower& follower = followers_[c];
    EstimateLambda(c);
    if (!follower.zeta.has_value()) return 1 / follower.lambda_max;
    if (*follower.zeta >= 2 / follower.lambda_max) {
      const double lowered = 1 / follower.lambda_max;
      notes_.push_back(absl::StrCat("zeta lowered from ", ToText(*follower.zeta), " to ", ToText(lowered),
                                    " in context ", c, " at iteration ", iterations_,
                                    ": it had reached 2 / lambda_max(A^T A)"));
      follower.zeta = lowered;
    }
    return *follower.zeta;
  }

  // Evaluates y_k and takes one step of w_k towards A_k w = b_k = U^T y_k.
  void FollowAdjoint() {
    objectives_.clear();
    values_.clear();
    for (size_t c = 0; c < followers_.size(); ++c) {
      TrackedFollower& follower = followers_[c];
      const Context& context = problem_.contexts[c];
      const TabularMdp& mdp = follower.world->mdp();
      const TermInput input{mdp,
                            context.discount,
                            follower.value,
                            follower.backup,
                            x_,
                            theta_,
                            follower.world->system(),
                            options_.lower_level.adjoint_tolerance,
                            interrupt_,
                            context.dynamics.has_value()};
      ContextObjective value = EvaluateContextObjective(context, input);
      Vector b = SumOverActions(mdp, value.y) - context.discount * mdp.PushForward(value.y);
      if (value.follower_value.size() != 0) b -= context.temperature * value.follower_value;  // [D4]
      switch (method_.adjoint_step) {
        case MSobirlOptions::AdjointStep::kGradient:
          follower.w -= Zeta(c) * ApplyATransposed(c, ApplyA(c, follower.w) - b);
          break;
        case MSobirlOptions::AdjointStep::kL1:
          follower.w = b + context.discount * follower.world->system().MultiplyTransposed(follower.w);
          break;
        case MSobirlOptions::AdjointStep::kKrylov:
          follower.world->system().SolveTransposed(
              context.discount, b, options_.lower_level.adjoint_tolerance * b.lpNorm<1>(), interrupt_, follower.w);
          break;
      }
      objectives_.push_back(value.value);
      values_.push_back(std::move(value));
    }
    objective_ = problem_.Aggregate(objectives_, x_);
  }

  // h_k = df/dx + J_r^T (y_k - pi_k w_k) / tau.
  Vector Direction() const {
    const std::vector<double> weights = problem_.ActiveWeights(objectives_);
    ParameterGradient total(x_.size());
    for (size_t c = 0; c < followers_.size(); ++c) {
      if (weights[c] == 0) continue;
      const Context& context = problem_.contexts[c];
      const Vector lambda = (values_[c].y - followers_[c].backup.pi.cwiseProduct(
                                                RepeatForActions(followers_[c].world->mdp(), followers_[c].w))) /
                            context.temperature;
      ParameterGradient gradient = values_[c].direct;
      context.reward.AddPullbackAt(lambda, followers_[c].world->slope(), gradient);
      if (context.dynamics.has_value()) {  // [D4]
        context.dynamics->AddPullback(followers_[c].world->mdp(), 1,
                                      {context.discount * lambda, followers_[c].value, {}}, gradient.theta);
      }
      total.Add(weights[c], gradient);
    }
    return problem_.AssembleGradient(total, x_);
  }

  // An objective counts for what its policy is worth: it is compared with objectives at policies that are about as
  // near to soft-optimal, and gives way to the first at a much nearer one.
  void KeepIfBest(const Vector& h) {
    if (!std::isfinite(objective_) || !h.allFinite()) return;
    double residual = 0;
    for (const TrackedFollower& follower : followers_) {
      const double rounding = kRelativeNoise * (1 + follower.value.lpNorm<Eigen::Infinity>());
      residual = std::max({residual, rounding, (follower.backup.value - follower.value).lpNorm<Eigen::Infinity>()});
    }
    const bool nearer = kMuchNearer * residual < best_residual_;
    const bool comparable = residual <= kMuchNearer * best_residual_;
    if (!nearer && !(comparable && Better(problem_, objective_, best_objective_))) return;
    best_residual_ = nearer ? residual : std::min(residual, best_residual_);
    best_objective_ = objective_;
    best_x_ = x_;
    best_h_ = h;
  }

  Progress MakeProgress() const {
    Progress progress{iterations_, Evaluations(), objective_, h_norm_, best_objective_, best_x_, std::nullopt};
    if (options_.certify_progress) {
      WarmStart start;
      for (const TrackedFollower& follower : followers_) start.values.push_back(follower.value);
      progress.certificate = CertifyForProgress(problem_, x_, options_.lower_level, start, interrupt_);
    }
    return progress;
  }

  // Every step evaluates one direction; exact evaluations come on top.
  int Evaluations() const { return iterations_ + 1 + exact_evaluations_; }

  bool HasRoomFor(int evaluations) const {
    return !options_.max_evaluations.has_value() || Evaluations() + evaluations <= *options_.max_evaluations;
  }

  void Stop(StopReason reason, std::string detail) { termination_ = {reason, std::move(detail)}; }

  bool Limited() {
    const std::string facts = absl::StrCat("|h| = ", ToText(h_norm_), " after ", Counted(iterations_, "iteration"),
                                           "; gradient_tolerance ", ToText(options_.gradient_tolerance));
    if (const auto reason = interrupt_.Check(); reason.has_value()) {
      Stop(*reason, facts);
    } else if (iterations_ >= options_.max_iterations) {
      Stop(StopReason::kIterationLimit, facts + "; raise max_iterations or step_size");
    } else if (!HasRoomFor(2)) {
      Stop(StopReason::kEvaluationLimit, facts + "; raise max_evaluations");
    } else {
      return false;
    }
    return true;
  }

  HypergradientEvaluator& Evaluator() {
    if (evaluator_ == nullptr) {
      WarmStart warm;
      for (const TrackedFollower& follower : followers_) {
        warm.values.push_back(follower.value.allFinite() ? follower.value : Vector());
      }
      evaluator_ = std::make_unique<HypergradientEvaluator>(problem_, options_.lower_level, warm);
    }
    return *evaluator_;
  }

  absl::StatusOr<bool> StationaryExactly() {
    ++exact_evaluations_;
    ASSIGN_OR_RETURN(const HypergradientPoint point, Evaluator().Evaluate(x_, interrupt_));
    if (!(point.gradient_norm <= options_.gradient_tolerance)) return false;
    const bool solved = point.termination.reason == StopReason::kConverged;
    Stop(solved ? StopReason::kConverged : StopReason::kIterationLimit,
         absl::StrCat("exact gradient_norm = ", ToText(point.gradient_norm), " after ",
                      Counted(iterations_, "iteration"), "; tolerance ", ToText(options_.gradient_tolerance),
                      solved ? "" : "; but the follower was not solved: " + point.termination.detail));
    return true;
  }

  // What the single loop itself knows of a point: its objective and direction at a policy that is not yet soft-optimal.
  HypergradientPoint Rough(const Vector& x, double objective, const Vector& h) const {
    HypergradientPoint point;
    point.x = x;
    point.objective = objective;
    point.context_objectives = objectives_;
    point.gradient = h;
    point.gradient_norm = problem_.ProjectedGradientNorm(x, h);
    point.termination = termination_;
    for (const TrackedFollower& follower : followers_) {
      point.contexts.emplace_back();
      point.contexts.back().solution.method = LowerLevelMethod::kSweeps;
      point.contexts.back().solution.termination = {StopReason::kIterationLimit, "one step of the single loop"};
      point.contexts.back().solution.value = follower.value;
      point.contexts.back().solution.backup = follower.backup;
      point.contexts.back().solution.residual = (follower.backup.value - follower.value).lpNorm<Eigen::Infinity>();
    }
    return point;
  }

  // [D3] The last iterate, unless an earlier one is clearly better.
  absl::StatusOr<OuterResult> Conclude(const Vector& h) {
    OuterResult result;
    ++exact_evaluations_;
    // With time for one point only, the better one by what the loop itself saw.
    const bool earlier = interrupt_.Check().has_value() && Better(problem_, best_objective_, objective_);
    HypergradientPoint rough = earlier ? Rough(best_x_, best_objective_, best_h_) : Rough(x_, objective_, h);
    ASSIGN_OR_RETURN(result.best, Certify(std::move(rough), Evaluator(), interrupt_));
    if (termination_.reason != StopReason::kConverged && best_x_ != x_ && HasRoomFor(1) &&
        !interrupt_.Check().has_value()) {
      ++exact_evaluations_;
      ASSIGN_OR_RETURN(HypergradientPoint other, Evaluator().EvaluateCertified(best_x_, interrupt_));
      const double margin =
          std::isfinite(result.best.objective) ? kRelativeNoise * (1 + std::abs(result.best.objective)) : 0.0;
      if (!interrupt_.Check().has_value() &&
          Better(problem_, other.objective + problem_.sign() * margin, result.best.objective)) {
        result.best = std::move(other);
      }
    }
    result.termination = ConvergedAfterAll(problem_, result.best, options_, std::move(termination_));
    result.iterations = iterations_;
    result.history = std::move(history_).Take();
    result.evaluations = Evaluations();
    result.notes = std::move(notes_);
    result.warm_start = Evaluator().warm_start();
    return result;
  }

  const BilevelProblem& problem_;
  const MSobirlOptions& method_;
  const OuterOptions& options_;
  const Interrupt& interrupt_;
  ProgressReporter& reporter_;
  std::vector<TrackedFollower> followers_;
  std::vector<ContextObjective> values_;
  std::vector<double> objectives_;
  std::unique_ptr<HypergradientEvaluator> evaluator_;
  Vector x_, theta_, best_x_, best_h_, last_finite_x_;
  double objective_ = 0, h_norm_ = 0, first_h_norm_ = 0;
  double best_objective_ = std::numeric_limits<double>::quiet_NaN();
  double best_residual_ = std::numeric_limits<double>::infinity();
  int iterations_ = 0, exact_evaluations_ = 0;
  std::vector<std::string> notes_;
  Termination termination_;
  History history_;
};

}  // namespace

absl::Status MSobirlOptions::Validate() const {
  if (!(step_size > 0) || !std::isfinite(step_size)) {
    return FieldError("step_size", absl::StrCat("is ", ToText(step_size), "; must be finite and > 0"));
  }
  if (sweeps < 1) return FieldError("sweeps", absl::StrCat("is ", sweeps, "; must be >= 1"));
  if (zeta.has_value() && !(*zeta > 0 && std::isfinite(*zeta))) {
    return FieldError("zeta", absl::StrCat("is ", ToText(*zeta), "; must be finite and > 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<OuterResult> SolveMSobirl(const BilevelProblem& problem, const Vector& x, const MSobirlOptions& method,
                                         const OuterOptions& options, const Interrupt& interrupt,
                                         ProgressReporter& reporter) {
  return MSobirlSolver(problem, method, options, interrupt, reporter).Run(x);
}

}  // namespace bilevel
