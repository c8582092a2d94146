#include "core/streaming/expected_gradient.h"

namespace bilevel {

ExpectedGradient SolveExpectedGradient(const PolicyInput& input, double leader_discount, const Vector& cost,
                                       const SparseRows& leader_features, const RowMatrix& score) {
  ExpectedGradient result;
  result.leader = EvaluatePolicy(input, leader_discount, cost, nullptr);
  result.exploitation = SolveValueGradient(input, leader_discount, leader_features);
  const RowMatrix moved = result.leader.advantage.asDiagonal() * score;
  result.exploration = SolveValueGradient(input, leader_discount, moved);
  return result;
}

}  // namespace bilevel
