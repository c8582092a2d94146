// DENSE-SOBIRL: the synthetic problem of Yang, Gao, Yuan (2025), arXiv:2405.19697 (math.md 5), at any S:
//
//   A = 5, n = 100, temperature 1;  r(s,a; x) = u(s,a) u'(s,a) x^T M x;  f = 0.5 |x|^2 + 0.5 |pi|^2;  rows of P on
//   U{1..S-1} distinct states, x_1 ~ N(0, I); steps of 8e-3 along the hyper-gradient.

#ifndef BILEVEL_TESTS_BENCHMARKS_SUITE_DENSE_SOBIRL_H_
#define BILEVEL_TESTS_BENCHMARKS_SUITE_DENSE_SOBIRL_H_

#include <string>
#include <vector>

#include "core/problem/bilevel_problem.h"
#include "tests/benchmarks/suite/row.h"

namespace bilevel::benchmarks {

struct DenseSobirl {
  BilevelProblem problem;
  Eigen::MatrixXd transitions;  // [S*A, S]
  Vector coefficient;           // u u' [S*A]
  Eigen::MatrixXd matrix;       // M [n, n]
  Vector start;                 // x_1
};

DenseSobirl MakeDenseSobirl(int num_states, double discount);

inline constexpr double kDenseStep = 8e-3;

// One exact outer iteration: policy at x, adjoint, hyper-gradient, warm from the step before; median over the first 40
// steps from x_1, after which the follower hardly moves. Rows: beside three dense
// LU of the same size and two products with the reward's Jacobian, timed in turns; at S = 10 also beside what the
// authors publish for theirs; certified.
std::vector<Row> MeasureDenseSobirl(int num_states, double discount);

// |x| after as many steps as those that MeasureDenseSobirl takes.
double EndOfDenseSobirl(int num_states, double discount);

// Writes `transitions`, `coefficient`, `matrix`, `start` (f64, by rows) to a directory.
void WriteDenseSobirl(int num_states, double discount, const std::string& directory);

}  // namespace bilevel::benchmarks

#endif  // BILEVEL_TESTS_BENCHMARKS_SUITE_DENSE_SOBIRL_H_
