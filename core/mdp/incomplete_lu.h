// Incomplete LU without fill-in, ILU(0): a preconditioner.
//
// I - gamma P^pi is a row diagonally dominant M-matrix, for which the factorisation exists in every order and is stable
// (Meijerink, van der Vorst 1977). States are cut into consecutive blocks that depend on S alone; what couples blocks
// is left out. Eight blocks go side by side, state by state, in the lanes of a vector: each state has to wait for the
// one before it, but not for those of other blocks. Factors are kept in single precision: what a solve with them costs
// is what it reads, and they are approximate anyway.

#ifndef BILEVEL_CORE_MDP_INCOMPLETE_LU_H_
#define BILEVEL_CORE_MDP_INCOMPLETE_LU_H_

#include <cstdint>
#include <vector>

#include "core/base/parallel.h"
#include "core/mdp/sparse_square.h"

namespace bilevel {

class IncompleteLu {
 public:
  // At most kMostEntries. Memory: 4 bytes for each entry, 8 where states of different blocks have not the same
  // neighbours, and 5 for each state (12 where blocks do not go side by side). Cost: about that of fifty products.
  static constexpr uint64_t kMostEntries = uint64_t{1} << 30;
  IncompleteLu(const SparseSquare& A, const ParallelFor& parallel_for);
  IncompleteLu(const SystemRows& A, const ParallelFor& parallel_for);

  // Factorises another matrix with entries at the same places. Cost: about that of fifteen products.
  void Renew(const SystemRows& A);

  const ParallelFor& parallel_for() const { return parallel_for_; }
  // Of the blocks, and the number of states.
  const std::vector<int64_t>& first_states() const { return blocks_; }

  // x <- M^{-1} b and M^{-T} b, in doubles or floats; x may be b. Cost: about that of a product.
  template <typename Real>
  void Solve(const VectorOf<Real>& b, VectorOf<Real>& x) const;
  template <typename Real>
  void SolveTransposed(const VectorOf<Real>& b, VectorOf<Real>& x) const;

 private:
  // The entries of one state in each of the blocks side by side, from its first entry on: lines of one entry each.
  struct Triangle {
    std::vector<uint32_t> offsets;  // first line of each state of a group, group by group
    // Of each line: the column within the block, if it is the same in all of them; else kApart and where its columns
    // begin. A block that has no entry there has a 0.
    std::vector<uint32_t> starts;
    std::vector<uint32_t> columns;
    std::vector<float> values;
  };
  static constexpr uint32_t kApart = uint32_t{1} << 31;
  static constexpr int kWide = 8;

  int64_t num_groups() const { return (static_cast<int64_t>(blocks_.size()) - 1) / width_; }
  // Cuts S states into groups of `width` blocks.
  void Cut(int64_t num_states, int64_t num_groups, int width);
  // Sets all but the numbers; returns the share of places that hold an entry, or 0 where it is soon seen to be small.
  template <typename Rows>
  double FindPattern(const Rows& A);
  // Adds the lines of a state; columns: of each lane.
  void AddLines(const std::vector<std::vector<uint32_t>>& columns, Triangle& triangle) const;
  template <typename Rows>
  void Build(const Rows& A);
  template <typename Rows>
  void Factorize(const Rows& A);
  template <typename Rows>
  void FactorizeBlock(const Rows& A, int64_t block);
  uint32_t Column(const Triangle& triangle, uint32_t line, int64_t lane) const {
    const uint32_t start = triangle.starts[line];
    return start < kApart ? start : triangle.columns[start - kApart + static_cast<size_t>(lane)];
  }
  template <int kWidth, bool kTransposed, typename Real>
  void SolveGroups(const VectorOf<Real>& b, VectorOf<Real>& x) const;

  ParallelFor parallel_for_;
  int width_ = 1;                // blocks side by side
  int64_t longest_ = 0;          // states of the longest block
  std::vector<int64_t> blocks_;  // first states, and S
  // A ~ L D U with ones on the diagonals of L and U.
  Triangle lower_, upper_;
  std::vector<float> inverse_pivots_;  // by group, state and lane
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_INCOMPLETE_LU_H_
