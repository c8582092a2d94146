// An environment that moves with theta: transition probabilities and initial distribution as mixtures.
//
//   P(s2|s,a) = sum_j features(entry, j) theta_j   in rows (s,a) that have features; the others stay as they are
//   rho(s)    = sum_j initial(s, j) theta_j        when there are any
//
// features >= 0, and theta_j must belong to softmax groups of positive scale, so that theta >= 0 sums to the scale of
// its group whatever x is. A row stays a distribution for every x exactly if, for each group, its features' sum over
// the row is the same for every j of the group, and these sums, times the scales, add up to the row's sum. That is
// checked once. A mixture sum_j omega_j P_j has features(entry, j) = P_j(s2|s,a) and omega a softmax group.

#ifndef BILEVEL_CORE_PROBLEM_PARAMETRIC_DYNAMICS_H_
#define BILEVEL_CORE_PROBLEM_PARAMETRIC_DYNAMICS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "core/problem/parameter_map.h"
#include "core/problem/parametric_reward.h"

namespace bilevel {

// A derivative with respect to an environment: df/dP(s2|s,a) = row(s,a) column(s2), and df/drho. Empty vectors: 0.
struct EnvironmentDerivative {
  Vector row;      // [S*A]
  Vector column;   // [S]
  Vector initial;  // [S]
};

struct ParametricDynamicsSpec {
  SparseRows transitions;  // [entries, n]; empty (0 x 0) means none
  SparseRows initial;      // [S, n]; empty (0 x 0) means none
};

class ParametricDynamics {
 public:
  // Field errors: "transition_features", "initial_features". Cost: O(features + entries).
  static absl::StatusOr<ParametricDynamics> Create(const TabularMdp& mdp, const ParameterMap& map,
                                                   ParametricDynamicsSpec spec);

  // Puts `mdp`, a copy of the one of Create, where theta says. theta_rounding: bound on the errors of theta, [n].
  void Move(const Vector& theta, const Vector& theta_rounding, TabularMdp& mdp) const;

  // How the probabilities [entries] and the initial distribution [S] move with theta; empty where they do not.
  std::vector<double> TransitionsTangent(const Vector& theta_tangent) const;
  Vector InitialTangent(const Vector& theta_tangent) const;

  // Adds weight * df/dtheta.
  void AddPullback(const TabularMdp& mdp, double weight, const EnvironmentDerivative& derivative,
                   Vector& theta_gradient) const;

  // Adds how AddPullback moves with its derivative, to first order.
  void AddPullbackTangent(const TabularMdp& mdp, double weight, const EnvironmentDerivative& derivative,
                          const EnvironmentDerivative& tangent, Vector& theta_gradient) const;

  // [n]: 1 for each theta that enters.
  const Vector& used() const { return used_; }

  // Adds how much each theta moves, 0 when nothing (all probabilities counted with weight 1).
  void AddInfluence(Vector& theta_influence) const;

  // How far AddPullback moves when the vectors of `derivative` move by at most `radius`, and when it is rounded.
  void AddPullbackRadius(const TabularMdp& mdp, double weight, const EnvironmentDerivative& derivative,
                         const EnvironmentDerivative& radius, Vector& theta_radius) const;

 private:
  ParametricDynamics() = default;

  SparseRows transitions_, initial_;
  std::vector<uint8_t> moves_;   // [entries], whether its row moves
  Vector used_;                  // [n], 1 where theta enters
  double max_row_features_ = 0;  // of either matrix
  double max_column_features_ = 0;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_PARAMETRIC_DYNAMICS_H_
