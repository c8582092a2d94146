// r(s,a; x) = base + features * theta + coefficient * (x^T M x), theta = g(x).
//
// Used for the follower's reward and for the leader's. M need not be symmetric.

#ifndef BILEVEL_CORE_PROBLEM_PARAMETRIC_REWARD_H_
#define BILEVEL_CORE_PROBLEM_PARAMETRIC_REWARD_H_

#include "absl/status/statusor.h"
#include "core/mdp/tabular_mdp.h"
#include "core/problem/feature_rows.h"

namespace bilevel {

// d/dtheta and the explicit d/dx (through quadratic forms), before the parameter map joins them.
struct ParameterGradient {
  Vector theta;
  Vector x;

  ParameterGradient() = default;
  explicit ParameterGradient(Eigen::Index n) : theta(Vector::Zero(n)), x(Vector::Zero(n)) {}
  void Add(double weight, const ParameterGradient& other) {
    theta += weight * other.theta;
    x += weight * other.x;
  }
  void AddMagnitude(double weight, const ParameterGradient& other) {
    theta += weight * other.theta.cwiseAbs();
    x += weight * other.x.cwiseAbs();
  }
};

struct ParametricRewardSpec {
  Vector base;             // [S*A]; empty means 0
  SparseRows features;     // [S*A, n]; empty (0 x 0) means none
  Vector coefficient;      // [S*A]; empty means no quadratic form
  Eigen::MatrixXd matrix;  // M [n, n]
};

class ParametricReward {
 public:
  // Field errors: "base", "features", "quadratic.coefficient", "quadratic.matrix"; sizes must agree, entries be finite.
  static absl::StatusOr<ParametricReward> Create(Eigen::Index num_rows, int num_parameters, ParametricRewardSpec spec);

  // d/dx of x^T M x, [n]; empty where there is no quadratic form. Evaluate and AddPullback both need it: n^2, against
  // their S*A.
  Vector Slope(const Vector& x) const;

  // r [S*A]. slope: Slope(x).
  Vector Evaluate(const Vector& x, const Vector& theta) const { return EvaluateAt(x, theta, Slope(x)); }
  Vector EvaluateAt(const Vector& x, const Vector& theta, const Vector& slope) const;

  // What x adds to the base, [S*A].
  Vector EvaluateIncentive(const Vector& x, const Vector& theta) const;

  // Bound on the rounding error of Evaluate, and on what errors of theta of at most theta_rounding do to it, [S*A].
  Vector BoundRounding(const Vector& x, const Vector& theta, const Vector& theta_rounding) const;

  // How r moves with x and theta to first order, [S*A].
  Vector Pushforward(const Vector& x, const Vector& x_tangent, const Vector& theta_tangent) const;

  // Adds J_r^T weight, weight [S*A]. slope: Slope(x).
  void AddPullback(const Vector& weight, const Vector& x, ParameterGradient& gradient) const {
    AddPullbackAt(weight, Slope(x), gradient);
  }
  void AddPullbackAt(const Vector& weight, const Vector& slope, ParameterGradient& gradient) const;

  // Adds how J_r(x)^T weight moves with weight and x to first order.
  void AddPullbackTangent(const Vector& weight, const Vector& weight_tangent, const Vector& x, const Vector& x_tangent,
                          ParameterGradient& gradient) const;

  // How far AddPullback moves when weights move by at most radius >= 0, entry by entry, and something of 1-norm mass on
  // top; rounding included for weights of at most |magnitude|.
  void AddPullbackRadius(Vector radius, double mass, const Vector& magnitude, const Vector& x,
                         ParameterGradient& gradient_radius) const;

  // Adds the absolute values of what multiplies each theta and each x: 0 means that it moves nothing.
  void AddInfluence(ParameterGradient& influence) const;

  // grad r by rows: [S*A, d], d = n, and one column more, the coefficient, where there is a quadratic form. A vector
  // that is a sum of these rows becomes a gradient by AddFeatureGradient.
  SparseRows GradientFeatures() const;
  Eigen::Index num_gradient_features() const {
    return std::max(features_.cols(), matrix_.cols()) + (has_quadratic() ? 1 : 0);
  }
  void AddFeatureGradient(const Vector& features, const Vector& x, ParameterGradient& gradient) const;

  // Whether the reward moves with x at all.
  bool depends_on_parameters() const { return !features_.empty() || has_quadratic(); }

  // Whether x enters beside theta.
  bool has_quadratic() const { return coefficient_.size() != 0; }

 private:
  ParametricReward() = default;
  void AddIncentive(const Vector& x, const Vector& theta, const Vector& slope, Vector& r) const;

  Eigen::Index num_rows_ = 0;
  Vector base_;  // empty: 0
  FeatureRows features_;
  Vector coefficient_;
  Eigen::MatrixXd matrix_;  // (M + M^T) / 2
  double matrix_norm_ = 0;  // Frobenius
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_PARAMETRIC_REWARD_H_
