#include <atomic>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/input.h"
#include "client/cli/interrupt.h"
#include "client/cli/report.h"
#include "client/cli/session_command.h"
#include "client/cli/session_world.h"
#include "client/cli/simulator.h"

namespace bilevel::client {
namespace {

using std::chrono::milliseconds;

struct ActFlags {
  std::string writer;
  std::string simulate;
  std::optional<int> steps;
  std::optional<int> max_episode_steps;
  std::string explore;
  std::optional<double> share;
  std::uint32_t seed = 0;
  bool walks = false;
  bool finish = false;

  void AddTo(FlagSet& flags) {
    flags.Add("simulate", &simulate, "PROBLEM", "the world: a problem whose transitions are known; required");
    flags.Add("steps", &steps, "N", "transitions; required");
    flags.Add("writer", &writer, "ID", "one of the session's writers; default: \"default\"");
    flags.Add("explore", &explore, "NAME", "try what the policy would not: none (default), uniform or least-tried");
    flags.Add("share", &share, "NUMBER", "how often, in [0, 1]; default 0.1");
    flags.Add("max-episode-steps", &max_episode_steps, "N", "episodes are truncated there; default 1000");
    flags.Add("walks", &walks,
              "walk on from a step of each episode when asked to, for --critic continuations; beyond N");
    flags.Add("finish", &finish, "tell the session that no more will come from this writer");
    flags.Add("seed", &seed, "N", "of what the world draws; default 0");
  }

  absl::Status Check() const {
    if (simulate.empty() || !steps) return absl::InvalidArgumentError("--simulate PROBLEM and --steps N are required");
    if (*steps < 0) return absl::InvalidArgumentError(absl::StrCat("--steps is ", *steps, "; must be >= 0"));
    if (max_episode_steps.value_or(1) < 1) {
      return absl::InvalidArgumentError(absl::StrCat("--max-episode-steps is ", *max_episode_steps, "; must be >= 1"));
    }
    if (share && UpperName(explore) != "UNIFORM" && UpperName(explore) != "LEAST_TRIED") {
      return absl::InvalidArgumentError("--share belongs to --explore uniform and least-tried");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<ActOptions> Options() const {
    ActOptions options;
    options.writer = writer;
    options.walks = walks;
    if (explore.empty()) return options;
    const auto kind =
        ParseEnum("explore", "KIND_", explore, v1::Exploration::Kind_Parse, "none, uniform or least-tried");
    if (!kind.ok()) return kind.status();
    options.exploration.set_kind(*kind);
    if (share) options.exploration.set_share(*share);
    return options;
  }
};

absl::StatusOr<std::vector<Simulator>> ReadWorlds(const std::string& file, const v1::Session& session) {
  const absl::StatusOr<v1::Problem> problem = ReadProblem(file);
  if (!problem.ok()) return problem.status();
  if (absl::Status status = CheckWorld(*problem, session); !status.ok()) return status;
  std::vector<Simulator> worlds;
  for (int c = 0; c < problem->contexts_size(); ++c) {
    absl::StatusOr<Simulator> world = Simulator::Create(problem->contexts(c).environment());
    if (!world.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("problem.contexts[", c, "].environment.", std::string(world.status().message())));
    }
    worlds.push_back(*std::move(world));
  }
  if (worlds.empty()) return absl::InvalidArgumentError("problem.contexts is empty");
  return worlds;
}

// Episodes one after another, in each context in turn, and after each the walks that it ends with. The last one is
// truncated, so that none stays open.
class Loop {
 public:
  Loop(ActStream& stream, const std::vector<Simulator>& worlds, const ActFlags& flags,
       const std::atomic<bool>& interrupted)
      : stream_(stream),
        worlds_(worlds),
        interrupted_(interrupted),
        before_(stream.accepted_sequence()),
        left_(static_cast<std::uint64_t>(flags.steps.value_or(0))),
        max_length_(static_cast<std::uint64_t>(flags.max_episode_steps.value_or(1000))),
        // Not what was drawn before.
        random_(flags.seed + 0x9e3779b97f4a7c15ULL * before_) {}

  absl::Status Run() {
    absl::Status status;
    while (left_ > 0 && !interrupted_ && status.ok()) status = RunEpisode();
    return status;
  }

  std::uint64_t before() const { return before_; }
  std::uint64_t episodes() const { return episodes_; }
  double policy_version() const { return policy_version_; }

 private:
  absl::Status RunEpisode() {
    const std::size_t context = episodes_ % worlds_.size();
    const Simulator& world = worlds_[context];
    ++episodes_;
    // Above all that an earlier run has used: it had no more episodes than transitions.
    const std::uint64_t episode = before_ + episodes_;
    const std::uint32_t start = world.DrawStart(random_);
    const absl::StatusOr<v1::Action> end =
        Follow(world, episode, start, stream_.Start(episode, start, static_cast<std::uint32_t>(context)), false);
    if (!end.ok()) return end.status();
    for (const v1::Walk& walk : end->walks()) {
      // Its episode is over: the number is free.
      const absl::StatusOr<v1::Action> over =
          Follow(world, episode, walk.state(), stream_.StartWalk(episode, walk), true);
      if (!over.ok()) return over.status();
    }
    return absl::OkStatus();
  }

  // Steps until the end, which it returns. Walks are ended by the server.
  absl::StatusOr<v1::Action> Follow(const Simulator& world, std::uint64_t episode, std::uint32_t state,
                                    absl::StatusOr<v1::Action> action, bool walk) {
    for (std::uint64_t length = 1; action.ok() && !action->ended(); ++length) {
      policy_version_ = action->policy_version();
      if (action->action() >= world.num_actions()) return absl::InternalError("the server took an unknown action");
      const std::optional<std::uint32_t> next = world.DrawNext(state, action->action(), random_);
      if (left_ > 0) --left_;
      const bool cut = interrupted_ || (!walk && (left_ == 0 || length == max_length_));
      const StepKind kind = !next ? StepKind::kTerminated : cut ? StepKind::kTruncated : StepKind::kRunning;
      state = next.value_or(0);
      action = stream_.Step(episode, state, kind);
    }
    return action;
  }

  ActStream& stream_;
  const std::vector<Simulator>& worlds_;
  const std::atomic<bool>& interrupted_;
  const std::uint64_t before_;
  std::uint64_t left_;
  const std::uint64_t max_length_;
  Random random_;
  std::uint64_t episodes_ = 0;
  double policy_version_ = 0.0;
};

void PrintSummary(const Loop& loop, std::uint64_t accepted, const ActFlags& flags, bool finished, bool json) {
  if (json) {
    std::cout << JsonObject()
                     .Add("writer", flags.writer.empty() ? "default" : flags.writer)
                     .Add("accepted_before", static_cast<double>(loop.before()))
                     .Add("accepted", static_cast<double>(accepted))
                     .Add("episodes", static_cast<double>(loop.episodes()))
                     .Add("policy_version", loop.policy_version())
                     .AddValue("finished", finished ? "true" : "false")
                     .Pretty();
    return;
  }
  std::cout << absl::StrFormat("%d transitions in %s; the last action came from policy %.0f%s\n",
                               accepted - loop.before(), Counted(static_cast<int>(loop.episodes()), "episode"),
                               loop.policy_version(), finished ? "; the writer has finished" : "");
}

int Act(const BilevelClient& client, const ActFlags& flags, const ActOptions& options, const std::string& name,
        const GlobalOptions& globals) {
  const absl::StatusOr<v1::Session> session = GetSession(client, name);
  if (!session.ok()) return Fail(session.status());
  const absl::StatusOr<std::vector<Simulator>> worlds = ReadWorlds(flags.simulate, *session);
  if (!worlds.ok()) return UsageError(worlds.status());
  const milliseconds deadline = globals.deadline ? absl::ToChronoMilliseconds(*globals.deadline) : kOpenDeadline;
  absl::StatusOr<ActStream> stream = client.Act(name, options, {.deadline = deadline});
  if (!stream.ok()) return Fail(stream.status());

  std::atomic<bool> interrupted = false;
  std::atomic<bool> over = false;
  const OnInterrupt interrupt([&] {
    interrupted = true;
    for (milliseconds waited{0}; waited < kLeaveTime && !over; waited += milliseconds(20)) {
      std::this_thread::sleep_for(milliseconds(20));
    }
    if (!over) stream->Cancel();
  });
  Loop loop(*stream, *worlds, flags, interrupted);
  absl::Status status = loop.Run();
  const bool finish = flags.finish && status.ok() && !interrupted;
  if (finish) status = stream->Finish();
  over = true;
  PrintSummary(loop, stream->accepted_sequence(), flags, finish && status.ok(), globals.json);
  if (interrupted) return kExitNotConverged;
  return status.ok() ? static_cast<int>(kExitOk) : Fail(status);
}

}  // namespace

int RunSessionAct(GlobalOptions globals, std::span<const std::string> arguments) {
  ActFlags act_flags;
  FlagSet flags(
      "session act NAME",
      "Lets a session's simulated follower act in a world that is known here: states go to the server, actions\n"
      "come back, drawn from the newest policy, and the session learns from every step.");
  act_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  if (absl::Status status = act_flags.Check(); !status.ok()) return UsageError(status);
  const absl::StatusOr<ActOptions> options = act_flags.Options();
  if (!options.ok()) return UsageError(options.status());
  BlockInterrupts();
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  return Act(*client, act_flags, *options, SessionName(operands[0]), globals);
}

}  // namespace bilevel::client
