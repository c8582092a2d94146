// An example problem as core sees it: built by the client, read by the server's conversion.

#ifndef BILEVEL_TESTS_PROBLEMS_DECODED_H_
#define BILEVEL_TESTS_PROBLEMS_DECODED_H_

#include <vector>

#include "server/convert/problem.h"

namespace bilevel::testing {

inline BilevelProblem Decoded(const v1::Problem& problem) {
  return server::DecodeProblem(problem, server::Purpose::kGradient, server::Limits()).value();
}

inline Vector ToVector(const std::vector<double>& numbers) {
  return Eigen::Map<const Vector>(numbers.data(), static_cast<Eigen::Index>(numbers.size()));
}

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_PROBLEMS_DECODED_H_
