#include "core/streaming/one_step_score.h"

#include <utility>

namespace bilevel {

RowMatrix CenteredScore(const TabularMdp& mdp, const Vector& pi, RowMatrix q) {
  RowMatrix score = std::move(q);
  const int A = mdp.num_actions();
  for (int s = 0; s < mdp.num_states(); ++s) {
    const Eigen::Index first = Eigen::Index{s} * A;
    const Eigen::RowVectorXd mean = pi.segment(first, A).transpose() * score.middleRows(first, A);
    for (Eigen::Index row = first; row < first + A; ++row) {
      if (mdp.available(row)) {
        score.row(row) -= mean;
      } else {
        score.row(row).setZero();
      }
    }
  }
  return score;
}

RowMatrix OneStepScore(const TabularMdp& mdp, const Vector& pi, const SparseRows& features) {
  return CenteredScore(mdp, pi, features);
}

Vector ScoreBias(const TrajectoryModel& model, const RowMatrix& score, const Vector& visits) {
  const Vector weight = visits.cwiseProduct(model.leader_advantage) / model.temperature;
  ParameterGradient gradient(model.x.size());
  model.reward.AddFeatureGradient((score - model.score).transpose() * weight, model.x, gradient);
  return model.map.Pullback(model.x, gradient.theta) + gradient.x;
}

}  // namespace bilevel
