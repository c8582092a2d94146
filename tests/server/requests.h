// Requests and parts of them that several tests send.

#ifndef BILEVEL_TESTS_SERVER_REQUESTS_H_
#define BILEVEL_TESTS_SERVER_REQUESTS_H_

#include <grpcpp/grpcpp.h>

#include <initializer_list>
#include <span>
#include <vector>

#include "bilevel/v1/solver_service.pb.h"
#include "client/array.h"
#include "client/problems/policy_matching.h"

namespace bilevel::server {

inline constexpr grpc::StatusCode kInvalid = grpc::StatusCode::INVALID_ARGUMENT;

inline v1::Array Reals(const std::vector<double>& elements, std::initializer_list<int> shape = {}) {
  return client::MakeArray(std::span<const double>(elements), shape);
}

// Moves on for longer than any test waits.
inline v1::OptimizeRequest EndlessRequest() {
  v1::OptimizeRequest request;
  client::SeededProblem seeded = client::PolicyMatching(1);
  *request.mutable_problem() = seeded.problem;
  *request.mutable_parameters() = client::MakeArray(seeded.start);
  request.mutable_m_sobirl()->set_step_size(1e-9);
  request.set_max_iterations(2'000'000'000);
  return request;
}

}  // namespace bilevel::server

#endif  // BILEVEL_TESTS_SERVER_REQUESTS_H_
