// What the one-step shortcut makes of Four-Rooms, where taxes depend on the cell alone: nothing.

#include "client/problems/four_rooms.h"

#include "core/base/rng.h"
#include "gtest/gtest.h"
#include "tests/benchmarks/referees/one_step.h"
#include "tests/problems/decoded.h"

namespace bilevel::referees {
namespace {

TEST(OneStep, ImplicitPartIsZeroOnFourRooms) {
  for (const double temperature : {0.001, 0.003, 0.005}) {
    const BilevelProblem problem = testing::Decoded(client::FourRooms({.temperature = temperature}));
    Rng rng(1);
    Vector x(problem.num_parameters);
    for (double& entry : x) entry = rng.Normal();
    const RefereeGradient exact = ExactGradient(problem, x), one_step = TruncateToOneStep(problem, x);
    EXPECT_GT(exact.implicit.norm(), 0.1 * exact.total().norm());
    // yc sums to zero in each state up to rounding; what the parameter map and 1/temperature make of that.
    EXPECT_LT(one_step.implicit.norm(), 1e-12 * exact.implicit.norm());
    EXPECT_EQ(one_step.direct, exact.direct);
  }
}

}  // namespace
}  // namespace bilevel::referees
