// Hyper-gradients from what a session has seen, by estimators of choice.
//
//   kPlugIn       exact on the estimated model, error bars by the Bayesian bootstrap            (plug_in.h)
//   kReturn, kRewardToGo, kCritic, kOneStep
//                 (13) on recorded trajectories, for the leader's return                        (recorded_gradient.h)
//   kZerothOrder  differences along random directions on the estimated model (zeroth_order_gradient.h)
//   kPreferenceFit, kPreference, kPreferenceExcessRisk
//                 how well rewards explain preferences, in place of the problem's objective (recorded_preferences.h)

#ifndef BILEVEL_CORE_STREAMING_SESSION_ESTIMATE_H_
#define BILEVEL_CORE_STREAMING_SESSION_ESTIMATE_H_

#include <optional>
#include <string>
#include <vector>

#include "core/hypergradient/value_gradient.h"
#include "core/streaming/plug_in.h"
#include "core/streaming/preference_store.h"
#include "core/streaming/trajectory_store.h"

namespace bilevel {

struct EstimatorOptions {
  enum class Kind {
    kPlugIn,
    kReturn,
    kRewardToGo,
    kCritic,
    kOneStep,
    kZerothOrder,
    kPreferenceFit,
    kPreference,
    kPreferenceExcessRisk
  };
  enum class Critic {
    kModel,          // exact on the estimated model
    kLearned,        // grad Q by successor features; the leader's values stay the model's
    kContinuations,  // grad Q - grad V by walks that were recorded; the leader's values stay the model's
  };
  enum class Baseline {
    kDefault,  // the others' mean return for kReturn and kOneStep, V_u for kRewardToGo, the others' mean weight for
               // preferences
    kNone,     // nothing for kRewardToGo and preferences
    kModel,    // the control variate of trajectory_gradient.h as well
  };
  Kind kind = Kind::kPlugIn;
  Critic critic = Critic::kModel;
  Baseline baseline = Baseline::kDefault;
  int draws = 64;        // kPlugIn: redraws, 0 or in [2, 10,000]; kZerothOrder: directions, in [2, 10,000]
  double radius = 0.01;  // of kZerothOrder, > 0
  uint64_t seed = 0;     // of all draws
  LowerLevelOptions lower_level;

  // A field error names the option out of range: "critic", "baseline", "redraws", "radius", "lower_level...".
  absl::Status Validate() const;
};

// Whether it looks at recorded trajectories; at preferences.
bool UsesTrajectories(EstimatorOptions::Kind kind);
bool UsesPreferences(EstimatorOptions::Kind kind);

// Asks of an estimator from trajectories what the same ones say of another point (paired_gradient.h).
struct PairRequest {
  Vector x;               // x_{k-1} [n]
  double kept_share = 1;  // of g'_k in the difference whose error is told, [0, 1]
  double weight_cap = 10;
};

// The answer, g'_k, penalties included.
struct PairEstimate {
  Vector gradient;                   // [n]
  Vector bias;                       // as GradientEstimate::bias [n]
  Vector innovation_standard_error;  // of g_k - kept_share g'_k [n]
  double effective_sample_size = 0;  // trajectories of equal weight
  double capped_share = 0;           // of trajectories
  Vector weight_bias;                // estimate of what the cap adds to `gradient` [n]
  bool overlaps = true;              // PairedGradient::overlaps() in all contexts
};

// What a session knows.
struct SessionData {
  std::vector<ContextCounts> contexts;
  std::vector<uint32_t> eras;  // of contexts: how often what came before was forgotten
  uint64_t merged = 0;         // transitions, but for what was forgotten
  Vector parameters;           // x [n]
  uint32_t parameters_version = 0;
  ModelPrior prior;
  bool observed = false;  // the follower is a live population
  bool keeps_trajectories = false;
  std::vector<Vector> log_policies;              // as learned or seen [S*A]; empty: the model's solution
  std::vector<RowMatrix> scores;                 // learned grad Q - grad V [S*A, d]; empty: none
  std::vector<RecordedTrajectory> trajectories;  // empty unless asked for
  std::vector<Preference> preferences;           // likewise
  std::optional<PairRequest> pair;
  // Those learned from the same transitions at pair->x, where they are learned.
  std::vector<Vector> previous_log_policies;
  std::vector<RowMatrix> previous_scores;
};

struct GradientEstimate {
  EstimatorOptions::Kind kind = EstimatorOptions::Kind::kPlugIn;
  Vector gradient;        // d phi / dx [n]
  Vector exploitation;    // [n], its parts but for the penalties' share; of estimators from trajectories, else empty
  Vector exploration;     // [n]
  Vector standard_error;  // [n]; empty: none
  Vector bias;            // estimate [n]; the gradient less this is nearer the truth on average; empty: none
  double objective = 0;   // phi(x)
  double objective_standard_error = 0;
  double objective_bias = 0;
  double effective_sample_size = 0;  // trajectories or pairs of equal weight, or redraws and directions made
  int64_t trajectories = 0;          // used; of preferences, pairs
  int64_t left_out = 0;              // held, but open, of another x, of weight 0, with some of the leader's rewards, or
                                     // without complete walks where they are needed
  uint64_t transitions = 0;          // used; of preferences, their fragments' steps
  int64_t unseen_rows = 0;           // available (s,a) never seen, where the prior stands
  uint32_t parameters_version = 0;   // 0: x was the caller's own
  uint64_t seed = 0;
  std::vector<std::string> assumptions;
  std::optional<PairEstimate> pair;            // where it was asked for
  std::optional<HypergradientPoint> on_model;  // of kPlugIn, certified about the model alone
};

// At x. Errors: options; FAILED_PRECONDITION when the session has not what the estimator needs: an objective, two
// trajectories or pairs, a learned critic, and for trajectories x itself. Interruptions leave out draws not made;
// before there is any answer they are DEADLINE_EXCEEDED or CANCELLED.
absl::StatusOr<GradientEstimate> EstimateGradient(const BilevelProblem& problem, const SessionData& data,
                                                  const Vector& x, const EstimatorOptions& options,
                                                  const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_SESSION_ESTIMATE_H_
