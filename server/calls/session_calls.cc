#include "server/calls/session_calls.h"

#include <limits>
#include <optional>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/mdp/lower_level.h"
#include "server/convert/count.h"
#include "server/convert/estimate.h"
#include "server/convert/in_field.h"
#include "server/convert/options.h"
#include "server/convert/outer_loop.h"
#include "server/convert/preference.h"
#include "server/convert/problem.h"
#include "server/convert/session.h"
#include "server/convert/solution.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

absl::StatusOr<SessionRegistry::Named> Find(const std::string& name, const SessionRegistry& registry) {
  ASSIGN_OR_RETURN(const std::string id, InField("name", DecodeSessionName(name)));
  ASSIGN_OR_RETURN(std::shared_ptr<Session> session, registry.Find(id));
  return SessionRegistry::Named{id, std::move(session)};
}

void Describe(const SessionRegistry::Named& named, v1::Session* response) {
  response->set_name(EncodeSessionName(named.id));
  EncodeSession(*named.session, response);
}

// The newest, if the request wants it.
std::shared_ptr<const PublishedPolicy> PolicyOf(const Session& session, const v1::GetPolicyRequest& request) {
  std::shared_ptr<const PublishedPolicy> policy = session.policy();
  if (policy == nullptr || static_cast<double>(policy->version) <= request.if_newer_than()) return nullptr;
  return policy;
}

absl::Status CheckSize(double bytes, double most, const char* limit, const char* remedy) {
  if (bytes <= most) return absl::OkStatus();
  return MakeRefusal(
      absl::StatusCode::kResourceExhausted,
      {.reason = reasons::kResponseTooLarge,
       .subject = "message_bytes",
       .description = absl::StrCat("the policy has about ", bytes, " bytes and ", limit, " ", most, "; ", remedy),
       .retry_delay = std::nullopt});
}

Cost EstimatorCost(const Session& session, const EstimatorOptions& options) {
  // Counts, two models, the evaluation; the sessions' own reservation is the scale of all of them.
  Cost cost{.bytes = (1 << 20) + 3 * session.reserved_bytes(), .seconds = 0};
  const bool zeroth = options.kind == EstimatorOptions::Kind::kZerothOrder;
  for (const Context& context : session.problem().contexts) {
    const double S = context.mdp->num_states();
    if (options.lower_level.method == LowerLevelMethod::kNewtonDirect && S <= kMaxDirectStates) {
      cost.bytes += 24 * S * S;
    }
    double solves = 1 + (zeroth ? 4 : 1) * options.draws;
    if (UsesTrajectories(options.kind) || UsesPreferences(options.kind)) {
      // Scores, and what the model expects of them.
      const auto d = static_cast<double>(session.problem().num_parameters);
      cost.bytes += 8 * 6 * static_cast<double>(context.mdp->num_rows()) * d;
      solves = 1 + 0.1 * d;
    }
    cost.seconds += solves * (S <= kDirectStates ? 1e-9 * S * S * S : 1e-6 * S);
  }
  return cost;
}

}  // namespace

absl::StatusOr<Cost> CreateSessionCost(const v1::CreateSessionRequest& request) {
  Cost cost{.bytes = 1 << 20, .seconds = 0};
  for (const v1::Context& context : request.problem().contexts()) {
    // The stand-ins for transitions, on the wire and decoded; sizes are checked before they are made.
    const double rows = static_cast<double>(context.environment().num_states()) * context.environment().num_actions();
    if (rows > 0) cost.bytes += 120 * rows;
    cost.seconds += 1e-8 * rows;
  }
  cost.bytes += 8 * static_cast<double>(request.ByteSizeLong());
  return cost;
}

absl::Status CreateSession(const v1::CreateSessionRequest& request, const Run& run, SessionRegistry& registry,
                           v1::Session* response) {
  ASSIGN_OR_RETURN(SessionPlan plan, DecodeSession(request, run.limits()));
  const double bytes = SessionBytes(plan);
  if (request.validate_only()) {
    response->set_reserved_bytes(bytes);
    return registry.CheckFits(bytes);
  }
  const auto make = [&plan] {
    return SessionLearner::Create(std::move(plan.problem), plan.initial_known, std::move(plan.parameters),
                                  plan.learner);
  };
  ASSIGN_OR_RETURN(const SessionRegistry::Named named,
                   registry.Create(request.session_id(), make, plan.session, bytes));
  Describe(named, response);
  return absl::OkStatus();
}

absl::Status GetSession(const v1::GetSessionRequest& request, const SessionRegistry& registry, v1::Session* response) {
  ASSIGN_OR_RETURN(const SessionRegistry::Named named, Find(request.name(), registry));
  Describe(named, response);
  return absl::OkStatus();
}

void ListSessions(const SessionRegistry& registry, v1::ListSessionsResponse* response) {
  for (const SessionRegistry::Named& named : registry.List()) {
    v1::Session* session = response->add_sessions();
    Describe(named, session);
    session->clear_parameters();
    session->clear_contexts();
    if (session->has_outer_loop()) {
      session->mutable_outer_loop()->clear_last();
      session->mutable_outer_loop()->clear_best();
    }
  }
}

absl::Status GetPolicy(const v1::GetPolicyRequest& request, const Limits& limits, const SessionRegistry& registry,
                       v1::GetPolicyResponse* response) {
  ASSIGN_OR_RETURN(const SessionRegistry::Named named, Find(request.name(), registry));
  const std::shared_ptr<const PublishedPolicy> policy = PolicyOf(*named.session, request);
  if (policy == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(CheckSize(PolicyBytes(named.session->problem()), static_cast<double>(limits.message_bytes),
                            "max_message_bytes is", "call DownloadPolicy"));
  EncodePolicy(named.session->problem(), *policy, response);
  return absl::OkStatus();
}

absl::StatusOr<double> PolicyDownloadBytes(const v1::GetPolicyRequest& request, const SessionRegistry& registry) {
  ASSIGN_OR_RETURN(const SessionRegistry::Named named, Find(request.name(), registry));
  const double bytes = PolicyBytes(named.session->problem());
  RETURN_IF_ERROR(
      CheckSize(bytes, std::numeric_limits<int32_t>::max(), "a message can have", "it is too large to be sent"));
  return 2 * bytes;
}

absl::Status SerializePolicy(const v1::GetPolicyRequest& request, const SessionRegistry& registry, std::string* bytes) {
  ASSIGN_OR_RETURN(const SessionRegistry::Named named, Find(request.name(), registry));
  v1::GetPolicyResponse response;
  if (const auto policy = PolicyOf(*named.session, request); policy != nullptr) {
    EncodePolicy(named.session->problem(), *policy, &response);
  }
  if (!response.SerializeToString(bytes)) return absl::InternalError("the policy does not serialise");
  return absl::OkStatus();
}

absl::Status SetParameters(const v1::SetParametersRequest& request, const Run& run, const SessionRegistry& registry,
                           v1::Session* response) {
  ASSIGN_OR_RETURN(const SessionRegistry::Named named, Find(request.name(), registry));
  if (!request.has_parameters()) return FieldError("parameters", "is absent; required");
  ASSIGN_OR_RETURN(Vector x, InField("parameters", DecodeParameters(&request.parameters(), named.session->problem())));
  std::optional<uint64_t> after;
  if (request.has_after_merged()) {
    ASSIGN_OR_RETURN(after, DecodeCount("after_merged", request.after_merged()));
  }
  RETURN_IF_ERROR(named.session->SetParameters(after, std::move(x), run.MakeInterrupt(std::nullopt)));
  Describe(named, response);
  return absl::OkStatus();
}

absl::Status AddPreferences(const v1::AddPreferencesRequest& request, const Run& run, const SessionRegistry& registry,
                            v1::AddPreferencesResponse* response) {
  ASSIGN_OR_RETURN(const SessionRegistry::Named named, Find(request.name(), registry));
  ASSIGN_OR_RETURN(const std::vector<PreferenceSource> preferences, DecodePreferences(request, *named.session));
  RETURN_IF_ERROR(
      named.session->OfferPreferences(request.first_sequence(), preferences, run.MakeInterrupt(std::nullopt)));
  const SessionStatus status = named.session->Status();
  response->set_accepted_sequence(static_cast<double>(status.preferences));
  response->set_steps(static_cast<double>(status.preference_steps));
  return absl::OkStatus();
}

absl::StatusOr<Cost> EstimateSessionCost(const v1::EstimateHypergradientRequest& request,
                                         const SessionRegistry& registry) {
  ASSIGN_OR_RETURN(const SessionRegistry::Named named, Find(request.name(), registry));
  ASSIGN_OR_RETURN(const EstimatorOptions options, InField("options", DecodeEstimator(request.options())));
  return EstimatorCost(*named.session, options);
}

absl::StatusOr<Cost> StepCost(const v1::StepSessionRequest& request, const SessionRegistry& registry) {
  ASSIGN_OR_RETURN(const SessionRegistry::Named named, Find(request.name(), registry));
  const SessionDescentOptions* loop = named.session->outer_loop();
  if (loop == nullptr) return absl::FailedPreconditionError("the session has no outer_loop");
  Cost cost = EstimatorCost(*named.session, loop->estimator);
  if (loop->descent.momentum) {
    cost.bytes *= 2;
    cost.seconds *= 2;
  }
  return cost;
}

absl::Status StepSession(const v1::StepSessionRequest& request, const Run& run, const SessionRegistry& registry,
                         v1::OuterStep* response) {
  ASSIGN_OR_RETURN(const SessionRegistry::Named named, Find(request.name(), registry));
  ASSIGN_OR_RETURN(const uint64_t number, DecodeCount("number", request.number()));
  ASSIGN_OR_RETURN(
      const std::shared_ptr<const OuterStep> step,
      named.session->Step(number == 0 ? std::nullopt : std::optional(number), run.MakeInterrupt(std::nullopt)));
  EncodeStep(*step, response);
  return absl::OkStatus();
}

absl::Status EstimateSessionHypergradient(const v1::EstimateHypergradientRequest& request, const Run& run,
                                          const SessionRegistry& registry,
                                          v1::EstimateHypergradientResponse* response) {
  ASSIGN_OR_RETURN(const SessionRegistry::Named named, Find(request.name(), registry));
  const Session& session = *named.session;
  ASSIGN_OR_RETURN(EstimatorOptions options, InField("options", DecodeEstimator(request.options())));
  ASSIGN_OR_RETURN(options.lower_level, InField("lower_level", DecodeLowerLevel(request.lower_level())));
  ASSIGN_OR_RETURN(const auto time_limit, DecodeTimeLimit(request));
  std::optional<Vector> own;
  if (request.has_parameters()) {
    ASSIGN_OR_RETURN(own, InField("parameters", DecodeParameters(&request.parameters(), session.problem())));
  }
  const Interrupt interrupt = run.MakeInterrupt(time_limit);
  ASSIGN_OR_RETURN(const SessionData data, session.Data(options.kind, interrupt));
  ASSIGN_OR_RETURN(const GradientEstimate estimate,
                   EstimateGradient(session.problem(), data, own.value_or(data.parameters), options, interrupt));
  EncodeEstimate(estimate, response->mutable_estimate());
  if (estimate.on_model.has_value()) {
    EncodeHypergradient(session.problem(), *estimate.on_model, {.policy = false}, response->mutable_on_model());
    run.AddServerStop(response->mutable_on_model()->mutable_termination());
  }
  run.FillRunInfo(response->mutable_run_info());
  return absl::OkStatus();
}

}  // namespace bilevel::server
