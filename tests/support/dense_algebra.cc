#include "tests/support/dense_algebra.h"

#include "Eigen/Eigenvalues"
#include "Eigen/LU"

namespace bilevel::testing {

Eigen::VectorXd SolveDense(const Eigen::MatrixXd& A, const Eigen::VectorXd& b) { return A.partialPivLu().solve(b); }

Eigen::MatrixXd Inverse(const Eigen::MatrixXd& A) { return A.partialPivLu().inverse(); }

Eigen::VectorXd SymmetricEigenvalues(const Eigen::MatrixXd& A) {
  return Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(A, Eigen::EigenvaluesOnly).eigenvalues();
}

double LeastRealEigenvalue(const Eigen::MatrixXd& A) { return A.eigenvalues().real().minCoeff(); }

double SpectralNorm(const Eigen::MatrixXd& A) { return A.operatorNorm(); }

}  // namespace bilevel::testing
