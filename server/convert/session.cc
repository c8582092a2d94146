#include "server/convert/session.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/mdp/lower_level.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"
#include "server/convert/options.h"
#include "server/convert/problem.h"
#include "server/convert/solution.h"

namespace bilevel::server {
namespace {

constexpr char kPrefix[] = "sessions/";
constexpr int kMaxBatch = 8192;
constexpr size_t kMaxId = 64;
constexpr double kMaxDistinct = 1'000'000;
constexpr int kMaxWriters = 1000;

bool IsId(const std::string& id) {
  return !id.empty() && id.size() <= kMaxId && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_';
  });
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

absl::StatusOr<StepSchedule> DecodeSchedule(const v1::StepSchedule& message) {
  StepSchedule schedule;
  if (message.has_first()) schedule.first = message.first();
  if (message.has_power()) schedule.power = message.power();
  if (message.has_scale()) schedule.scale = message.scale();
  RETURN_IF_ERROR(schedule.Validate());
  return schedule;
}

absl::StatusOr<ModelPrior> DecodePrior(const v1::ModelPrior& message) {
  ModelPrior prior{ModelPrior::Kind::kStay, message.strength()};
  switch (message.kind()) {
    case v1::ModelPrior::KIND_UNSPECIFIED:
    case v1::ModelPrior::KIND_STAY:
      return prior;
    case v1::ModelPrior::KIND_END:
      prior.kind = ModelPrior::Kind::kEnd;
      return prior;
    case v1::ModelPrior::KIND_NEIGHBOURS:
      prior.kind = ModelPrior::Kind::kNeighbours;
      return prior;
    default:
      return FieldError("kind", absl::StrCat("is ", message.kind(),
                                             "; must be KIND_STAY, KIND_END or "
                                             "KIND_NEIGHBOURS"));
  }
}

// A count of at least 1, or its default.
template <typename T>
absl::StatusOr<T> AtLeastOne(const char* field, bool given, int64_t value, T otherwise) {
  if (!given) return otherwise;
  if (value < 1) return FieldError(field, absl::StrCat("is ", value, "; must be >= 1"));
  return static_cast<T>(value);
}

absl::StatusOr<SessionLearnerOptions> DecodeLearner(const v1::CreateSessionRequest& request,
                                                    const BilevelProblem& problem) {
  using Route = SessionLearnerOptions::Route;
  SessionLearnerOptions options;
  options.seed = request.seed();
  ASSIGN_OR_RETURN(options.update_interval, AtLeastOne<uint64_t>("update_interval", request.has_update_interval(),
                                                                 request.update_interval(), options.update_interval));
  double distinct = 1;
  for (const Context& context : problem.contexts) {
    const double all = (static_cast<double>(context.mdp->num_rows()) + 1) * (context.mdp->num_states() + 1.0);
    distinct = std::max(distinct, std::min(all, kMaxDistinct));
  }
  ASSIGN_OR_RETURN(options.max_distinct, AtLeastOne("max_distinct", request.has_max_distinct(), request.max_distinct(),
                                                    static_cast<uint64_t>(distinct)));
  ASSIGN_OR_RETURN(options.prior, InField("prior", DecodePrior(request.prior())));
  switch (request.learner_case()) {
    case v1::CreateSessionRequest::kCount:
      options.route = Route::kCount;
      break;
    case v1::CreateSessionRequest::kSoftQ: {
      options.route = Route::kSoftQ;
      const v1::SoftQLearner& soft_q = request.soft_q();
      ASSIGN_OR_RETURN(options.soft_q.q, InField("soft_q.q", DecodeSchedule(soft_q.q())));
      ASSIGN_OR_RETURN(options.replay_capacity, AtLeastOne("soft_q.replay_capacity", soft_q.has_replay_capacity(),
                                                           soft_q.replay_capacity(), options.replay_capacity));
      if (soft_q.has_replay_draws()) options.replay_draws = soft_q.replay_draws();
      break;
    }
    default: {
      ASSIGN_OR_RETURN(options.lower_level,
                       InField("plug_in.lower_level", DecodeLowerLevel(request.plug_in().lower_level())));
      options.lower_level.refuse_unreachable = false;
      break;
    }
  }
  absl::Status valid = options.Validate();
  if (!valid.ok()) return options.route == Route::kSoftQ ? WithField("soft_q", valid) : valid;
  return options;
}

absl::StatusOr<SessionOptions> DecodeSessionOptions(const v1::CreateSessionRequest& request) {
  SessionOptions options;
  if (request.writers_size() > kMaxWriters) {
    return FieldError("writers", absl::StrCat("has ", request.writers_size(), " names; at most ", kMaxWriters));
  }
  if (request.writers_size() > 0) options.writers.assign(request.writers().begin(), request.writers().end());
  ASSIGN_OR_RETURN(options.merge_round,
                   AtLeastOne("merge_round", request.has_merge_round(), request.merge_round(), options.merge_round));
  const size_t most = options.queue;
  ASSIGN_OR_RETURN(options.queue, AtLeastOne("queue", request.has_queue(), request.queue(), options.queue));
  if (options.queue > most) {
    return FieldError("queue", absl::StrCat("is ", options.queue, "; at most ", most));
  }
  ASSIGN_OR_RETURN(options.max_open_episodes, AtLeastOne("max_open_episodes", request.has_max_open_episodes(),
                                                         request.max_open_episodes(), options.max_open_episodes));
  return options;
}

template <typename T>
absl::StatusOr<std::vector<T>> DecodeColumn(const char* field, bool present, const v1::Array& array, size_t count,
                                            bool required) {
  if (!present) {
    if (required) return FieldError(field, "is absent; required");
    return std::vector<T>(count, T{0});
  }
  ASSIGN_OR_RETURN(std::vector<T> column, InField(field, DecodeIndexList<T>(array)));
  if (column.size() != count) {
    return FieldError(field, absl::StrCat("has ", column.size(), " entries; must have count = ", count));
  }
  return column;
}

absl::StatusOr<std::vector<uint32_t>> DecodeKinds(const v1::TransitionBatch& batch, size_t count) {
  const v1::Array& array = batch.step_kind();
  if (!batch.has_step_kind() || array.has_indices()) {
    return DecodeColumn<uint32_t>("step_kind", batch.has_step_kind(), array, count, false);
  }
  if (array.dtype() != v1::DTYPE_U8 || !array.has_raw()) {
    return FieldError("step_kind", "must be DTYPE_U8 as `raw`, or `indices`");
  }
  if (array.raw().size() != count) {
    return FieldError("step_kind", absl::StrCat("has ", array.raw().size(), " entries; must have count = ", count));
  }
  std::vector<uint32_t> kinds(count);
  std::transform(array.raw().begin(), array.raw().end(), kinds.begin(), [](char c) { return static_cast<uint8_t>(c); });
  return kinds;
}

// Beyond int32 an index is out of range anyway; it must not wrap into it.
int32_t Narrow(uint32_t value) {
  constexpr auto kMost = static_cast<uint32_t>(std::numeric_limits<int32_t>::max());
  return static_cast<int32_t>(std::min(value, kMost));
}

}  // namespace

absl::StatusOr<SessionPlan> DecodeSession(const v1::CreateSessionRequest& request, const Limits& limits) {
  if (!request.session_id().empty() && !IsId(request.session_id())) {
    return FieldError("session_id", absl::StrCat("is \"", request.session_id(),
                                                 "\"; must be letters, digits, '-' and '_', at most ", kMaxId));
  }
  bool initial_known = false;
  ASSIGN_OR_RETURN(const v1::Problem filled, InField("problem", FillIn(request.problem(), limits, initial_known)));
  ASSIGN_OR_RETURN(BilevelProblem problem, InField("problem", DecodeProblem(filled, Purpose::kFollower, limits)));
  SessionPlan plan(std::move(problem));
  plan.initial_known = initial_known;
  ASSIGN_OR_RETURN(plan.parameters,
                   InField("parameters",
                           DecodeParameters(request.has_parameters() ? &request.parameters() : nullptr, plan.problem)));
  ASSIGN_OR_RETURN(plan.learner, DecodeLearner(request, plan.problem));
  ASSIGN_OR_RETURN(plan.session, DecodeSessionOptions(request));
  return plan;
}

double SessionBytes(const SessionPlan& plan) {
  constexpr double kRest = 1 << 20, kFactorisation = 24;
  double bytes = kRest + SessionLearner::MaxBytes(plan.problem, plan.learner) +
                 static_cast<double>(plan.session.queue) * 2 * sizeof(Transition) +
                 static_cast<double>(plan.session.writers.size() * plan.session.max_open_episodes) * 96;
  for (const Context& context : plan.problem.contexts) {
    const double S = context.mdp->num_states();
    if (S <= kDirectStates) bytes += kFactorisation * S * S;
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

absl::StatusOr<std::vector<Transition>> DecodeBatch(const v1::TransitionBatch& batch) {
  if (batch.count() < 1 || batch.count() > kMaxBatch) {
    return FieldError("count", absl::StrCat("is ", batch.count(), "; must be in [1, ", kMaxBatch, "]"));
  }
  const auto count = static_cast<size_t>(batch.count());
  ASSIGN_OR_RETURN(const auto episodes,
                   DecodeColumn<uint64_t>("episode_id", batch.has_episode_id(), batch.episode_id(), count, false));
  ASSIGN_OR_RETURN(const auto states, DecodeColumn<uint32_t>("state", batch.has_state(), batch.state(), count, true));
  ASSIGN_OR_RETURN(const auto actions,
                   DecodeColumn<uint32_t>("action", batch.has_action(), batch.action(), count, true));
  ASSIGN_OR_RETURN(const auto nexts,
                   DecodeColumn<uint32_t>("next_state", batch.has_next_state(), batch.next_state(), count, true));
  ASSIGN_OR_RETURN(const auto contexts,
                   DecodeColumn<uint32_t>("context", batch.has_context(), batch.context(), count, false));
  ASSIGN_OR_RETURN(const auto kinds, DecodeKinds(batch, count));
  std::vector<Transition> transitions(count);
  for (size_t i = 0; i < count; ++i) {
    if (kinds[i] > 2) {
      return FieldError(absl::StrCat("step_kind[", i, "]"),
                        absl::StrCat("is ", kinds[i], "; must be 0 (running), 1 (terminated) or 2 (truncated)"));
    }
    Transition& transition = transitions[i];
    transition.episode = episodes[i];
    transition.state = Narrow(states[i]);
    transition.action = Narrow(actions[i]);
    transition.next_state = Narrow(nexts[i]);
    transition.kind = static_cast<StepKind>(kinds[i]);
    transition.context = Narrow(contexts[i]);
  }
  return transitions;
}

absl::Status BatchError(const absl::Status& status) {
  const std::optional<FieldViolation> violation = GetFieldViolation(status);
  if (!violation.has_value()) return status;
  // "[17].state" -> "state[17]".
  const size_t end = violation->field.find("].");
  if (violation->field.empty() || violation->field[0] != '[' || end == std::string::npos) return status;
  return FieldError(absl::StrCat(violation->field.substr(end + 2), violation->field.substr(0, end + 1)),
                    violation->description);
}

void EncodeStatus(const SessionStatus& status, v1::Session* message) {
  message->set_accepted(static_cast<double>(status.accepted));
  message->set_merged(static_cast<double>(status.merged));
  message->set_dropped(static_cast<double>(status.dropped));
  message->set_policy_version(static_cast<double>(status.policy_version));
  message->set_waiting_for(status.waiting_for);
  if (!status.failure.ok()) {
    message->mutable_failure()->set_code(static_cast<int>(status.failure.code()));
    message->mutable_failure()->set_message(std::string(status.failure.message()));
  }
}

void EncodeProgress(const WriterProgress& progress, v1::WriterProgress* message) {
  message->set_accepted_sequence(progress.accepted);
  message->set_durable_sequence(progress.durable);
  message->set_credit_until(progress.credit);
}

void EncodePolicy(const BilevelProblem& problem, const PolicySnapshot& policy, v1::GetPolicyResponse* message) {
  message->set_version(static_cast<double>(policy.version));
  message->set_merged(static_cast<double>(policy.merged));
  EncodeReals(policy.parameters, {policy.parameters.size()}, message->mutable_parameters());
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
