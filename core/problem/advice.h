// What looks unintended in a problem although no rule forbids it: for people who write problems.

#ifndef BILEVEL_CORE_PROBLEM_ADVICE_H_
#define BILEVEL_CORE_PROBLEM_ADVICE_H_

#include <string>
#include <vector>

#include "core/problem/bilevel_problem.h"

namespace bilevel {

struct Advice {
  std::string field;        // path from the problem, "contexts[0].discount"
  std::string description;  // what was found, with values, and what it does
};

// At x, which rewards are judged by. Looks for, context by context:
//   states that the initial distribution never reaches,
//   states with several actions that all stay there for ever, where the follower is paid entropy without end, or that
//   all end the episode, where it is paid entropy once more,
//   rewards that dwarf the temperature (a policy that is deterministic in double precision has no gradient), or the
//   reverse (a policy that hardly looks at rewards),
//   discounts of 0 and horizons 1 / (1 - discount) of 10,000 steps and more,
//   weights of 0; and for the problem: parameters that move nothing. Cost: O(entries + features).
std::vector<Advice> Advise(const BilevelProblem& problem, const Vector& x);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_ADVICE_H_
