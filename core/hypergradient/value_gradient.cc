#include "core/hypergradient/value_gradient.h"

namespace bilevel {

ValueGradient SolveValueGradient(const PolicyInput& input, double gamma, const SparseRows& features) {
  const TabularMdp& mdp = input.mdp;
  ValueGradient result{RowMatrix::Zero(mdp.num_states(), features.cols()),
                       RowMatrix::Zero(mdp.num_rows(), features.cols())};
  for (Eigen::Index j = 0; j < features.cols() && !input.interrupt.Check().has_value(); ++j) {
    const PolicyValue column = EvaluatePolicy(input, gamma, features * Vector::Unit(features.cols(), j), nullptr);
    result.value.col(j) = column.value;
    result.advantage.col(j) = column.advantage;
  }
  return result;
}

}  // namespace bilevel
