// Dense linear algebra for references in tests, compiled once: every decomposition is slow to compile.

#ifndef BILEVEL_TESTS_SUPPORT_DENSE_ALGEBRA_H_
#define BILEVEL_TESTS_SUPPORT_DENSE_ALGEBRA_H_

#include "Eigen/Core"

namespace bilevel::testing {

// A^{-1} b by LU with partial pivoting; A is invertible.
Eigen::VectorXd SolveDense(const Eigen::MatrixXd& A, const Eigen::VectorXd& b);

Eigen::MatrixXd Inverse(const Eigen::MatrixXd& A);

// Of a symmetric matrix, increasing.
Eigen::VectorXd SymmetricEigenvalues(const Eigen::MatrixXd& A);

// Smallest real part of an eigenvalue.
double LeastRealEigenvalue(const Eigen::MatrixXd& A);

// The largest singular value.
double SpectralNorm(const Eigen::MatrixXd& A);

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_DENSE_ALGEBRA_H_
