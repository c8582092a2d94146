// LU factorisation without pivoting of a row diagonally dominant M-matrix, banded or full, such as I - gamma P^pi, in
// blocks of eight rows and columns.
//
// Diagonal dominance survives elimination, so no pivot vanishes and no entry of the reduced matrices more than doubles:
// pivoting is not needed, and the factors stay within the band (Higham, Accuracy and Stability of Numerical Algorithms,
// 2nd ed., theorem 9.9). The factors of diagonal blocks are inverted, so that solving is multiplying. Both are
// M-matrices: their inverses have no negative entry and are formed without cancellation.

#ifndef BILEVEL_CORE_MDP_BLOCK_LU_H_
#define BILEVEL_CORE_MDP_BLOCK_LU_H_

#include <algorithm>
#include <vector>

#include "core/base/aligned_array.h"
#include "core/mdp/block_kernels.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

class BlockLu {
 public:
  // Zeros, of which entries (i, j) with |i - j| <= bandwidth can be set. Memory: Bytes.
  BlockLu(Eigen::Index size, Eigen::Index bandwidth);

  // At most.
  static double Bytes(double size, double bandwidth) {
    return 8 * (size + 7) * std::min(2 * bandwidth + 40, size + 23);
  }

  // The matrix, to be filled before Factorize, which replaces it by its factors. |i - j| <= bandwidth.
  void SetZero();
  double& operator()(Eigen::Index i, Eigen::Index j) {
    return blocks_[static_cast<size_t>(kBlock * (origins_[static_cast<size_t>(i / kLanes)] + j / kLanes) +
                                       kLanes * (j % kLanes) + i % kLanes)];
  }

  // I - gamma P at once; of P, [size, size], what is within the band.
  void SetIdentityMinus(double gamma, const Eigen::MatrixXd& P);

  // In place; size bandwidth^2 multiplications, or size^3/3. False when a pivot is not positive: the matrix was not as
  // promised, and the factors are of no use.
  bool Factorize(InstructionSet set = Fastest());

  // A^{-1} b and A^{-T} b; 2 size bandwidth multiplications, or size^2. After Factorize.
  Vector Solve(const Vector& b, InstructionSet set = Fastest()) const;
  Vector SolveTransposed(const Vector& b, InstructionSet set = Fastest()) const;

 private:
  BlockBand band() const;
  Vector Solved(void (*solve)(const BlockBand&, double*, InstructionSet), const Vector& b, InstructionSet set) const;

  Eigen::Index size_;
  int64_t count_, reach_;
  std::vector<int64_t> origins_;
  // Past `size`, rows and columns of the identity.
  AlignedArray<double> blocks_, lower_, upper_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_BLOCK_LU_H_
