// phi(x) and its hyper-gradient, with certificates.
//
//   d phi / dx = df/dx + J_r(x)^T lambda + gamma J_P(x)^T (lambda V^T),   lambda from the adjoint of each context
//                                                                                              (math.md (8), (9))
//
// Certificates (math.md section 3; derived in core/README.md): backward errors are free; the estimate is the distance
// to the gradient one Newton step further; the bound adds to it a bound on the error of that further gradient, by
// propagating entrywise error bounds of V, pi, y and z'.

#ifndef BILEVEL_CORE_HYPERGRADIENT_HYPERGRADIENT_H_
#define BILEVEL_CORE_HYPERGRADIENT_HYPERGRADIENT_H_

#include <limits>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/interrupt.h"
#include "core/hypergradient/adjoint.h"
#include "core/mdp/lower_level.h"
#include "core/problem/bilevel_problem.h"
#include "core/problem/world.h"

namespace bilevel {

struct ContextGradient;
struct ContextRequest;

struct Certificate {
  double backward_error = 0;          // largest |V - T V|_inf over contexts
  double adjoint_backward_error = 0;  // largest |residual|_1 of an adjoint system over contexts
  // Infinite where they were not computed, or overflowed.
  double error_estimate = std::numeric_limits<double>::infinity();         // of |gradient - true gradient|_2; no bound
  double error_bound = std::numeric_limits<double>::infinity();            // >= |gradient - true gradient|_2
  double objective_error_bound = std::numeric_limits<double>::infinity();  // >= |objective - true objective|
};

// Where inner solves start; one entry for each context, each vector [S] or empty.
struct WarmStart {
  std::vector<Vector> values;
  std::vector<Vector> adjoints;
};

struct ContextPoint {
  LowerLevelSolution solution;
  LargestError error;               // of the answer; infinite when it was not certified
  PolicySystem::Counters counters;  // linear algebra of this evaluation
};

struct HypergradientPoint {
  Vector x;
  double objective = 0;
  std::vector<double> context_objectives;
  std::vector<double> multipliers;  // under the worst case: each context's share in the gradient; else empty
  Vector gradient;
  double gradient_norm = 0;  // of the projected gradient map at unit step
  bool certified = false;
  Certificate certificate;  // without certification: backward errors alone
  Termination termination;
  std::vector<ContextPoint> contexts;
};

// Evaluates at many x, one after the other; keeps factorisations and warm starts between calls. Not thread-safe.
// Contexts may go at the same time (core/problem/for_contexts.h).
class HypergradientEvaluator {
 public:
  // problem must outlive this, pass CheckObjective; options must be valid. Entries of `start` with the wrong size are
  // ignored.
  HypergradientEvaluator(const BilevelProblem& problem, const LowerLevelOptions& options, const WarmStart& start = {});
  ~HypergradientEvaluator();

  // Objective and gradient at x. An interruption or a limit is no error: the point says so in `termination`, and its
  // bound still holds. INVALID_ARGUMENT: see SolveLowerLevel; once a point has come to something no more.
  absl::StatusOr<HypergradientPoint> Evaluate(const Vector& x, const Interrupt& interrupt);

  // The same with all certificates.
  absl::StatusOr<HypergradientPoint> EvaluateCertified(const Vector& x, const Interrupt& interrupt);

  // Objective alone: no adjoint.
  struct ObjectiveValue {
    double value = 0;
    Termination termination;
  };
  absl::StatusOr<ObjectiveValue> EvaluateObjective(const Vector& x, const Interrupt& interrupt);

  // From now on followers and adjoints are solved to rounding level. False when they were already.
  bool Sharpen();

  // The state after the last evaluation.
  const WarmStart& warm_start() const { return warm_start_; }

  int evaluations() const { return evaluations_; }

 private:
  struct Mapped {
    Vector theta, rounding;  // [n]
  };
  struct Contribution;

  absl::StatusOr<HypergradientPoint> Run(const Vector& x, bool certify, const Interrupt& interrupt);
  // What any number of contexts do at the same time: each changes what is its own.
  absl::StatusOr<Contribution> RunContext(size_t c, const Vector& x, const Mapped& at, bool certify,
                                          const Interrupt& interrupt);
  void CertifyContext(size_t c, const Mapped& at, const ContextRequest& request, const ContextGradient& gradient,
                      RegularizedMdp& follower, Contribution& part);
  void Combine(const std::vector<Contribution>& parts, bool certify, const Interrupt& interrupt,
               HypergradientPoint& point) const;

  const BilevelProblem& problem_;
  LowerLevelOptions options_;
  bool sharp_ = false;
  WarmStart warm_start_;
  std::vector<char> norms_hopeless_;            // for certificates, of each context
  std::vector<std::unique_ptr<World>> worlds_;  // one for each context
  int evaluations_ = 0;
};

// The worse of two terminations: DIVERGED, CANCELLED, TIME, EVALUATION, ITERATION limits, CONVERGED; on a tie the
// first.
const Termination& Worse(const Termination& a, const Termination& b);

}  // namespace bilevel

#endif  // BILEVEL_CORE_HYPERGRADIENT_HYPERGRADIENT_H_
