#include <fstream>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/npy.h"
#include "client/cli/report.h"
#include "client/cli/session_command.h"

namespace bilevel::client {
namespace {

// GetPolicy, or in chunks where the policy is too large for a message.
absl::StatusOr<v1::GetPolicyResponse> FetchPolicy(const BilevelClient& client, const std::string& name) {
  v1::GetPolicyRequest request;
  request.set_name(name);
  absl::StatusOr<v1::GetPolicyResponse> response = client.GetPolicy(request);
  if (absl::IsResourceExhausted(response.status())) response = client.DownloadPolicy(request);
  if (response.ok() && response->version() == 0) {
    const absl::StatusOr<v1::Session> session = GetSession(client, name);
    std::string hint;
    if (session.ok() && session->next_policy_at() > 0) {
      hint = absl::StrFormat("; the first comes at %.0f merged transitions, of which it has %.0f",
                             session->next_policy_at(), session->merged());
    }
    return absl::NotFoundError(absl::StrCat(name, " has no policy yet", hint));
  }
  return response;
}

int ActionsOf(const v1::LearnedPolicy& context) {
  return context.policy().shape_size() == 2 ? context.policy().shape(1) : 0;
}

void PrintJson(const v1::GetPolicyResponse& response) {
  std::vector<std::string> contexts;
  for (const v1::LearnedPolicy& context : response.contexts()) {
    const int actions = ActionsOf(context);
    contexts.push_back(JsonObject()
                           .AddValue("policy", JsonRows(Elements(context.policy()), actions))
                           .AddValue("log_policy", JsonRows(Elements(context.log_policy()), actions))
                           .Add("value", Elements(context.value()))
                           .Add("residual", context.residual())
                           .Add("unseen_rows", context.unseen_rows())
                           .Text());
  }
  std::cout << JsonObject()
                   .Add("version", response.version())
                   .Add("merged", response.merged())
                   .Add("parameters_version", response.parameters_version())
                   .Add("parameters", Elements(response.parameters()))
                   .AddValue("contexts", JsonList(contexts))
                   .Pretty();
}

void PrintContext(const v1::LearnedPolicy& context, int rows) {
  const std::vector<double> policy = Elements(context.policy());
  const std::vector<double> value = Elements(context.value());
  const auto actions = static_cast<std::size_t>(ActionsOf(context));
  PrintLine("residual", absl::StrFormat("%.2g", context.residual()), std::cout);
  PrintLine("never seen", absl::StrFormat("%.0f state-action pairs", context.unseen_rows()), std::cout);
  std::cout << absl::StrFormat("\n%8s %14s   policy\n", "state", "value");
  const std::size_t shown = std::min(value.size(), static_cast<std::size_t>(rows));
  for (std::size_t s = 0; s < shown; ++s) {
    std::cout << absl::StrFormat("%8d %14s  ", s, Short(value[s]));
    for (std::size_t a = 0; a < actions; ++a) std::cout << absl::StrFormat(" %8.4f", policy[s * actions + a]);
    std::cout << "\n";
  }
  if (shown < value.size()) {
    std::cout << absl::StrFormat("%8s %d more states; --rows, --json or --out shows them\n", "...",
                                 value.size() - shown);
  }
  std::cout << "\n";
}

// [S, A], or [contexts, S, A] where there are several of one shape.
absl::Status WritePolicy(const std::string& file, const v1::GetPolicyResponse& response) {
  std::vector<double> numbers;
  std::vector<std::size_t> shape;
  for (const v1::LearnedPolicy& context : response.contexts()) {
    const std::vector<double> policy = Elements(context.policy());
    const std::vector<std::size_t> own(context.policy().shape().begin(), context.policy().shape().end());
    if (!shape.empty() && own != shape) {
      return absl::InvalidArgumentError("--out cannot hold contexts of different shapes; use --json");
    }
    shape = own;
    numbers.insert(numbers.end(), policy.begin(), policy.end());
  }
  if (response.contexts_size() > 1) shape.insert(shape.begin(), static_cast<std::size_t>(response.contexts_size()));
  std::ofstream out(file, std::ios::binary);
  out << WriteNpy(numbers, shape);
  out.close();
  return out ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat("--out is \"", file, "\", which cannot be written"));
}

}  // namespace

int RunSessionPolicy(GlobalOptions globals, std::span<const std::string> arguments) {
  std::string file;
  std::optional<int> rows;
  FlagSet flags("session policy NAME", "The newest policy that a session has learned, of any size.");
  flags.Add("out", &file, "FILE.npy", "write the probabilities there, [S, A], or [contexts, S, A] for several");
  flags.Add("rows", &rows, "N", "states shown in a table; default 20");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  const absl::StatusOr<v1::GetPolicyResponse> response = FetchPolicy(*client, SessionName(operands[0]));
  if (!response.ok()) return Fail(response.status());
  if (!file.empty()) {
    if (absl::Status written = WritePolicy(file, *response); !written.ok()) return UsageError(written);
  }
  if (globals.json) {
    PrintJson(*response);
    return kExitOk;
  }
  PrintLine("policy",
            absl::StrFormat("version %.0f, from %.0f transitions, at x %.0f", response->version(), response->merged(),
                            response->parameters_version()),
            std::cout);
  if (!file.empty()) return kExitOk;
  for (const v1::LearnedPolicy& context : response->contexts()) PrintContext(context, std::max(rows.value_or(20), 0));
  return kExitOk;
}

}  // namespace bilevel::client
