// theta = g(x): the parameters that rewards see, from the parameters that the leader moves.
//
// Groups of consecutive parameters; theta has one entry for each entry of x. Rewards are linear in theta, so the
// leader's budget shares, caps and signs live here.

#ifndef BILEVEL_CORE_PROBLEM_PARAMETER_MAP_H_
#define BILEVEL_CORE_PROBLEM_PARAMETER_MAP_H_

#include <vector>

#include "absl/status/statusor.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

// exp(logits) / sum exp(logits), without overflow. logits: at least one.
Vector Softmax(const Vector& logits);

enum class MapKind { kIdentity, kSigmoid, kSoftmax, kExp, kTanh };

struct ParameterGroup {
  int size = 0;  // >= 1
  MapKind kind = MapKind::kIdentity;
  double scale = 1;  // finite; theta = scale * map(x)
};

class ParameterMap {
 public:
  // Sizes must sum to num_parameters; no groups mean theta = x. A field error ("[2].size") names a broken rule.
  static absl::StatusOr<ParameterMap> Create(int num_parameters, std::vector<ParameterGroup> groups);

  int num_parameters() const { return num_parameters_; }
  const std::vector<ParameterGroup>& groups() const { return groups_; }

  // theta [n]. Not finite where exp overflows.
  Vector Apply(const Vector& x) const;

  // Bound on the rounding errors of `theta` = Apply(x), [n].
  Vector BoundRounding(const Vector& x, const Vector& theta) const;

  // J^T theta_gradient, J = d theta / d x at x. Cost: O(n).
  Vector Pullback(const Vector& x, const Vector& theta_gradient) const;

  // theta and J^T theta_gradient with every scale taken as 1: how theta and J^T move with the scales.
  Vector ApplyUnscaled(const Vector& x) const;
  Vector PullbackUnscaled(const Vector& x, const Vector& theta_gradient) const;

  // J x_tangent, and how J^T theta_gradient moves with x along x_tangent, theta_gradient held fixed. Cost: O(n).
  Vector Pushforward(const Vector& x, const Vector& x_tangent) const;
  Vector PullbackTangent(const Vector& x, const Vector& x_tangent, const Vector& theta_gradient) const;

  // Whether each x moves something, given how much each theta does (>= 0): its own theta, in softmax groups all of the
  // group's; scale 0 moves nothing.
  Vector SpreadInfluence(const Vector& theta_influence) const;

  // Entrywise |J|^T radius: how far Pullback moves when each theta_gradient moves by at most radius >= 0.
  Vector PullbackRadius(const Vector& x, const Vector& radius) const;

  // Bound on the rounding errors of Pullback for |theta_gradient| <= magnitude, [n].
  Vector BoundPullbackRounding(const Vector& x, const Vector& magnitude) const;

 private:
  ParameterMap() = default;
  ParameterMap WithoutScales() const;
  int num_parameters_ = 0;
  std::vector<ParameterGroup> groups_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_PARAMETER_MAP_H_
