// The hyper-gradient of the model that transitions estimate, and how far chance may have moved it.
//
// Everything is exact on the estimated model (estimated_model.h); what is left is the model's own error. It is told by
// the Bayesian bootstrap: the model is redrawn `redraws` times and the gradient taken again,
//
//   standard error = sqrt(mean |g_b - mean g_b|^2),   bias estimate = mean g_b - g,   entry by entry.
//
// Both are right to first order in 1/n(s,a); rows that were never seen add nothing to either: their share of the error
// is the prior's, and is not known.

#ifndef BILEVEL_CORE_STREAMING_PLUG_IN_H_
#define BILEVEL_CORE_STREAMING_PLUG_IN_H_

#include <vector>

#include "core/hypergradient/hypergradient.h"
#include "core/streaming/estimated_model.h"

namespace bilevel {

// What one context's transitions say.
struct ContextCounts {
  ModelFrame frame;
  std::vector<TransitionCounts::Entry> entries;  // sorted
};

// `problem` with the environments that the counts estimate in place of its own; dynamics must not depend on x.
// unseen_rows, where wanted: of all contexts together.
absl::StatusOr<BilevelProblem> OnEstimatedModels(const BilevelProblem& problem,
                                                 const std::vector<ContextCounts>& contexts, const ModelPrior& prior,
                                                 int64_t* unseen_rows = nullptr);

struct PlugInOptions {
  ModelPrior prior;
  int redraws = 64;   // 0: no standard errors; else >= 2
  uint64_t seed = 0;  // of the redraws
  LowerLevelOptions lower_level;
};

struct PlugInGradient {
  HypergradientPoint point;  // on the estimated models, certified
  Vector standard_error;     // of the gradient [n]; empty without redraws
  Vector bias;               // estimate; the gradient less this is nearer the truth on average
  double objective_standard_error = 0;
  double objective_bias = 0;
  int redraws = 0;  // made before an interruption
  int64_t unseen_rows = 0;
};

// Cost: 1 + redraws evaluations. An interruption ends it with what was found so far; INVALID_ARGUMENT: see
// SolveLowerLevel.
absl::StatusOr<PlugInGradient> EstimatePlugIn(const BilevelProblem& problem, const std::vector<ContextCounts>& contexts,
                                              const Vector& x, const PlugInOptions& options,
                                              const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_PLUG_IN_H_
