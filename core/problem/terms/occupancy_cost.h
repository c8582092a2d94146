// What terms share whose derivative goes through the occupancy: f depends on pi, P and rho through d pi, and
// c = df/d(d pi) is a cost to be evaluated like a leader's.

#ifndef BILEVEL_CORE_PROBLEM_TERMS_OCCUPANCY_COST_H_
#define BILEVEL_CORE_PROBLEM_TERMS_OCCUPANCY_COST_H_

#include <optional>

#include "core/problem/terms/term_evaluation.h"

namespace bilevel {

// Where and how far ahead such a term looks.
struct OccupancyHorizon {
  double gamma;
  const Vector& rho;
  bool follows_context;      // gamma is the context's discount
  bool follows_environment;  // rho is the environment's initial distribution
};
OccupancyHorizon HorizonOf(const std::optional<double>& discount, const Vector& initial, const TermInput& input);

// Fills y, policy_value and the direct derivatives in P and rho of `term`, which holds cost and occupancy already.
void FinishOccupancyTerm(const TermInput& input, const OccupancyHorizon& horizon, const TermValue* near,
                         TermValue& term);

// Bounds for what FinishOccupancyTerm filled. cost_radius: how far the cost is from the exact one, [S*A].
TermRadius BoundOccupancyTerm(const TermInput& input, const OccupancyHorizon& horizon, const TermValue& term,
                              const FollowerError& error, const OccupancyRadius& occupancy, const Vector& cost_radius,
                              Majorant& majorant);

// How it moves when the cost moves by cost_tangent.
TermTangent DifferentiateOccupancyTerm(const TermInput& input, const OccupancyHorizon& horizon, const TermValue& term,
                                       const TermTangentInput& tangent, const OccupancyTangent& occupancy,
                                       const Vector& cost_tangent);

// The movement of policy, transitions and the horizon's discount.
PolicyDirection DirectionOf(const OccupancyHorizon& horizon, const TermTangentInput& tangent);

// A majorant for the horizon's discount: the follower's where that is the same.
class HorizonMajorant {
 public:
  HorizonMajorant(const TermInput& input, const OccupancyHorizon& horizon, const TermErrorInput& errors);
  Majorant& get() { return own_.has_value() ? *own_ : follower_; }

 private:
  std::optional<Majorant> own_;
  Majorant& follower_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_TERMS_OCCUPANCY_COST_H_
