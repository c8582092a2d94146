// An independent answer: everything in long double, dense, by forward sensitivities instead of an adjoint.
//
//   V: soft policy iteration from zero with a dense LU;   (I - gamma P^pi) dV = sum_a pi dr;   dQ = dr + gamma P dV
//   dpi = pi (dQ - dV) / tau;   each objective term differentiated along dpi.

#ifndef BILEVEL_TESTS_SUPPORT_REFERENCE_H_
#define BILEVEL_TESTS_SUPPORT_REFERENCE_H_

#include "tests/support/random_problem.h"

namespace bilevel::testing {

using LongVector = Eigen::Matrix<long double, Eigen::Dynamic, 1>;
using LongMatrix = Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>;

// The soft-optimal answer for a given reward.
struct ReferenceSolution {
  LongMatrix transitions;  // P [S*A, S], 0 in unavailable rows
  LongVector value;        // V [S]
  LongVector q;            // [S*A]; 0 where unavailable
  LongVector pi;           // [S*A]
  LongVector log_pi;       // [S*A]; 0 where unavailable
};
ReferenceSolution SolveReference(const TabularMdpSpec& mdp, const LongVector& reward, long double discount,
                                 long double temperature);

// The same with other transitions P [S*A, S], 0 in unavailable rows.
ReferenceSolution SolveReference(const TabularMdpSpec& mdp, const LongMatrix& transitions, const LongVector& reward,
                                 long double discount, long double temperature);

struct ReferencePoint {
  long double objective = 0;
  LongVector gradient;                       // [n]
  std::vector<ReferenceSolution> solutions;  // for each context
};
ReferencePoint EvaluateReference(const ProblemNumbers& numbers, const Vector& x);

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_REFERENCE_H_
