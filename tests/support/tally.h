// A judge of estimates over many seeds: their mean, and what their error bars hold.

#ifndef BILEVEL_TESTS_SUPPORT_TALLY_H_
#define BILEVEL_TESTS_SUPPORT_TALLY_H_

#include <cmath>
#include <utility>

#include "core/mdp/tabular_mdp.h"
#include "gtest/gtest.h"
#include "tests/support/sanitized.h"

namespace bilevel::testing {

// Of a tally that is to tell coverage.
inline constexpr int kManySeeds = kSanitized ? 20 : 200;

// Many independent estimates of one vector.
class Tally {
 public:
  explicit Tally(Vector exact) : exact_(std::move(exact)), sum_(Vector::Zero(exact_.size())), squares_(sum_) {}

  void Add(const Vector& estimate, const Vector& standard_error) {
    const Vector error = estimate - exact_;
    ++seeds_;
    sum_ += error;
    squares_ += error.cwiseAbs2();
    covered_ += static_cast<int>((error.array().abs() <= 1.96 * standard_error.array()).count());
  }

  double seeds() const { return seeds_; }
  Vector bias() const { return sum_ / seeds_; }
  Vector deviation() const {
    return ((squares_ / seeds_ - bias().cwiseAbs2()) * (seeds_ / (seeds_ - 1))).cwiseMax(0).cwiseSqrt();
  }
  double coverage() const { return covered_ / (seeds_ * static_cast<double>(exact_.size())); }
  // Largest |bias| over entries, in standard errors of the mean over seeds.
  double worst_z() const { return (bias().cwiseAbs().cwiseQuotient(deviation()) * std::sqrt(seeds_)).maxCoeff(); }

  // z: of the normal law, Bonferroni over entries and arms. Coverage of 95 % intervals within 93 to 97 %, from
  // kManySeeds.
  void ExpectHonest(double z) const {
    EXPECT_LE(worst_z(), kSanitized ? 2 * z : z);  // few seeds have the tails of Student's law
    if (kSanitized) return;
    EXPECT_GE(coverage(), 0.93);
    EXPECT_LE(coverage(), 0.97);
  }

 private:
  Vector exact_;
  double seeds_ = 0;
  Vector sum_, squares_;
  int covered_ = 0;
};

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_TALLY_H_
