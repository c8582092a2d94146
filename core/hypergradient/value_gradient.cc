#include "core/hypergradient/value_gradient.h"

namespace bilevel {
namespace {

// column(j): F's, [S*A].
template <typename Column>
ValueGradient SolveColumns(const PolicyInput& input, double gamma, Eigen::Index columns, Column column) {
  const TabularMdp& mdp = input.mdp;
  ValueGradient result{RowMatrix::Zero(mdp.num_states(), columns), RowMatrix::Zero(mdp.num_rows(), columns)};
  for (Eigen::Index j = 0; j < columns && !input.interrupt.Check().has_value(); ++j) {
    const PolicyValue solved = EvaluatePolicy(input, gamma, column(j), nullptr);
    result.value.col(j) = solved.value;
    result.advantage.col(j) = solved.advantage;
  }
  return result;
}

}  // namespace

ValueGradient SolveValueGradient(const PolicyInput& input, double gamma, const SparseRows& features) {
  return SolveColumns(input, gamma, features.cols(),
                      [&](Eigen::Index j) -> Vector { return features * Vector::Unit(features.cols(), j); });
}

ValueGradient SolveValueGradient(const PolicyInput& input, double gamma, const RowMatrix& features) {
  return SolveColumns(input, gamma, features.cols(), [&](Eigen::Index j) -> Vector { return features.col(j); });
}

}  // namespace bilevel
