#include "core/base/flush_tiny.h"

#include <cmath>

#include "gtest/gtest.h"

namespace bilevel {
namespace {

volatile float least = 1.2e-38F;  // a little above the smallest normal number

TEST(FlushTiny, LastsAsLongAsItLives) {
  EXPECT_GT(least * 0.1F, 0.0F);
  {
    const FlushTiny<double> nothing;
    EXPECT_GT(least * 0.1F, 0.0F);
    const FlushTiny<float> flush;
#ifdef __SSE2__
    EXPECT_EQ(std::fpclassify(least * 0.1F), FP_ZERO);
#endif
    EXPECT_GT(least, 0.0F);
  }
  EXPECT_GT(least * 0.1F, 0.0F);
}

}  // namespace
}  // namespace bilevel
