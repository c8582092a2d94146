#include "client/cli/feed_source.h"

#include "absl/strings/str_cat.h"
#include "client/array.h"
#include "client/cli/input.h"
#include "client/cli/npy.h"
#include "client/cli/session_world.h"
#include "client/cli/simulator.h"

namespace bilevel::client {
namespace {

using Policies = std::vector<std::vector<double>>;

absl::StatusOr<Policies> SoftPolicies(const v1::Problem& problem, const std::string& at, const BilevelClient& client) {
  v1::SolveLowerLevelRequest request;
  *request.mutable_problem() = problem;
  if (!at.empty()) {
    absl::StatusOr<v1::Array> parameters = ReadParameters(at);
    if (!parameters.ok()) return parameters.status();
    *request.mutable_parameters() = *std::move(parameters);
  }
  const absl::StatusOr<v1::SolveLowerLevelResponse> response = client.SolveLowerLevel(request);
  if (!response.ok()) return response.status();
  Policies policies;
  for (const v1::LowerLevelSolution& solution : response->contexts()) {
    absl::StatusOr<std::vector<double>> policy = ToVector(solution.policy());
    if (!policy.ok()) return policy.status();
    policies.push_back(*std::move(policy));
  }
  return policies;
}

// [S, A], or [contexts, S, A] as `bilevel session policy --out` writes it.
absl::StatusOr<Policies> ReadPolicies(const std::string& file, int contexts) {
  const absl::StatusOr<std::string> bytes = ReadInput(file);
  if (!bytes.ok()) return bytes.status();
  const absl::StatusOr<NpyArray> array = ParseNpy(*bytes);
  if (!array.ok() || array->structured()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--policy is \"", file, "\", which is neither uniform nor soft; ",
                     array.ok() ? "it is a structured array" : std::string(array.status().message())));
  }
  const std::size_t rows = array->records() / static_cast<std::size_t>(std::max(contexts, 1));
  Policies policies(static_cast<std::size_t>(contexts));
  for (std::size_t i = 0; i < rows * policies.size(); ++i) {
    policies[i / rows].push_back(array->Real(i, array->fields.front(), 0));
  }
  return policies;
}

}  // namespace

void FeedSourceFlags::AddTo(FlagSet& flags) {
  flags.Add("columns", &columns, "A,B,...", "names of the columns of a .npy array that is not structured");
  flags.Add("simulate", &simulate, "PROBLEM", "act in the world of this problem instead of reading a file");
  flags.Add("steps", &steps, "N", "--simulate: transitions, those that the session has included");
  flags.Add("policy", &policy, "NAME", "--simulate: uniform (default), soft (the follower's own) or a .npy file");
  flags.Add("at", &at, "FILE", "--policy soft: x; default: zeros");
  flags.Add("max-episode-steps", &max_episode_steps, "N", "--simulate: episodes are truncated there; default 1000");
  flags.Add("seed", &seed, "N", "--simulate: of what is drawn; default 0");
}

absl::Status FeedSourceFlags::Check(const std::string& file) const {
  if (file.empty() && simulate.empty()) {
    return absl::InvalidArgumentError("nothing to feed; give a FILE, or --simulate PROBLEM --steps N");
  }
  if (!file.empty() && !simulate.empty()) {
    return absl::InvalidArgumentError("--simulate takes the place of a file; give one of them");
  }
  if (!file.empty() && (steps || max_episode_steps || !at.empty())) {
    return absl::InvalidArgumentError("--steps, --max-episode-steps and --at belong to --simulate");
  }
  if (!simulate.empty() && !steps) return absl::InvalidArgumentError("--simulate needs --steps N");
  if (steps.value_or(0) < 0) return absl::InvalidArgumentError(absl::StrCat("--steps is ", *steps, "; must be >= 0"));
  if (max_episode_steps.value_or(1) < 1) {
    return absl::InvalidArgumentError(absl::StrCat("--max-episode-steps is ", *max_episode_steps, "; must be >= 1"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TransitionSource>> FeedSourceFlags::Open(const std::string& file,
                                                                        const std::optional<v1::Session>& session,
                                                                        const BilevelClient& client) const {
  if (simulate.empty()) {
    return file.ends_with(".npy") ? OpenNpyTransitions(file, columns) : OpenCsvTransitions(file);
  }
  const absl::StatusOr<v1::Problem> problem = ReadProblem(simulate);
  if (!problem.ok()) return problem.status();
  if (session) {
    if (absl::Status status = CheckWorld(*problem, *session); !status.ok()) return status;
  }
  SimulationOptions options;
  if (policy != "uniform") {
    absl::StatusOr<Policies> policies =
        policy == "soft" ? SoftPolicies(*problem, at, client) : ReadPolicies(policy, problem->contexts_size());
    if (!policies.ok()) return policies.status();
    options.policies = *std::move(policies);
  }
  // Who follows the soft policy is the follower itself.
  options.tell_behavior = policy != "soft";
  options.steps = static_cast<std::uint64_t>(steps.value_or(0));
  options.max_episode_steps = static_cast<std::uint64_t>(max_episode_steps.value_or(1000));
  options.seed = seed;
  return Simulate(*problem, options);
}

}  // namespace bilevel::client
