#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/estimator_flags.h"
#include "client/cli/input.h"
#include "client/cli/outer_loop_flags.h"
#include "client/cli/session_command.h"
#include "client/cli/session_report.h"

namespace bilevel::client {
namespace {

struct CreateFlags {
  std::string id;
  std::string at;
  std::string writers;
  std::string learner;
  std::string follower;
  std::string prior;
  std::optional<double> prior_strength;
  std::optional<int> update_interval;
  std::optional<int> merge_round;
  std::optional<int> queue;
  std::optional<int> max_open_episodes;
  std::optional<int> max_distinct;
  std::optional<int> trajectories;
  std::optional<int> preferences;
  std::optional<int> replay_capacity;
  std::optional<int> replay_draws;
  std::optional<int> features;
  std::optional<double> strength;
  bool learn_gradient = false;
  EstimatorFlags estimator;
  OuterLoopFlags outer_loop;
  std::optional<int> drift_window;
  std::optional<double> drift_significance;
  bool drift_tell_only = false;
  std::uint32_t seed = 0;
  bool validate_only = false;

  void AddTo(FlagSet& flags) {
    flags.Add("id", &id, "ID", "letters, digits, - and _; default: s1, s2, ...");
    flags.Add("at", &at, "FILE", "x: a JSON list, or an earlier --json output; default: zeros");
    flags.Add("writers", &writers, "A,B,...", "who may write, in the order of merging; default: one, \"default\"");
    flags.Add("learner", &learner, "NAME",
              "plug-in, count, soft-q or observed; default: plug-in, observed for observed followers");
    flags.Add("follower", &follower, "NAME", "who acts: solved (default), simulated or observed");
    flags.Add("update-interval", &update_interval, "N", "transitions between two policies; default 10000");
    flags.Add("merge-round", &merge_round, "N", "transitions of each writer in turn; default 256");
    flags.Add("queue", &queue, "N", "transitions that may wait to be merged; default 65536");
    flags.Add("prior", &prior, "NAME", "of rows never seen: stay (default), end or neighbours");
    flags.Add("prior-strength", &prior_strength, "NUMBER", "weight of the prior in rows that were seen; default 0");
    flags.Add("trajectories", &trajectories, "N", "transitions remembered as trajectories; default 0 or 100000");
    flags.Add("preferences", &preferences, "N", "steps of fragments held by preferences; default: --trajectories");
    flags.Add("replay-capacity", &replay_capacity, "N", "soft-q: transitions remembered; default 100000");
    flags.Add("replay-draws", &replay_draws, "N", "soft-q: learned from again for each that comes; default 4");
    flags.Add("learn-gradient", &learn_gradient, "soft-q: learn grad Q beside Q, for --critic learned");
    flags.Add("features", &features, "M", "soft-q: width of the features that transitions carry; default 0, tables");
    flags.Add("strength", &strength, "NUMBER", "observed: of the prior on the policy; default 1");
    flags.Add("max-open-episodes", &max_open_episodes, "N", "of one writer at a time; default 4096");
    flags.Add("max-distinct", &max_distinct, "N", "kinds of transitions counted in a context; default up to 1000000");
    outer_loop.AddTo(flags);
    estimator.AddTo(flags, "none: no estimate comes with policies; with --optimize plug-in");
    flags.Add("drift-window", &drift_window, "N",
              "look for drift of the follower and the world, every N transitions; 10000 with the next two alone");
    flags.Add("drift-significance", &drift_significance, "NUMBER",
              "of false alarms over the session's whole life; default 0.01");
    flags.Add("drift-tell-only", &drift_tell_only, "tell of drift; else what was learned before it is forgotten");
    flags.Add("seed", &seed, "N", "of what is drawn; default 0");
    flags.Add("validate-only", &validate_only, "only check the request and say what it would hold");
  }
};

// A session learns these; a problem for the solvers has them.
std::vector<std::string> DropWhatIsLearned(v1::Problem& problem) {
  bool transitions = false;
  bool ends = false;
  for (v1::Context& context : *problem.mutable_contexts()) {
    if (!context.has_environment()) continue;
    v1::Environment& environment = *context.mutable_environment();
    transitions = transitions || environment.has_transitions();
    ends = ends || environment.has_termination_probability();
    environment.clear_transitions();
    environment.clear_termination_probability();
  }
  std::vector<std::string> dropped;
  if (transitions) dropped.push_back("transitions");
  if (ends) dropped.push_back("termination probabilities");
  return dropped;
}

absl::Status FillLearner(const CreateFlags& flags, v1::CreateSessionRequest& request) {
  const std::string learner = UpperName(flags.learner);
  if (learner != "SOFT_Q" && (flags.replay_capacity || flags.replay_draws || flags.features || flags.learn_gradient)) {
    return absl::InvalidArgumentError(
        "--replay-capacity, --replay-draws, --features and --learn-gradient belong to --learner soft-q");
  }
  if (learner != "OBSERVED" && flags.strength) {
    return absl::InvalidArgumentError("--strength belongs to --learner observed");
  }
  if (learner.empty()) return absl::OkStatus();
  if (learner == "PLUG_IN") {
    request.mutable_plug_in();
  } else if (learner == "COUNT") {
    request.mutable_count();
  } else if (learner == "OBSERVED") {
    v1::ObservedLearner& observed = *request.mutable_observed();
    if (flags.strength) observed.set_strength(*flags.strength);
  } else if (learner == "SOFT_Q") {
    v1::SoftQLearner& soft_q = *request.mutable_soft_q();
    if (flags.replay_capacity) soft_q.set_replay_capacity(*flags.replay_capacity);
    if (flags.replay_draws) soft_q.set_replay_draws(*flags.replay_draws);
    if (flags.features) soft_q.set_num_features(*flags.features);
    soft_q.set_learn_gradient(flags.learn_gradient);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("--learner is \"", flags.learner, "\"; must be plug-in, count, soft-q or observed"));
  }
  return absl::OkStatus();
}

absl::Status FillPrior(const CreateFlags& flags, v1::ModelPrior& prior) {
  if (flags.prior_strength) prior.set_strength(*flags.prior_strength);
  if (flags.prior.empty()) return absl::OkStatus();
  const auto kind = ParseEnum("prior", "KIND_", flags.prior, v1::ModelPrior::Kind_Parse, "stay, end or neighbours");
  if (!kind.ok()) return kind.status();
  prior.set_kind(*kind);
  return absl::OkStatus();
}

void FillDrift(const CreateFlags& flags, v1::CreateSessionRequest& request) {
  if (!flags.drift_window && !flags.drift_significance && !flags.drift_tell_only) return;
  v1::DriftTest& drift = *request.mutable_drift();
  if (flags.drift_window) drift.set_window(*flags.drift_window);
  if (flags.drift_significance) drift.set_significance(*flags.drift_significance);
  drift.set_keep(flags.drift_tell_only);
}

absl::Status Fill(const CreateFlags& flags, v1::CreateSessionRequest& request) {
  request.set_session_id(flags.id);
  if (!flags.writers.empty()) {
    for (const auto writer : absl::StrSplit(flags.writers, ',')) request.add_writers(std::string(writer));
  }
  if (!flags.follower.empty()) {
    const auto follower =
        ParseEnum("follower", "FOLLOWER_", flags.follower, v1::Follower_Parse, "solved, simulated or observed");
    if (!follower.ok()) return follower.status();
    request.set_follower(*follower);
  }
  if (flags.update_interval) request.set_update_interval(*flags.update_interval);
  if (flags.merge_round) request.set_merge_round(*flags.merge_round);
  if (flags.queue) request.set_queue(*flags.queue);
  if (flags.max_open_episodes) request.set_max_open_episodes(*flags.max_open_episodes);
  if (flags.max_distinct) request.set_max_distinct(*flags.max_distinct);
  if (flags.trajectories) request.set_trajectory_capacity(*flags.trajectories);
  if (flags.preferences) request.set_preference_capacity(*flags.preferences);
  FillDrift(flags, request);
  request.set_seed(flags.seed);
  request.set_validate_only(flags.validate_only);
  const bool optimizes = !flags.outer_loop.method.empty();
  if (absl::Status status = flags.outer_loop.Fill(*request.mutable_outer_loop()); !status.ok()) return status;
  if (!optimizes) request.clear_outer_loop();
  if (optimizes || !flags.estimator.estimator.empty()) {
    v1::EstimatorOptions& estimate =
        optimizes ? *request.mutable_outer_loop()->mutable_estimator() : *request.mutable_estimate_with_policy();
    if (absl::Status status = flags.estimator.Fill(estimate); !status.ok()) return status;
    estimate.set_seed(flags.seed);
  }
  if (absl::Status status = FillPrior(flags, *request.mutable_prior()); !status.ok()) return status;
  if (absl::Status status = FillLearner(flags, request); !status.ok()) return status;
  if (flags.at.empty()) return absl::OkStatus();
  absl::StatusOr<v1::Array> parameters = ReadParameters(flags.at);
  if (!parameters.ok()) return parameters.status();
  *request.mutable_parameters() = *std::move(parameters);
  return absl::OkStatus();
}

}  // namespace

int RunSessionCreate(GlobalOptions globals, std::span<const std::string> arguments) {
  CreateFlags create_flags;
  FlagSet flags(
      "session create FILE",
      "Starts a session for the problem in FILE and prints its name. Transitions and termination probabilities\n"
      "are what the session is to learn: where the problem has them, they are left out.");
  create_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  v1::CreateSessionRequest request;
  if (absl::Status status = Fill(create_flags, request); !status.ok()) return UsageError(status);
  absl::StatusOr<v1::Problem> problem = ReadProblem(operands[0]);
  if (!problem.ok()) return UsageError(problem.status());
  *request.mutable_problem() = *std::move(problem);
  if (const auto dropped = DropWhatIsLearned(*request.mutable_problem()); !dropped.empty()) {
    std::cerr << "note: the problem's " << absl::StrJoin(dropped, " and ")
              << " are left out; the session learns them\n";
  }
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());

  const absl::StatusOr<v1::Session> session = client->CreateSession(request);
  if (!session.ok()) return Fail(session.status());
  if (request.follower() == v1::FOLLOWER_OBSERVED && request.has_outer_loop() &&
      create_flags.estimator.estimator.empty()) {
    std::cerr
        << "note: plug-in gradients take the population for soft-optimal; --estimator reward-to-go takes its word\n";
  }
  if (globals.json) {
    std::cout << SessionJson(*session).Pretty();
  } else if (create_flags.validate_only) {
    std::cout << absl::StrFormat("the request is valid; the session may come to hold %.3g MB\n",
                                 session->reserved_bytes() / 1e6);
  } else {
    std::cout << session->name() << "\n";
  }
  return kExitOk;
}

}  // namespace bilevel::client
