// A limited-memory quasi-Newton (BFGS) model B of a Hessian, kept as the last pairs of a step s and the change y of the
// gradient along it.
//
//   B = sigma I - [sigma S  Y] [sigma S^T S  L; L^T  -D]^{-1} [sigma S  Y]^T,   sigma = y^T y / s^T y of the last pair,
//   D = diag(S^T Y), L the strictly lower part of S^T Y
//
// B is what BFGS makes of sigma I with these pairs, oldest first; it is positive definite, since every pair has
// s^T y > 0. Shapes: n parameters, k pairs, k <= memory. Memory: 4 k n numbers.
//
// Byrd, Nocedal, Schnabel (1994), "Representations of quasi-Newton matrices and their use in limited memory methods",
// theorem 2.3; two-loop recursion: Nocedal (1980), "Updating quasi-Newton matrices with limited storage".

#ifndef BILEVEL_CORE_SOLVERS_LIMITED_MEMORY_H_
#define BILEVEL_CORE_SOLVERS_LIMITED_MEMORY_H_

#include <Eigen/LU>

#include "absl/status/status.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

// The pairs, oldest first, as columns: [n, k].
struct QuasiNewtonState {
  Eigen::MatrixXd steps;             // s
  Eigen::MatrixXd gradient_changes;  // y, of the gradient of what is minimised

  // Shapes agree, entries are finite, every pair has s^T y > 1e-10 |s| |y|. Field errors "steps", "gradient_changes".
  absl::Status Validate() const;
};

class LimitedMemory {
 public:
  // state: valid, with n rows or none, at most `memory` pairs.
  LimitedMemory(int memory, QuasiNewtonState state);

  // Adds a pair, dropping the oldest when full. A pair with s^T y <= 1e-10 |s| |y| is refused: false. Cost: O(k^2 n).
  bool Add(const Vector& s, const Vector& y);

  void Clear();
  bool empty() const { return state_.steps.cols() == 0; }
  const QuasiNewtonState& state() const { return state_; }

  // sigma; needs a pair.
  double scale() const { return scale_; }

  // B v; needs a pair. Cost: O(k n).
  Vector Multiply(const Vector& v) const;

  // B^{-1} v; needs a pair. Cost: O(k n).
  Vector Solve(const Vector& v) const;

 private:
  void Factorize();

  int memory_;
  QuasiNewtonState state_;
  double scale_ = 1;
  Eigen::MatrixXd wide_;                       // [sigma S  Y], [n, 2k]
  Eigen::PartialPivLU<Eigen::MatrixXd> core_;  // of the middle matrix, [2k, 2k]
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_LIMITED_MEMORY_H_
