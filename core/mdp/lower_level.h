// Solves the follower's problem: V = T V (math.md section 2).
//
// Sweeps: V <- T V. With m, M = min, max of T V - V and rows that sum to one, V + shift with the middle of MacQueen's
// bounds has a residual of at most gamma (M - m)/2: the span stop.
//
// Newton: V <- V + e, (I - gamma P^pi) e = T V - V, pi the soft policy at V. This is soft policy iteration: from the
// second step on V rises monotonely to V*, by at least the factor gamma a step and quadratically in the end.
// Geist, Scherrer, Pietquin (2019), "A Theory of Regularized Markov Decision Processes", arXiv:1901.11275.
//
// The direct variant keeps a factorisation over several steps (chord steps) while the residual falls fast. Where the
// automatic choice takes it, sweeps, as many as take three times as long as a factorisation, go before a cold start and
// between steps that gain little.

#ifndef BILEVEL_CORE_MDP_LOWER_LEVEL_H_
#define BILEVEL_CORE_MDP_LOWER_LEVEL_H_

#include <optional>

#include "absl/status/statusor.h"
#include "core/base/interrupt.h"
#include "core/mdp/policy_system.h"
#include "core/mdp/soft_bellman.h"

namespace bilevel {

enum class LowerLevelMethod { kAutomatic, kSweeps, kNewtonDirect, kNewtonKrylov };

// The automatic choice factorises up to this S; and up to kMaxDirectStates where no stored transition leads further
// than kDirectBand states up or down in the given order.
inline constexpr int kDirectStates = 300;
inline constexpr int kDirectBand = 48;
// kNewtonDirect is refused above this S: one full factorisation takes 0.2 s there with AVX-512, more without, and 32
// MB, and cannot be interrupted.
inline constexpr int kMaxDirectStates = 2000;

struct LowerLevelOptions {
  // Affects the answer: stops when |V - T V|_inf <= residual_tolerance, > 0. Unset: max(1e-10 max|r|, 16 eps max|V|).
  // Below 4 eps max|V| it is refused as unreachable. With a factorisation the solver goes on to rounding level.
  std::optional<double> residual_tolerance;
  // Whether an unreachable tolerance is an error; otherwise it counts as 4 eps max|V|.
  bool refuse_unreachable = true;
  // Affects the answer: at most this many applications of T, >= 1.
  int max_sweeps = 1'000'000;
  // Affects only the cost.
  LowerLevelMethod method = LowerLevelMethod::kAutomatic;
  // Affects the answer: adjoint systems stop when |residual|_1 <= adjoint_tolerance |right-hand side|_1; [1e-15, 0.1].
  double adjoint_tolerance = 1e-12;
  // Affects only the time, on thousands of states.
  ParallelFor parallel_for = RunInOrder;

  // A field error names the option out of range.
  absl::Status Validate() const;
};

// A field error for `method` where it does not suit S.
absl::Status CheckMethod(const LowerLevelOptions& options, int num_states);

// The kind of linear solver that goes with the options; the direct kind for no more than kMaxDirectStates. Cost: at
// most that of a sweep.
PolicySystem::Kind SystemKind(const LowerLevelOptions& options, const TabularMdp& mdp);

struct LowerLevelSolution {
  Vector value;         // V [S]
  SoftBackup backup;    // T at V: the policy is backup.pi
  double residual = 0;  // |V - T V|_inf: V and the policy are exact for rewards that differ by at most this
  LowerLevelMethod method = LowerLevelMethod::kAutomatic;
  int sweeps = 0;  // applications of T
  int newton_steps = 0;
  Termination termination;
};

// start: V to begin with, [S], or empty for zeros. `system` belongs to follower.mdp, is of SystemKind, and is left at
// no particular policy. Always returns the best V found; INVALID_ARGUMENT (field residual_tolerance) only when the
// tolerance is below what double precision can reach.
absl::StatusOr<LowerLevelSolution> SolveLowerLevel(const RegularizedMdp& follower, const LowerLevelOptions& options,
                                                   const Vector& start, const Interrupt& interrupt,
                                                   PolicySystem& system);

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_LOWER_LEVEL_H_
