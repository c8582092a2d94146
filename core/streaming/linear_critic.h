// A vector of action values that is linear in features of the state, learned by temporal differences:
//
//   q(s,a) = W_a^T phi(s) in R^d,   W_a <- W_a + (alpha / |phi|^2) phi (target - q(s,a))^T
//
// so that alpha = 1 makes q(s,a) the target. A table is the case of one-hot features: the same code, one weight each.

#ifndef BILEVEL_CORE_STREAMING_LINEAR_CRITIC_H_
#define BILEVEL_CORE_STREAMING_LINEAR_CRITIC_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/step_schedule.h"
#include "core/hypergradient/value_gradient.h"

namespace bilevel {

// A non-zero entry of phi(s).
struct Feature {
  uint32_t index;
  double value;
};
using Features = std::span<const Feature>;

class LinearCritic {
 public:
  // num_features: m; a table: S. All weights start at 0. Memory: (d + 1) m A numbers.
  LinearCritic(int num_features, int num_actions, int dimension, const StepSchedule& schedule);

  int dimension() const { return static_cast<int>(weights_.cols()); }

  // q(s,a) [d].
  Vector Value(Features features, int action) const;

  // The same for d = 1.
  double Scalar(Features features, int action) const;

  // One step towards target [d]. phi = 0 moves nothing.
  void Update(Features features, int action, const Eigen::Ref<const Vector>& target);

  // Steps are as large again as at first; what was learned stays.
  void RestartSteps();

  // Row i*A + a: what feature i adds to q(.,a). For a table q(s,a) itself, [S*A, d].
  const RowMatrix& weights() const { return weights_; }

 private:
  Eigen::Index RowOf(const Feature& feature, int action) const {
    return Eigen::Index{feature.index} * num_actions_ + action;
  }

  int num_actions_;
  StepSchedule schedule_;
  RowMatrix weights_;  // [m*A, d]
  Vector visits_;      // [m*A], by squared feature
  double updates_ = 0;
  Vector step_;  // of the update under way [d]
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_LINEAR_CRITIC_H_
