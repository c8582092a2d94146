// An environment from counts: the plug-in route from transitions to exact solutions.
//
//   P(s2|s,a) = (n(s,a,s2) + k m(s2|s,a)) / (n(s,a) + k),   termination likewise with what ended
//
// k pseudo-counts spread like m, a prior by name. A row that was never seen is m itself. With k = 0 the rows that were
// seen are the observed frequencies, the maximum-likelihood model.

#ifndef BILEVEL_CORE_STREAMING_ESTIMATED_MODEL_H_
#define BILEVEL_CORE_STREAMING_ESTIMATED_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/rng.h"
#include "core/mdp/tabular_mdp.h"
#include "core/streaming/transition_counts.h"

namespace bilevel {

struct ModelPrior {
  enum class Kind {
    kStay,        // m: s2 = s
    kEnd,         // m: the episode ends
    kNeighbours,  // m: uniform over the states seen to follow s under any action; s itself when there are none
  };
  Kind kind = Kind::kStay;
  double strength = 0;  // k >= 0, in transitions for each (s,a)
};

// What is known of an environment beforehand.
struct ModelFrame {
  int num_states = 0;                      // S >= 1
  int num_actions = 0;                     // A >= 1
  std::vector<uint8_t> available_actions;  // [S*A] of 0 and 1; empty: all
  Vector initial_distribution;             // [S]; empty: as episodes began, uniform when none did
};

struct EstimatedModel {
  TabularMdp mdp;
  int64_t unseen_rows = 0;  // available (s,a) without a transition: the prior alone
};

// entries: TransitionCounts::Sorted() of this frame. Cost: O(entries + S*A).
absl::StatusOr<EstimatedModel> EstimateModel(const ModelFrame& frame,
                                             const std::vector<TransitionCounts::Entry>& entries,
                                             const ModelPrior& prior);

// One draw of the Bayesian bootstrap: the same with every row's frequencies redrawn from Dirichlet(n(s,a,.) + k m(.)),
// the initial distribution from Dirichlet of the starts. Its spread around EstimateModel is that of EstimateModel
// around the truth, to first order in 1/n (Rubin 1981, "The Bayesian bootstrap"). Rows without counts stay.
absl::StatusOr<EstimatedModel> RedrawModel(const ModelFrame& frame, const std::vector<TransitionCounts::Entry>& entries,
                                           const ModelPrior& prior, Rng& rng);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_ESTIMATED_MODEL_H_
