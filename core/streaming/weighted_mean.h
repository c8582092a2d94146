// The mean of weighted vectors and, of independent ones, its standard error.

#ifndef BILEVEL_CORE_STREAMING_WEIGHTED_MEAN_H_
#define BILEVEL_CORE_STREAMING_WEIGHTED_MEAN_H_

#include <cmath>
#include <limits>

#include "core/mdp/tabular_mdp.h"

namespace bilevel {

class WeightedMean {
 public:
  explicit WeightedMean(Eigen::Index n) : sum_(Vector::Zero(n)), weighted_(sum_), squares_(sum_) {}

  void Add(double weight, const Vector& value) {
    weights_ += weight;
    square_weights_ += weight * weight;
    sum_ += weight * value;
    weighted_ += weight * weight * value;
    squares_ += weight * weight * value.cwiseAbs2();
  }
  Vector mean() const { return sum_ / weights_; }
  double effective() const { return weights_ * weights_ / square_weights_; }
  // The share of a sample in its difference to the mean of the others; infinite when there are no others to speak of.
  double others() const {
    return effective() > 1 + 1e-9 ? effective() / (effective() - 1) : std::numeric_limits<double>::infinity();
  }
  // sqrt(sum w^2 (value - mean)^2) / sum w, as from effective() - 1 degrees of freedom.
  Vector standard_error() const {
    const Vector m = mean();
    const Vector spread = squares_ - 2 * m.cwiseProduct(weighted_) + square_weights_ * m.cwiseAbs2();
    if (std::isinf(others())) return Vector::Constant(m.size(), others());
    return (spread.cwiseMax(0) * others()).cwiseSqrt() / weights_;
  }

 private:
  double weights_ = 0, square_weights_ = 0;
  Vector sum_, weighted_, squares_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_WEIGHTED_MEAN_H_
