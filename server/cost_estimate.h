// What a request will cost, from its sizes alone, before memory is taken: the basis of admission and of validate_only.
//
// bytes bounds the peak from above by a small factor: the message itself, the decoded problem, one linear system for
// each context (direct: P^pi, a factorisation for each distinct discount and working copies, each 8 S^2; else P^pi, its
// transpose and preconditioners, or factorisations within a band), some 40 vectors of [S*A], 20 of [n], the pairs of
// quasi_newton, the Hessian of truncated_newton. seconds is an order of magnitude. Environments that a problem names
// hold memory of their own, which is not counted again. What checking alone takes, for validate_only, is the decoded
// problem and a look at it.

#ifndef BILEVEL_SERVER_COST_ESTIMATE_H_
#define BILEVEL_SERVER_COST_ESTIMATE_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/solver_service.pb.h"
#include "server/convert/stored_environment.h"
#include "server/limits.h"

namespace bilevel::server {

// Requests estimated below this run in the short lane.
inline constexpr double kShortSeconds = 0.05;

// Many points of small problems go at the same time, in runs of so many, each with an evaluator of its own.
inline constexpr size_t kPointsInRun = 8;
struct EnvironmentTotals {  // over contexts
  double states = 0;
  double rows = 0;
  double entries = 0;
};
bool PointsGoTogether(double points, const EnvironmentTotals& totals);

struct Cost {
  double bytes = 0;
  double seconds = 0;
  double response_bytes = 0;
  double check_bytes = 0;  // at most bytes
  double check_seconds = 0;
};

// What no request of so many bytes costs less than.
double LeastBytes(double message_bytes);

// INVALID_ARGUMENT when sizes contradict each other, RESOURCE_EXHAUSTED when a limit is exceeded, the response's
// (RESPONSE_TOO_LARGE) included. environments: all that the problem names. Reads no array elements: cheap enough for a
// thread that must not wait.
absl::StatusOr<Cost> EstimateCost(const v1::SolveLowerLevelRequest& request, const Limits& limits,
                                  const NamedEnvironments& environments = {});
absl::StatusOr<Cost> EstimateCost(const v1::EvaluateHypergradientRequest& request, const Limits& limits,
                                  const NamedEnvironments& environments = {});
absl::StatusOr<Cost> EstimateCost(const v1::PullbackRequest& request, const Limits& limits,
                                  const NamedEnvironments& environments = {});
absl::StatusOr<Cost> EstimateCost(const v1::CheckGradientRequest& request, const Limits& limits,
                                  const NamedEnvironments& environments = {});
absl::StatusOr<Cost> EstimateCost(const v1::OptimizeRequest& request, const Limits& limits,
                                  const NamedEnvironments& environments = {});

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_COST_ESTIMATE_H_
