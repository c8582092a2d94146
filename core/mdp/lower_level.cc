#include "core/mdp/lower_level.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
// The automatic choice sweeps this often before it considers Newton's method, and stays with sweeps when at most so
// many more are foreseen (benchmarks: a Newton step costs about as much as 60 sweeps).
constexpr int kFirstSweeps = 24;
// From a start where sweeps are known to be slow.
constexpr int kFewFirstSweeps = 8;
constexpr int kForeseenSweeps = 60;
constexpr int kContractionWindow = 8;
// Chord steps: kept while the residual falls by this factor; renewed at the next step when it falls by less than kGood.
constexpr double kGoodChord = 0.02;
constexpr double kBadChord = 0.25;
// Inexact Newton: relative residual of each linear solve, as small as the step before was good. Eisenstat, Walker
// (1996), "Choosing the forcing terms in an inexact Newton method", choice 2.
constexpr double kLeastForcing = 1e-4, kMostForcing = 0.1, kForcingFactor = 0.9;
// While a Newton step gains less than this the policy is still changing, and a few sweeps, which are cheap beside it,
// bring it further (benchmarks, grids: two thirds of the time).
constexpr double kSlowFall = 0.2;
constexpr int64_t kFewestSweeps = 4, kMostSweeps = 40;  // for each product with P^pi two

class LowerLevelSolver {
 public:
  LowerLevelSolver(const RegularizedMdp& follower, const LowerLevelOptions& options, const Interrupt& interrupt,
                   PolicySystem& system)
      : follower_(follower), options_(options), interrupt_(interrupt), system_(system) {
    if (options.method == LowerLevelMethod::kAutomatic) sweeps_beside_ = SweepsBeside();
    for (Eigen::Index row = 0; row < follower.reward.size(); ++row) {
      if (follower.mdp->available(row)) reward_scale_ = std::max(reward_scale_, std::abs(follower.reward[row]));
    }
  }

  absl::StatusOr<LowerLevelSolution> Run(const Vector& start) {
    const int S = follower_.mdp->num_states();
    warm_ = start.size() == S;
    Move(warm_ ? start : Vector::Zero(S));
    switch (Method()) {
      case LowerLevelMethod::kNewtonDirect:
        if (sweeps_beside_ > 0 && !warm_) Sweep(sweeps_beside_, true);
        solution_.method = LowerLevelMethod::kNewtonDirect;
        NewtonDirect();
        break;
      case LowerLevelMethod::kNewtonKrylov:
        solution_.method = LowerLevelMethod::kNewtonKrylov;
        Sweep(kFirstSweeps, false);
        NewtonKrylov();
        break;
      case LowerLevelMethod::kSweeps:
        solution_.method = LowerLevelMethod::kSweeps;
        Sweep(options_.max_sweeps, false);
        break;
      case LowerLevelMethod::kAutomatic:
        solution_.method = LowerLevelMethod::kSweeps;
        Sweep(options_.max_sweeps, true);
        if (!Done()) {
          solution_.method = LowerLevelMethod::kNewtonKrylov;
          NewtonKrylov();
        }
        break;
    }
    RETURN_IF_ERROR(Unreachable());
    Conclude();
    return std::move(solution_);
  }

 private:
  LowerLevelMethod Method() const {
    if (options_.method != LowerLevelMethod::kAutomatic) return options_.method;
    return system_.kind() == PolicySystem::Kind::kDirect ? LowerLevelMethod::kNewtonDirect
                                                         : LowerLevelMethod::kAutomatic;
  }

  // What goes before Newton's method from a cold start, and between its steps while they gain little: sweeps that take
  // three times as long as one factorisation; 0 where those are few.
  int SweepsBeside() const {
    // Flops of a factorisation that take as long as a row, and an entry, of a sweep.
    constexpr double kFlopsOfRow = 60, kFlopsOfEntry = 4;
    constexpr double kMostBeside = 60;
    const TabularMdp& mdp = *follower_.mdp;
    const double sweep =
        kFlopsOfRow * static_cast<double>(mdp.num_rows()) + kFlopsOfEntry * static_cast<double>(mdp.num_entries());
    const double sweeps =
        std::min({3 * system_.factorization_flops() / sweep, kMostBeside, 0.25 * options_.max_sweeps});
    return sweeps < kFewestSweeps ? 0 : static_cast<int>(sweeps);
  }

  // Makes v the current iterate.
  void Move(Vector v) {
    solution_.value = std::move(v);
    solution_.backup = ApplySoftBellman(follower_, solution_.value);
    ++solution_.sweeps;
    step_ = solution_.backup.value - solution_.value;
    solution_.residual = step_.cwiseAbs().maxCoeff<Eigen::PropagateNaN>();
  }

  // V <- T V, of whose backup only T V is found.
  void Step() {
    std::swap(solution_.value, solution_.backup.value);
    range_ = SoftValueBackup(follower_, solution_.value, solution_.backup.value);
    ++solution_.sweeps;
    solution_.residual = range_.Size();
  }

  double Scale() const { return solution_.value.lpNorm<Eigen::Infinity>(); }

  double Tolerance() const {
    const double floor = options_.refuse_unreachable ? 0.0 : 4 * kEpsilon * Scale();
    return std::max(floor,
                    options_.residual_tolerance.value_or(std::max(1e-10 * reward_scale_, 16 * kEpsilon * Scale())));
  }

  // V* is at least this large in the sup norm, so no tolerance below 4 eps times it can be reached.
  double ScaleOfSolution() const {
    return Scale() - solution_.residual / (1 - follower_.discount * std::max(1.0, follower_.mdp->max_row_sum()));
  }

  bool Impossible() const {
    return options_.refuse_unreachable && options_.residual_tolerance.has_value() &&
           *options_.residual_tolerance < 4 * kEpsilon * ScaleOfSolution();
  }

  absl::Status Unreachable() const {
    if (!Impossible()) return absl::OkStatus();
    return FieldError("residual_tolerance", absl::StrCat("is ", ToText(*options_.residual_tolerance),
                                                         "; double precision cannot go below 4 * 2^-52 * max|V| = ",
                                                         ToText(4 * kEpsilon * ScaleOfSolution())));
  }

  // Looks at the reasons to stop; remembers an interruption.
  bool Done() {
    if (!std::isfinite(solution_.residual) || solution_.residual <= Tolerance() || Impossible()) return true;
    return Stopped();
  }

  bool Stopped() {
    if (!interrupted_.has_value()) interrupted_ = interrupt_.Check();
    return interrupted_.has_value() || solution_.sweeps >= options_.max_sweeps;
  }

  // V <- T V, with the span shift as soon as it meets the tolerance. With `foresee`, gives up after kFirstSweeps when
  // more than kForeseenSweeps are still to come.
  void Sweep(int sweeps, bool foresee) {
    const double gamma = follower_.discount;
    const bool stochastic = follower_.mdp->rows_sum_to_one(gamma);
    const int first = warm_ && system_.mixes_slowly() ? kFewFirstSweeps : kFirstSweeps;
    std::vector<double> spans;
    range_ = {step_.minCoeff(), step_.maxCoeff()};
    bool policy_is_old = false;
    for (int i = 0; i < sweeps && !Done(); ++i) {
      const double m = range_.smallest, M = range_.largest;
      const double reach = stochastic ? 0.5 * gamma * (M - m) : gamma * std::max(std::abs(m), std::abs(M));
      if (foresee) spans.push_back(reach);
      const bool last = stochastic && reach <= Tolerance();
      if (last) solution_.backup.value.array() += gamma / (1 - gamma) * 0.5 * (m + M);
      // The last sweep finds the policy as well.
      if (last || solution_.sweeps + 1 >= options_.max_sweeps) {
        Move(std::move(solution_.backup.value));
        range_ = {step_.minCoeff(), step_.maxCoeff()};
        policy_is_old = false;
        continue;
      }
      Step();
      policy_is_old = true;
      if (foresee && i + 1 >= first && (i + 1) % kContractionWindow == 0 && Foreseen(spans) > kForeseenSweeps) break;
    }
    if (policy_is_old) Move(std::move(solution_.value));
  }

  // Sweeps still needed if the reach goes on falling as it did.
  double Foreseen(const std::vector<double>& spans) const {
    const size_t window = std::min<size_t>(kContractionWindow, spans.size() - 1);
    const double now = spans.back(), then = spans[spans.size() - 1 - window];
    if (!(now < then)) return std::numeric_limits<double>::infinity();
    const double rate = std::log(then / now) / static_cast<double>(window);
    return std::max(0.0, std::log(now / Tolerance())) / rate;
  }

  // V <- T V so many times, as far as the limit goes.
  void SweepOn(int64_t sweeps) {
    if (Stopped()) return;
    for (; sweeps > 1 && solution_.sweeps + 1 < options_.max_sweeps && !Stopped(); --sweeps) Step();
    Move(std::move(solution_.backup.value));
  }

  bool AtRoundingLevel() const { return solution_.residual <= 4 * kEpsilon * std::max(Scale(), reward_scale_); }
  bool NearRoundingLevel() const { return solution_.residual <= 64 * kEpsilon * std::max(Scale(), reward_scale_); }

  // Goes on to rounding level, where a step costs O(S^2).
  void NewtonDirect() {
    const double gamma = follower_.discount;
    bool fresh = false, renew = !system_.HasFactorization(gamma);
    while (std::isfinite(solution_.residual) && !AtRoundingLevel() && !Stopped()) {
      if (renew) {
        system_.SetPolicy(solution_.backup.pi);
        system_.Refactor(gamma);
        fresh = true;
      }
      // What is not moved out, counts and kinds, stays.
      LowerLevelSolution before = std::move(solution_);
      Vector step_before = std::move(step_);
      Move(before.value + system_.ApplyFactorization(gamma, step_before));
      const bool falls = solution_.residual <= kBadChord * before.residual;
      if (!fresh && !falls) {
        const int sweeps = solution_.sweeps;
        const bool near = before.residual <= 64 * kEpsilon * std::max(Scale(), reward_scale_);
        if (!(solution_.residual < before.residual)) {
          solution_ = std::move(before);
          solution_.sweeps = sweeps;
          step_ = std::move(step_before);
        }
        if (near) return;
        renew = true;
        continue;
      }
      ++solution_.newton_steps;
      if (fresh && solution_.residual >= before.residual && NearRoundingLevel()) {
        const int sweeps = solution_.sweeps, steps = solution_.newton_steps;
        solution_ = std::move(before);
        solution_.sweeps = sweeps;
        solution_.newton_steps = steps;
        step_ = std::move(step_before);
        return;
      }
      renew = solution_.residual > kGoodChord * before.residual && !NearRoundingLevel();
      if (fresh && sweeps_beside_ > 0 && solution_.residual > kSlowFall * before.residual && !NearRoundingLevel()) {
        SweepOn(sweeps_beside_);
      }
      fresh = false;
    }
  }

  void NewtonKrylov() {
    const double gamma = follower_.discount;
    Vector e = Vector::Zero(solution_.value.size());
    double forcing = kMostForcing;
    int stagnant = 0;
    bool near = warm_;
    while (!Done()) {
      system_.SetPolicy(solution_.backup.pi, near ? PolicySystem::Change::kSlight : PolicySystem::Change::kAny);
      e.setZero();
      const double tolerance = std::max(0.25 * Tolerance(), forcing * solution_.residual);
      const int64_t products = system_.counters().products;
      system_.Solve(gamma, step_, tolerance, interrupt_, e);
      if (Stopped()) return;
      const double before = solution_.residual;
      Move(solution_.value + e);
      ++solution_.newton_steps;
      const double fall = solution_.residual / before;
      near = fall <= kSlowFall;
      forcing = std::clamp(kForcingFactor * fall * fall, kLeastForcing, kMostForcing);
      if (fall > kSlowFall && !NearRoundingLevel() && !Done()) {
        SweepOn(std::clamp(2 * (system_.counters().products - products), kFewestSweeps, kMostSweeps));
      }
      stagnant = NearRoundingLevel() && solution_.residual > 0.5 * before ? stagnant + 1 : 0;
      if (stagnant == 3) return;
    }
  }

  void Conclude() {
    const std::string facts = absl::StrCat("|V - T V|_inf = ", ToText(solution_.residual), " after ",
                                           Counted(solution_.sweeps, "sweep"), "; tolerance ", ToText(Tolerance()));
    Termination& termination = solution_.termination;
    termination.detail = facts;
    if (!std::isfinite(solution_.residual)) {
      termination.reason = StopReason::kDiverged;
      termination.detail = "values overflow double precision; scale the reward down";
    } else if (solution_.residual <= Tolerance()) {
      termination.reason = StopReason::kConverged;
    } else if (interrupted_.has_value()) {
      termination.reason = *interrupted_;
    } else {
      termination.reason = StopReason::kIterationLimit;
      termination.detail += NearRoundingLevel() ? "; rounding keeps it from falling further, ask for a larger one"
                                                : "; raise max_sweeps or leave the method to the server";
    }
  }

  const RegularizedMdp& follower_;
  const LowerLevelOptions& options_;
  const Interrupt& interrupt_;
  PolicySystem& system_;
  double reward_scale_ = 0;
  bool warm_ = false;
  int sweeps_beside_ = 0;  // automatic choice alone
  LowerLevelSolution solution_;
  Vector step_;      // T V - V
  StepRange range_;  // of step_, while sweeping
  std::optional<StopReason> interrupted_;
};

// Whether no stored transition leads further than so many states up or down.
bool StaysNear(const TabularMdp& mdp, int64_t reach) {
  const ActionRows& rows = mdp.transitions();
  bool near = true;
  for (int64_t s = 0; s < mdp.num_states() && near; ++s) {
    for (int64_t a = 0; a < mdp.num_actions() && near; ++a) {
      rows.ForEachInRow(s, a, [&](uint64_t, uint64_t place) {
        near = near && std::abs(static_cast<int64_t>(rows.column(place)) - s) <= reach;
      });
    }
  }
  return near;
}

}  // namespace

absl::Status LowerLevelOptions::Validate() const {
  if (residual_tolerance.has_value() && !(*residual_tolerance > 0 && std::isfinite(*residual_tolerance))) {
    return FieldError("residual_tolerance",
                      absl::StrCat("is ", ToText(*residual_tolerance), "; must be finite and > 0"));
  }
  if (max_sweeps < 1) return FieldError("max_sweeps", absl::StrCat("is ", max_sweeps, "; must be >= 1"));
  if (!(adjoint_tolerance >= 1e-15 && adjoint_tolerance <= 0.1)) {
    return FieldError("adjoint_tolerance", absl::StrCat("is ", ToText(adjoint_tolerance), "; must be in [1e-15, 0.1]"));
  }
  return absl::OkStatus();
}

absl::Status CheckMethod(const LowerLevelOptions& options, int num_states) {
  if (options.method == LowerLevelMethod::kNewtonDirect && num_states > kMaxDirectStates) {
    return FieldError("method", absl::StrCat("is direct and a context has ", num_states,
                                             " states; factorisations are limited to ", kMaxDirectStates));
  }
  return absl::OkStatus();
}

PolicySystem::Kind SystemKind(const LowerLevelOptions& options, const TabularMdp& mdp) {
  switch (options.method) {
    case LowerLevelMethod::kNewtonDirect:
      return mdp.num_states() <= kMaxDirectStates ? PolicySystem::Kind::kDirect : PolicySystem::Kind::kKrylov;
    case LowerLevelMethod::kNewtonKrylov:
      return PolicySystem::Kind::kKrylov;
    default:
      return mdp.num_states() <= kDirectStates || (mdp.num_states() <= kMaxDirectStates && StaysNear(mdp, kDirectBand))
                 ? PolicySystem::Kind::kDirect
                 : PolicySystem::Kind::kKrylov;
  }
}

absl::StatusOr<LowerLevelSolution> SolveLowerLevel(const RegularizedMdp& follower, const LowerLevelOptions& options,
                                                   const Vector& start, const Interrupt& interrupt,
                                                   PolicySystem& system) {
  RETURN_IF_ERROR(options.Validate());
  RETURN_IF_ERROR(CheckMethod(options, follower.mdp->num_states()));
  return LowerLevelSolver(follower, options, interrupt, system).Run(start);
}

}  // namespace bilevel
