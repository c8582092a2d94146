// Multigrid by aggregation for I - gamma P^pi: a preconditioner where information has far to go.
//
// States that follow each other most likely are joined, in pairs and then pairs of pairs, which makes a smaller matrix
// of the same kind: I - gamma P^pi of a process that moves between groups. So on, down to one that LU solves. A
// solution of the smaller one, each group moving as one, is what the incomplete LU of the larger one cannot see; with Q
// that correction and S the incomplete LU,
//
//   M^{-1} = Q + S (I - A Q),   M^{-T} = S^T + Q^T (I - A^T S^T).
//
// Notay (2010), "An aggregation-based algebraic multigrid method", has the double pairwise matching.

#ifndef BILEVEL_CORE_MDP_AGGREGATION_MULTIGRID_H_
#define BILEVEL_CORE_MDP_AGGREGATION_MULTIGRID_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "Eigen/LU"
#include "core/mdp/incomplete_lu.h"
#include "core/mdp/policy_matrix.h"
#include "core/mdp/sparse_square.h"

namespace bilevel {

class AggregationMultigrid {
 public:
  // The policy matrix must outlive this and stay merged; when it holds another policy, so does the A above, and S and
  // what is smaller stay. Memory: about 35 bytes for each pair, 50 meanwhile. Cost: about that of 20 products.
  AggregationMultigrid(const SystemRows& system, const ParallelFor& parallel_for);

  // x <- M^{-1} b and M^{-T} b, in doubles or floats, into another vector. Cost: about that of 5 products.
  template <typename Real>
  void Solve(const VectorOf<Real>& b, VectorOf<Real>& x) const {
    Cycle(0, b, x);
  }
  template <typename Real>
  void SolveTransposed(const VectorOf<Real>& b, VectorOf<Real>& x) const {
    CycleTransposed(0, b, x);
  }

 private:
  struct Level {
    SparseSquare matrix;  // empty in the first, whose is the system's
    IncompleteLu smoother;
    std::vector<uint32_t> group;  // of each state, in the next level
    int64_t num_groups = 0;
  };

  // r <- b - A x and b - A^T x on a level.
  template <typename Real>
  void SubtractProduct(size_t level, const VectorOf<Real>& x, const VectorOf<Real>& b, VectorOf<Real>& r) const;
  template <typename Real>
  void SubtractTransposedProduct(size_t level, const VectorOf<Real>& x, const VectorOf<Real>& b,
                                 VectorOf<Real>& r) const;
  template <typename Real>
  void Cycle(size_t level, const VectorOf<Real>& b, VectorOf<Real>& x) const;
  template <typename Real>
  void CycleTransposed(size_t level, const VectorOf<Real>& b, VectorOf<Real>& x) const;

  SystemRows system_;
  std::vector<Level> levels_;
  Eigen::PartialPivLU<Eigen::MatrixXd> coarsest_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_AGGREGATION_MULTIGRID_H_
