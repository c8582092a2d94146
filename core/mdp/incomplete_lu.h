// Incomplete LU without fill-in, ILU(0), of I - gamma P^pi: a preconditioner.
//
// I - gamma P^pi is a row diagonally dominant M-matrix, for which the factorisation exists in every order and is stable
// (Meijerink, van der Vorst 1977). States are cut into consecutive blocks that depend on S alone; what couples blocks
// is left out, so that blocks are factorised and solved side by side.

#ifndef BILEVEL_CORE_MDP_INCOMPLETE_LU_H_
#define BILEVEL_CORE_MDP_INCOMPLETE_LU_H_

#include <cstdint>
#include <vector>

#include "core/mdp/policy_matrix.h"

namespace bilevel {

class IncompleteLu {
 public:
  // matrix must outlive this, and be merged. Memory: 12 bytes for each pair. Cost: O(pairs).
  explicit IncompleteLu(const PolicyMatrix& matrix);

  // Factorises for the matrix's policy. Cost: about that of four products.
  void Factorize(double gamma);

  // x <- M^{-1} b and M^{-T} b, into another vector. Cost: about that of two products.
  void Solve(const Vector& b, Vector& x) const;
  void SolveTransposed(const Vector& b, Vector& x) const;

 private:
  int64_t num_blocks() const { return static_cast<int64_t>(blocks_.size()) - 1; }
  void FactorizeBlock(int64_t first, int64_t last);

  const PolicyMatrix& matrix_;
  std::vector<int64_t> blocks_;  // first states, and S
  // CSR within blocks, columns increasing. L has a diagonal of ones; that of U is kept as its inverse.
  std::vector<uint64_t> offsets_;
  std::vector<uint64_t> diagonal_;  // positions
  std::vector<uint32_t> columns_;
  std::vector<double> values_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_INCOMPLETE_LU_H_
