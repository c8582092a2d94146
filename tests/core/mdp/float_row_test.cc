#include "core/mdp/float_row.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/base/rng.h"
#include "gtest/gtest.h"

namespace bilevel {
namespace {

double Sum(const std::vector<float>& row) {
  double sum = 0;
  for (const float p : row) sum += double{p};
  return sum;
}

double Renormalize(std::vector<float>& row, double total) {
  return Renormalize(FloatRow{row.data(), 1, row.size()}, total);
}

// Where there are entries that can take what is left: of the size of the others. Elsewhere nearly.
TEST(FloatRow, AddsUpToOneExactly) {
  Rng rng(1);
  for (int trial = 0; trial < 2000; ++trial) {
    const bool even = trial % 2 == 0;
    std::vector<double> weights(1 + rng.Below(trial % 10 < 2 ? 3000 : 12));
    double total = 0;
    for (double& weight : weights) {
      weight = even ? 0.5 + rng.Uniform() : std::pow(rng.Uniform(), 4);
      total += weight;
    }
    std::vector<float> row;
    for (const double weight : weights) row.push_back(static_cast<float>(weight / total));
    const std::vector<float> sent = row;
    const double sum = Sum(sent);
    const double reached = Renormalize(row, 1);
    EXPECT_EQ(reached, Sum(row));
    EXPECT_LE(reached, 1 + 0x1p-50);
    EXPECT_GE(reached, even ? 1 : 1 - 0x1p-24);
    for (size_t k = 0; k < row.size(); ++k) {
      EXPECT_NEAR(row[k], sent[k] / sum, 0x1p-18 * sent[k]);
    }
  }
}

// Sums that floats cannot have are met to a step of the smallest.
TEST(FloatRow, LeavesRoomForTermination) {
  Rng rng(2);
  for (int trial = 0; trial < 500; ++trial) {
    const double total = rng.Uniform();
    std::vector<float> row(2 + rng.Below(6));
    double sum = 0;
    for (float& p : row) sum += double{p = static_cast<float>(0.1 + rng.Uniform())};
    float smallest = 1;
    for (float& p : row) smallest = std::min(smallest, p = static_cast<float>(p * total / sum));
    const double reached = Renormalize(row, total);
    EXPECT_EQ(reached, Sum(row));
    EXPECT_LE(reached, total + 0x1p-50);
    EXPECT_GE(reached, total - (std::nextafter(smallest, 2.0F) - smallest));
  }
}

// Neither vanishes nor grows what is too small to take the rest.
TEST(FloatRow, KeepsTinyEntriesBesideALargeOne) {
  for (int i = 0; i < 110; ++i) {
    const double tiny = 0x1p-60 * std::pow(1.37, i);
    std::vector<float> row = {static_cast<float>(tiny), static_cast<float>(1 - tiny)};
    const float sent = row[0];
    const double sum = Renormalize(row, 1);
    EXPECT_LE(sum, 1 + 0x1p-50) << tiny;
    EXPECT_GE(sum, 1 - 0x1p-24) << tiny;
    EXPECT_NEAR(row[0], sent, 0x1p-19 * sent) << tiny;
    EXPECT_NEAR(row[1], 1 - tiny, 0x1p-23) << tiny;
  }
}

TEST(FloatRow, PassesOverWhatLiesBetween) {
  std::vector<float> places = {0.3F, 7, 0.3F, 7, 0.4F, 7};
  EXPECT_EQ(Renormalize(FloatRow{places.data(), 2, 3}, 1), 1);
  EXPECT_EQ(places[1], 7);
  EXPECT_EQ(places[3], 7);
  EXPECT_EQ(double{places[0]} + double{places[2]} + double{places[4]}, 1);
}

TEST(FloatRow, KeepsZeros) {
  std::vector<float> row = {0, 0};
  EXPECT_EQ(Renormalize(row, 1e-7), 0);
  EXPECT_EQ(row[0], 0);
  row = {0, 1, 0};
  EXPECT_EQ(Renormalize(row, 1), 1);
  EXPECT_EQ(row[1], 1);
  row = {std::numeric_limits<float>::denorm_min(), 1};
  EXPECT_EQ(Renormalize(row, 1), 1);
  EXPECT_EQ(row[0], std::numeric_limits<float>::denorm_min());
}

}  // namespace
}  // namespace bilevel
