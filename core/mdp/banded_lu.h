// LU factorisation without pivoting of a row diagonally dominant banded matrix, such as I - gamma P^pi on a grid.
//
// Diagonal dominance survives elimination, so no pivot vanishes and no entry of the reduced matrices more than doubles:
// pivoting is not needed, and the factors stay within the band (Higham, Accuracy and Stability of Numerical Algorithms,
// 2nd ed., theorem 9.9).

#ifndef BILEVEL_CORE_MDP_BANDED_LU_H_
#define BILEVEL_CORE_MDP_BANDED_LU_H_

#include "core/mdp/tabular_mdp.h"

namespace bilevel {

class BandedLu {
 public:
  // Zeros. Entries (i, j) with |i - j| <= bandwidth can be set. Memory: 8 size (2 bandwidth + 1) bytes.
  BandedLu(Eigen::Index size, Eigen::Index bandwidth);

  // The matrix, to be filled before Factorize, which replaces it by its factors. |i - j| <= bandwidth.
  void SetZero() { rows_.setZero(); }
  double& operator()(Eigen::Index i, Eigen::Index j) { return rows_(j - i + width_, i); }

  // In place; size bandwidth^2 multiplications. False when a pivot is not positive: the matrix was not as promised,
  // and the factors are of no use.
  bool Factorize();

  // A^{-1} b and A^{-T} b; 2 size bandwidth multiplications. After Factorize.
  Vector Solve(Vector b) const;
  Vector SolveTransposed(Vector b) const;

 private:
  // Row i of the matrix is column i here: its entries from i - bandwidth to i + bandwidth lie side by side. After
  // Factorize: unit lower factor below the diagonal, upper factor on and above.
  Eigen::MatrixXd rows_;
  Eigen::Index width_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_BANDED_LU_H_
