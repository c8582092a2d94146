#include "core/streaming/linear_critic.h"

namespace bilevel {

LinearCritic::LinearCritic(int num_features, int num_actions, int dimension, const StepSchedule& schedule)
    : num_actions_(num_actions),
      schedule_(schedule),
      weights_(RowMatrix::Zero(Eigen::Index{num_features} * num_actions, dimension)),
      visits_(Vector::Zero(weights_.rows())) {}

Vector LinearCritic::Value(Features features, int action) const {
  Vector value = Vector::Zero(weights_.cols());
  for (const Feature& feature : features) value += feature.value * weights_.row(RowOf(feature, action)).transpose();
  return value;
}

double LinearCritic::Scalar(Features features, int action) const {
  double value = 0;
  for (const Feature& feature : features) value += feature.value * weights_(RowOf(feature, action), 0);
  return value;
}

void LinearCritic::Update(Features features, int action, const Eigen::Ref<const Vector>& target) {
  double size = 0, visits = 0;
  for (const Feature& feature : features) {
    size += feature.value * feature.value;
    visits += feature.value * feature.value * visits_[RowOf(feature, action)];
  }
  const double k = schedule_.clock == StepSchedule::Clock::kUpdates ? updates_ : size > 0 ? visits / size : 0;
  ++updates_;
  if (size == 0) return;
  step_ = target;
  for (const Feature& feature : features) step_ -= feature.value * weights_.row(RowOf(feature, action)).transpose();
  step_ *= schedule_.At(k) / size;
  for (const Feature& feature : features) {
    const Eigen::Index row = RowOf(feature, action);
    weights_.row(row) += feature.value * step_.transpose();
    visits_[row] += feature.value * feature.value / size;
  }
}

void LinearCritic::RestartSteps() {
  visits_.setZero();
  updates_ = 0;
}

}  // namespace bilevel
