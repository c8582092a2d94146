#include "server/convert/session.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/mdp/block_lu.h"
#include "core/mdp/lower_level.h"
#include "core/streaming/recorded_gradient.h"
#include "server/convert/array.h"
#include "server/convert/count.h"
#include "server/convert/drift.h"
#include "server/convert/estimate.h"
#include "server/convert/in_field.h"
#include "server/convert/options.h"
#include "server/convert/outer_loop.h"
#include "server/convert/problem.h"
#include "server/convert/session_learner.h"
#include "server/convert/session_stream.h"
#include "server/convert/solution.h"

namespace bilevel::server {
namespace {

constexpr char kPrefix[] = "sessions/";
constexpr size_t kMaxId = 64;
constexpr int kMaxWriters = 1000;

bool IsId(const std::string& id) {
  return !id.empty() && id.size() <= kMaxId && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_';
  });
}

std::string IdRule(const std::string& id) {
  return absl::StrCat("is \"", id, "\"; must be letters, digits, '-' and '_', at most ", kMaxId);
}

template <typename T>
void EncodeRaw(const std::vector<T>& elements, v1::DType dtype, v1::Array* array) {
  array->set_dtype(dtype);
  array->mutable_raw()->assign(reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(T));
}

absl::Status CheckAbsent(const char* field, bool present, const char* why) {
  return present ? FieldError(field, absl::StrCat("is given; ", why)) : absl::OkStatus();
}

// The environment with transitions that nobody looks at, each (s,a) staying in s, so that all other rules are checked
// as for any problem.
absl::Status FillIn(const Limits& limits, v1::Environment& environment) {
  RETURN_IF_ERROR(CheckAbsent("transitions", environment.has_transitions(), "a session learns them"));
  RETURN_IF_ERROR(
      CheckAbsent("termination_probability", environment.has_termination_probability(), "a session learns it"));
  const int64_t states = environment.num_states(), actions = environment.num_actions();
  if (states < 1 || states > limits.states) {
    return FieldError("num_states", absl::StrCat("is ", states, "; must be in [1, ", limits.states, "]"));
  }
  if (actions < 1) return FieldError("num_actions", absl::StrCat("is ", actions, "; must be >= 1"));
  if (actions > limits.transitions / states || states * actions > std::numeric_limits<int32_t>::max()) {
    return FieldError("num_actions", absl::StrCat("is ", actions, ": num_states * num_actions is above the limit of ",
                                                  limits.transitions));
  }
  v1::SparseMatrix* sparse = environment.mutable_transitions()->mutable_sparse();
  const int64_t rows = states * actions;
  sparse->set_rows(static_cast<int32_t>(rows));
  sparse->set_cols(static_cast<int32_t>(states));
  std::vector<uint64_t> offsets(static_cast<size_t>(rows) + 1);
  std::vector<uint32_t> columns(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; ++row) {
    columns[static_cast<size_t>(row)] = static_cast<uint32_t>(row / actions);
    offsets[static_cast<size_t>(row) + 1] = static_cast<uint64_t>(row) + 1;
  }
  EncodeRaw(offsets, v1::DTYPE_U64, sparse->mutable_offsets());
  EncodeRaw(columns, v1::DTYPE_U32, sparse->mutable_columns());
  EncodeRaw(std::vector<double>(columns.size(), 1.0), v1::DTYPE_F64, sparse->mutable_values());
  return absl::OkStatus();
}

absl::StatusOr<v1::Problem> FillIn(v1::Problem problem, const Limits& limits, bool& initial_known) {
  int known = 0;
  for (int c = 0; c < problem.contexts_size(); ++c) {
    v1::Context& context = *problem.mutable_contexts(c);
    const std::string path = absl::StrCat("contexts[", c, "]");
    RETURN_IF_ERROR(WithField(path, CheckAbsent("dynamics", context.has_dynamics(), "sessions learn fixed worlds")));
    RETURN_IF_ERROR(WithField(path, CheckAbsent("reward.transition_rewards", context.reward().has_transition_rewards(),
                                                "they need known transitions")));
    if (!context.environment_name().empty()) {
      return WithField(path, FieldError("environment_name",
                                        "is given; a session learns its environment: state it inline, without "
                                        "transitions"));
    }
    if (!context.has_environment()) return WithField(path, FieldError("environment", "is absent; required"));
    RETURN_IF_ERROR(WithField(path + ".environment", FillIn(limits, *context.mutable_environment())));
    if (context.environment().has_initial_distribution()) ++known;
  }
  if (known != 0 && known != problem.contexts_size()) {
    return FieldError("contexts", "have an initial_distribution in part; give it in all or in none");
  }
  initial_known = known != 0;
  return problem;
}

Follower DecodeFollower(v1::Follower follower) {
  if (follower == v1::FOLLOWER_SIMULATED) return Follower::kSimulated;
  return follower == v1::FOLLOWER_OBSERVED ? Follower::kObserved : Follower::kSolved;
}

absl::StatusOr<SessionOptions> DecodeSessionOptions(const v1::CreateSessionRequest& request,
                                                    size_t trajectory_capacity) {
  SessionOptions options;
  options.follower = DecodeFollower(request.follower());
  options.seed = request.seed();
  options.preference_capacity = trajectory_capacity;
  if (request.has_preference_capacity()) {
    if (request.preference_capacity() < 0) {
      return FieldError("preference_capacity", absl::StrCat("is ", request.preference_capacity(), "; must be >= 0"));
    }
    options.preference_capacity = static_cast<size_t>(request.preference_capacity());
  }
  if (request.writers_size() > kMaxWriters) {
    return FieldError("writers", absl::StrCat("has ", request.writers_size(), " names; at most ", kMaxWriters));
  }
  for (int w = 0; w < request.writers_size(); ++w) {
    if (!IsId(request.writers(w))) return FieldError(absl::StrCat("writers[", w, "]"), IdRule(request.writers(w)));
  }
  if (request.writers_size() > 0) options.writers.assign(request.writers().begin(), request.writers().end());
  ASSIGN_OR_RETURN(options.merge_round,
                   AtLeastOne("merge_round", request.has_merge_round(), request.merge_round(), options.merge_round));
  constexpr auto most = static_cast<size_t>(kMaxSessionQueue);
  ASSIGN_OR_RETURN(options.queue, AtLeastOne("queue", request.has_queue(), request.queue(), options.queue));
  if (options.queue > most) {
    return FieldError("queue", absl::StrCat("is ", options.queue, "; at most ", most));
  }
  ASSIGN_OR_RETURN(options.max_open_episodes, AtLeastOne("max_open_episodes", request.has_max_open_episodes(),
                                                         request.max_open_episodes(), options.max_open_episodes));
  return options;
}

v1::Follower EncodeFollower(Follower follower) {
  if (follower == Follower::kSimulated) return v1::FOLLOWER_SIMULATED;
  return follower == Follower::kObserved ? v1::FOLLOWER_OBSERVED : v1::FOLLOWER_SOLVED;
}

}  // namespace

absl::StatusOr<SessionPlan> DecodeSession(const v1::CreateSessionRequest& request, const Limits& limits) {
  if (!request.session_id().empty() && !IsId(request.session_id())) {
    return FieldError("session_id", IdRule(request.session_id()));
  }
  bool initial_known = false;
  ASSIGN_OR_RETURN(const v1::Problem filled, InField("problem", FillIn(request.problem(), limits, initial_known)));
  ASSIGN_OR_RETURN(BilevelProblem problem, InField("problem", DecodeProblem(filled, Purpose::kFollower, limits)));
  SessionPlan plan(std::move(problem));
  plan.initial_known = initial_known;
  ASSIGN_OR_RETURN(plan.parameters,
                   InField("parameters",
                           DecodeParameters(request.has_parameters() ? &request.parameters() : nullptr, plan.problem)));
  ASSIGN_OR_RETURN(plan.learner, DecodeSessionLearner(request, plan.problem));
  ASSIGN_OR_RETURN(plan.session, DecodeSessionOptions(request, plan.learner.trajectory_capacity));
  return plan;
}

double SessionBytes(const SessionPlan& plan) {
  constexpr double kRest = 1 << 20, kFactorisation = 24;
  double bytes = kRest + SessionLearner::MaxBytes(plan.problem, plan.learner) +
                 static_cast<double>(plan.session.queue) * 2 *
                     static_cast<double>(sizeof(Transition) + 2 * plan.learner.num_features * sizeof(double)) +
                 PreferenceStore::MaxBytes(plan.session.preference_capacity) +
                 (ParameterSchedule::kMostToCome + 4) * 8.0 * plan.problem.num_parameters +
                 static_cast<double>(plan.session.writers.size() * plan.session.max_open_episodes) * 96;
  // Twice copied for the estimate that comes with a policy or a step.
  const bool estimates = plan.learner.estimate.has_value() || plan.learner.descent.has_value();
  if (plan.learner.descent.has_value()) bytes += StepLog::MaxBytes(plan.problem.num_parameters);
  if (estimates) bytes += 2 * TrajectoryStore::MaxBytes(plan.learner.trajectory_capacity);
  // What SIMULATED followers know of open episodes, and of walks to come.
  if (plan.session.follower == Follower::kSimulated) {
    bytes += static_cast<double>(plan.session.writers.size()) *
             Actor::MaxBytes(plan.session.max_open_episodes, plan.learner.num_features);
  }
  for (const Context& context : plan.problem.contexts) {
    const double S = context.mdp->num_states();
    // The actions that SIMULATED followers tried.
    if (plan.session.follower == Follower::kSimulated) {
      bytes += 64 * static_cast<double>(context.mdp->num_rows()) * static_cast<double>(plan.session.writers.size());
    }
    // Two discounts have a factorisation each, and the policy may have a dense matrix.
    const bool direct = plan.learner.lower_level.method == LowerLevelMethod::kNewtonDirect;
    if (S <= kDirectStates || (direct && S <= kMaxDirectStates)) {
      bytes += kFactorisation * S * S;
    } else if (S <= kMaxDirectStates) {
      bytes +=
          2 * BlockLu::Bytes(S, kDirectBand) + 8 * std::min(S * S, 4 * static_cast<double>(context.mdp->num_entries()));
    }
    // That estimate: a second model, or scores of every parameter.
    if (estimates) {
      const auto n = static_cast<double>(plan.problem.num_parameters);
      const bool pairs = plan.learner.descent.has_value() && plan.learner.descent->descent.momentum;
      bytes += 8 * static_cast<double>(context.mdp->num_rows()) * (16 + (pairs ? 12 : 6) * n);
    }
  }
  return bytes;
}

absl::StatusOr<std::string> DecodeSessionName(const std::string& name) {
  const size_t prefix = sizeof kPrefix - 1;
  if (name.rfind(kPrefix, 0) != 0 || !IsId(name.substr(prefix))) {
    return FieldError("", absl::StrCat("is \"", name, "\"; must be sessions/{id}"));
  }
  return name.substr(prefix);
}

std::string EncodeSessionName(const std::string& id) { return kPrefix + id; }

void EncodeSession(const Session& session, v1::Session* message) {
  const SessionStatus status = session.Status();
  message->set_accepted(static_cast<double>(status.accepted));
  message->set_merged(static_cast<double>(status.merged));
  message->set_dropped(static_cast<double>(status.dropped));
  message->set_policy_version(static_cast<double>(status.policy_version));
  message->set_next_policy_at(static_cast<double>(status.next_policy));
  message->set_waiting_for(status.waiting_for);
  message->set_reserved_bytes(session.reserved_bytes());
  message->set_parameters_version(status.parameters_version);
  if (status.parameters.size() <= kMaxEntriesInNews) {
    EncodeReals(status.parameters, {status.parameters.size()}, message->mutable_parameters());
  }
  message->set_trajectories(static_cast<double>(status.trajectories));
  message->set_trajectory_steps(static_cast<double>(status.trajectory_steps));
  message->set_preferences(static_cast<double>(status.preferences));
  message->set_follower(EncodeFollower(session.options().follower));
  for (const Context& context : session.problem().contexts) {
    v1::ContextSize* size = message->add_contexts();
    size->set_num_states(context.mdp->num_states());
    size->set_num_actions(context.mdp->num_actions());
  }
  if (status.outer_loop != nullptr) EncodeOuterLoop(*status.outer_loop, message->mutable_outer_loop());
  EncodeDrifts(status.drifts, message);
  if (!status.failure.ok()) {
    message->mutable_failure()->set_code(static_cast<int>(status.failure.code()));
    message->mutable_failure()->set_message(std::string(status.failure.message()));
  }
}

void EncodePolicy(const BilevelProblem& problem, const PolicySnapshot& policy, v1::GetPolicyResponse* message) {
  message->set_version(static_cast<double>(policy.version));
  message->set_merged(static_cast<double>(policy.merged));
  EncodeReals(policy.parameters, {policy.parameters.size()}, message->mutable_parameters());
  message->set_parameters_version(policy.parameters_version);
  for (size_t c = 0; c < policy.contexts.size(); ++c) {
    const ContextPolicy& context = policy.contexts[c];
    const int64_t states = problem.contexts[c].mdp->num_states(), actions = problem.contexts[c].mdp->num_actions();
    v1::LearnedPolicy* learned = message->add_contexts();
    EncodeReals(context.pi, {states, actions}, learned->mutable_policy());
    EncodeReals(context.log_pi, {states, actions}, learned->mutable_log_policy());
    EncodeReals(context.value, {states}, learned->mutable_value());
    learned->set_residual(context.residual);
    learned->set_unseen_rows(static_cast<double>(context.unseen_rows));
  }
}

double PolicyBytes(const BilevelProblem& problem) {
  double numbers = problem.num_parameters;
  for (const Context& context : problem.contexts) {
    numbers += 2 * static_cast<double>(context.mdp->num_rows()) + context.mdp->num_states();
  }
  return 8 * numbers + 256 * static_cast<double>(problem.contexts.size() + 1);
}

}  // namespace bilevel::server
