// bilevel.v1.Problem -> BilevelProblem, and the x at which it is asked about.

#ifndef BILEVEL_SERVER_CONVERT_PROBLEM_H_
#define BILEVEL_SERVER_CONVERT_PROBLEM_H_

#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/problem.pb.h"
#include "core/problem/bilevel_problem.h"
#include "server/convert/stored_environment.h"
#include "server/limits.h"

namespace bilevel::server {

// What the call wants of the problem.
enum class Purpose {
  kFollower,  // followers' answers alone: sense, objective terms and parameters may be missing
  kGradient,  // a hyper-gradient: a sense, terms in every context of positive weight, num_parameters >= 1
};

// Contexts with equal Environment messages, at most 16 apart, share one TabularMdp, and those with equal names share
// the one of `environments`, which has all that the problem names.
absl::StatusOr<BilevelProblem> DecodeProblem(const v1::Problem& problem, Purpose purpose, const Limits& limits,
                                             const NamedEnvironments& environments = {});

// x [n], zeros when the array is absent. theta = g(x) must be finite too. Field errors relative to `parameters`.
absl::StatusOr<Vector> DecodeParameters(const v1::Array* parameters, const BilevelProblem& problem);

// One x [n] or many [k, n], in order.
absl::StatusOr<std::vector<Vector>> DecodePoints(const v1::Array* parameters, const BilevelProblem& problem);

// k of DecodePoints as far as the message says, at least 1.
int64_t CountPoints(const v1::Array& parameters);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_PROBLEM_H_
