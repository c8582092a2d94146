#include "client/cli/referee.h"

#include <cmath>
#include <utility>

#include "client/cli/report.h"

namespace bilevel::client {

Referee::Referee(const BilevelClient& client, v1::Problem truth) : client_(client) {
  *request_.mutable_problem() = std::move(truth);
  request_.set_return_policies(true);
  request_.set_return_warm_start(true);
}

absl::StatusOr<v1::Hypergradient> Referee::Evaluate(const v1::Array& x) {
  *request_.mutable_parameters() = x;
  absl::StatusOr<v1::EvaluateHypergradientResponse> response = client_.EvaluateHypergradient(request_);
  if (!response.ok()) return response.status();
  if (response->points().empty()) return absl::DeadlineExceededError("the exact answer took too long");
  v1::Hypergradient point = std::move(*response->mutable_points(0));
  *request_.mutable_warm_start() = std::move(*point.mutable_warm_start());
  return point;
}

Comparison Referee::Compare(const v1::Array& estimated_gradient, const v1::Hypergradient& exact) {
  const std::vector<double> estimate = Elements(estimated_gradient);
  const std::vector<double> truth = Elements(exact.gradient());
  double product = 0.0;
  double estimate_squares = 0.0;
  double truth_squares = 0.0;
  double error_squares = 0.0;
  for (std::size_t i = 0; i < truth.size() && i < estimate.size(); ++i) {
    product += estimate[i] * truth[i];
    estimate_squares += estimate[i] * estimate[i];
    truth_squares += truth[i] * truth[i];
    error_squares += (estimate[i] - truth[i]) * (estimate[i] - truth[i]);
  }
  return {.objective = exact.objective(),
          .gradient_norm = exact.gradient_norm(),
          .cosine = product / std::sqrt(estimate_squares * truth_squares),
          .error = std::sqrt(error_squares / truth_squares)};
}

}  // namespace bilevel::client
