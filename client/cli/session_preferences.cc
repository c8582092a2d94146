#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/input.h"
#include "client/cli/session_command.h"

namespace bilevel::client {
namespace {

// AddPreferencesRequest takes so many at a time.
constexpr int kMostAtOnce = 8192;

// The last reply. Numbers go up from first_sequence, so that sending a file again adds nothing.
absl::StatusOr<v1::AddPreferencesResponse> Send(const BilevelClient& client, const v1::AddPreferencesRequest& all,
                                                std::uint64_t first) {
  absl::StatusOr<v1::AddPreferencesResponse> response = v1::AddPreferencesResponse();
  for (int at = 0; at < all.preferences_size() && response.ok(); at += kMostAtOnce) {
    v1::AddPreferencesRequest request;
    request.set_name(all.name());
    request.set_first_sequence(first + static_cast<std::uint64_t>(at));
    const int end = std::min(at + kMostAtOnce, all.preferences_size());
    for (int i = at; i < end; ++i) *request.add_preferences() = all.preferences(i);
    response = client.AddPreferences(request);
  }
  return response;
}

}  // namespace

int RunSessionPreferences(GlobalOptions globals, std::span<const std::string> arguments) {
  std::optional<int> first;
  FlagSet flags(
      "session preferences NAME FILE",
      "Adds labels for pairs of fragments of trajectories. FILE: a JSON list of bilevel.v1.Preference, for\n"
      "example [{\"first\": {\"range\": {\"episode_id\": 1, \"count\": 5}}, \"second\": {\"range\": {\"episode_id\": "
      "2,\n\"count\": 5}}, \"first_preferred\": 1}]. Each counts once by its number, however often it is sent.");
  flags.Add("first", &first, "N", "number of the file's first; default 1, the session's first");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 2, operands)) return *exit;
  if (first.value_or(1) < 1) {
    return UsageError(absl::InvalidArgumentError(absl::StrCat("--first is ", *first, "; must be >= 1")));
  }
  absl::StatusOr<v1::AddPreferencesRequest> request = ReadPreferences(operands[1]);
  if (!request.ok()) return UsageError(request.status());
  request->set_name(SessionName(operands[0]));
  if (request->preferences_size() == 0) {
    return UsageError(absl::InvalidArgumentError(absl::StrCat(operands[1], " holds no preferences")));
  }
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());

  const absl::StatusOr<v1::Session> before = GetSession(*client, request->name());
  if (!before.ok()) return Fail(before.status());
  const auto response = Send(*client, *request, static_cast<std::uint64_t>(first.value_or(1)));
  if (!response.ok()) return Fail(response.status());
  const double taken = response->accepted_sequence() - before->preferences();
  if (globals.json) {
    std::cout << JsonObject()
                     .Add("accepted_before", before->preferences())
                     .Add("accepted_sequence", response->accepted_sequence())
                     .Add("steps", response->steps())
                     .Pretty();
  } else {
    std::cout << absl::StrFormat("%.0f preferences accepted", taken);
    if (before->preferences() > 0) {
      std::cout << absl::StrFormat(", after %.0f that the session had", before->preferences());
    }
    std::cout << absl::StrFormat("; it holds fragments of %.0f steps\n", response->steps());
  }
  if (taken < request->preferences_size()) {
    std::cerr << absl::StrFormat(
        "note: numbers up to %.0f were there already and are not taken again; new ones begin with --first %.0f\n",
        before->preferences(), before->preferences() + 1);
  }
  return kExitOk;
}

}  // namespace bilevel::client
