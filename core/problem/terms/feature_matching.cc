#include "core/problem/terms/feature_matching.h"

#include "core/base/floating_point.h"
#include "core/problem/feature_rows.h"
#include "core/problem/terms/occupancy_cost.h"

namespace bilevel {

TermValue EvaluateTerm(const FeatureMatching& term, const TermInput& input, const TermValue* near) {
  const OccupancyHorizon horizon = HorizonOf(term.discount, term.initial, input);
  TermValue result;
  result.occupancy =
      EvaluateOccupancy(input.policy(), horizon.gamma, horizon.rho, near == nullptr ? nullptr : &near->occupancy);
  result.feature_gap = term.features.transpose() * result.occupancy.visits - term.target;
  result.cost = term.features * result.feature_gap;
  FinishOccupancyTerm(input, horizon, near, result);
  result.value = 0.5 * result.feature_gap.squaredNorm();
  return result;
}

TermRadius BoundTermError(const FeatureMatching& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors) {
  const OccupancyHorizon horizon = HorizonOf(term.discount, term.initial, input);
  HorizonMajorant majorant(input, horizon, errors);
  const OccupancyRadius occupancy =
      BoundOccupancy(input.policy(), horizon.gamma, horizon.rho, value.occupancy, errors.error, majorant.get());
  const SparseRows size = term.features.cwiseAbs();
  const double sums = static_cast<double>(size.rows()) + 4;
  const Vector abs_gap = value.feature_gap.cwiseAbs();
  Vector gap_radius = size.transpose() * (occupancy.visits + sums * kUnitRoundoff * value.occupancy.visits.cwiseAbs()) +
                      2 * kUnitRoundoff * (abs_gap + term.target.cwiseAbs());
  if (occupancy.mass > 0) gap_radius += (1 + 1e-12) * occupancy.mass * FeatureRows(size).LargestInColumns();
  const Vector cost_radius = size * (gap_radius + (static_cast<double>(size.cols()) + 2) * kUnitRoundoff * abs_gap);
  TermRadius radius = BoundOccupancyTerm(input, horizon, value, errors.error, occupancy, cost_radius, majorant.get());
  radius.value = gap_radius.dot(abs_gap + 0.5 * gap_radius) +
                 (static_cast<double>(abs_gap.size()) + 4) * kUnitRoundoff * value.value;
  return radius;
}

TermTangent DifferentiateTerm(const FeatureMatching& term, const TermInput& input, const TermValue& value,
                              const TermTangentInput& tangent) {
  const OccupancyHorizon horizon = HorizonOf(term.discount, term.initial, input);
  const OccupancyTangent occupancy =
      DifferentiateOccupancy(input.policy(), horizon.gamma, value.occupancy, DirectionOf(horizon, tangent),
                             horizon.follows_environment ? tangent.initial : Vector());
  const Vector gap = term.features.transpose() * occupancy.visits;
  return DifferentiateOccupancyTerm(input, horizon, value, tangent, occupancy, term.features * gap);
}

}  // namespace bilevel
