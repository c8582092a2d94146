// Global search for a good local optimum: multi-start, entropy continuation and basin hopping in one anytime method
// (ours).
//
//   islands t = 1..T, each with an incumbent, a random stream of its own and a share of the evaluations in every round
//   round 0: island 1 descends from the caller's start, island 2 from there by entropy continuation (temperature times
//            4, 2, 1), the others from random starts
//   then, on each island, again and again:  x' = kick(incumbent),  x'' = descent(x'),  incumbent = the better one
//   every 4th round the worst quarter of the islands take over the incumbents of the best quarter
//   at the end: the best ends of descents polished to gradient_tolerance until max_optima distinct optima are known
//   (at most 32 descents), the best of all certified
//
// Descent is quasi-Newton on the exact hyper-gradient, every other time preceded by projected gradient steps in the
// shares of softmax groups (shares_chart.h); it ends when it gains too little. Kicks: kick.h. Rounds run their islands
// in any number of threads with the same result, since islands meet only between rounds.
//
// Nothing proves that the best optimum is global. Wales, Doye (1997), "Global optimization by basin-hopping".

#ifndef BILEVEL_CORE_SOLVERS_PORTFOLIO_H_
#define BILEVEL_CORE_SOLVERS_PORTFOLIO_H_

#include "core/solvers/outer_loop.h"

namespace bilevel {

struct PortfolioOptions {
  int islands = 8;                  // T in [1, 256]; affects the answer
  int evaluations_per_round = 500;  // of each island, in [10, 1'000'000]; affects the answer
  // Stops after so many rounds without a better incumbent, >= 1; affects the answer.
  int patience = 12;
  int max_optima = 8;  // that come back, in [0, 256]

  absl::Status Validate() const;
};

// OuterOptions: iterations are rounds; limits on evaluations keep room for polishing and certifying; under a time limit
// the last tenth is kept for that. CONVERGED: the search ended, by patience or a limit other than time, at a point that
// meets gradient_tolerance; the detail says why it ended.
absl::StatusOr<OuterResult> SolvePortfolio(const BilevelProblem& problem, const Vector& start,
                                           const PortfolioOptions& method, const OuterOptions& options,
                                           const Interrupt& interrupt, ProgressReporter& reporter);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_PORTFOLIO_H_
