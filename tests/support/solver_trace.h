// A run of an outer method with every iteration it reported.

#ifndef BILEVEL_TESTS_SUPPORT_SOLVER_TRACE_H_
#define BILEVEL_TESTS_SUPPORT_SOLVER_TRACE_H_

#include <utility>
#include <vector>

#include "core/solvers/optimize.h"
#include "gtest/gtest.h"

namespace bilevel::testing {

struct Trace {
  OuterResult result;
  std::vector<Progress> seen;
};

inline Trace Follow(const BilevelProblem& problem, const MethodOptions& method, const OuterOptions& options,
                    const Vector& start) {
  Trace trace;
  ProgressReporter reporter([&](const Progress& p) { trace.seen.push_back(p); }, 1);
  auto result = Optimize(problem, start, method, options, Interrupt(), reporter);
  EXPECT_TRUE(result.ok()) << result.status();
  trace.result = *std::move(result);
  return trace;
}

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_SOLVER_TRACE_H_
