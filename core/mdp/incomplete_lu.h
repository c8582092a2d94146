// Incomplete LU without fill-in, ILU(0): a preconditioner.
//
// I - gamma P^pi is a row diagonally dominant M-matrix, for which the factorisation exists in every order and is stable
// (Meijerink, van der Vorst 1977). States are cut into consecutive blocks that depend on S alone; what couples blocks
// is left out, so that blocks are factorised and solved side by side. Factors are kept in single precision: what a
// solve with them costs is what it reads, and they are approximate anyway.

#ifndef BILEVEL_CORE_MDP_INCOMPLETE_LU_H_
#define BILEVEL_CORE_MDP_INCOMPLETE_LU_H_

#include <cstdint>
#include <vector>

#include "core/base/parallel.h"
#include "core/mdp/sparse_square.h"

namespace bilevel {

class IncompleteLu {
 public:
  // At most 2^32 - 1 entries. Memory: 8 bytes for each entry and 12 for each state. Cost: about that of five products.
  IncompleteLu(const SparseSquare& A, const ParallelFor& parallel_for);
  IncompleteLu(const SystemRows& A, const ParallelFor& parallel_for);

  // Factorises another matrix with entries at the same places.
  void Renew(const SystemRows& A);

  const ParallelFor& parallel_for() const { return parallel_for_; }

  // x <- M^{-1} b and M^{-T} b, in doubles or floats; x may be b. Cost: about that of two products.
  template <typename Real>
  void Solve(const VectorOf<Real>& b, VectorOf<Real>& x) const;
  template <typename Real>
  void SolveTransposed(const VectorOf<Real>& b, VectorOf<Real>& x) const;

 private:
  // CSR within blocks, columns increasing.
  struct Triangle {
    std::vector<uint32_t> offsets;
    std::vector<uint32_t> columns;
    std::vector<float> values;
  };
  int64_t num_blocks() const { return static_cast<int64_t>(blocks_.size()) - 1; }
  template <typename Rows>
  void FindPattern(const Rows& A);
  template <typename Rows>
  void Factorize(const Rows& A);
  template <typename Rows>
  void FactorizeBlock(const Rows& A, int64_t first, int64_t last);
  // Calls visit(s) for all states of some blocks, within each block in order (or the other way round), block by block
  // in turns: what one state has to wait for, the next does not.
  template <typename Visitor>
  void ForStatesOfBlocks(int64_t begin, int64_t end, bool forward, Visitor visit) const;

  ParallelFor parallel_for_;
  std::vector<int64_t> blocks_;  // first states, and S
  // A ~ L D U with ones on the diagonals of L and U.
  Triangle lower_, upper_;
  std::vector<float> inverse_pivots_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_INCOMPLETE_LU_H_
