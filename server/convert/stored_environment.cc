#include "server/convert/stored_environment.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"

namespace bilevel::server {
namespace {

constexpr size_t kDigits = 64;
constexpr size_t kMaxUploadId = 64;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Errors of names need not repeat all of them.
std::string Quoted(const std::string& text) {
  constexpr size_t kMost = 100;
  const absl::string_view shown = absl::string_view(text).substr(0, kMost);
  return absl::StrCat("\"", shown, text.size() > kMost ? "...\"" : "\"");
}

}  // namespace

absl::StatusOr<std::string> DecodeEnvironmentName(const std::string& name) {
  const auto is_hex = [](char c) { return IsDigit(c) || (c >= 'a' && c <= 'f'); };
  if (name.starts_with(kEnvironmentPrefix) && name.size() == kEnvironmentPrefix.size() + kDigits &&
      std::all_of(name.begin() + kEnvironmentPrefix.size(), name.end(), is_hex)) {
    return name.substr(kEnvironmentPrefix.size());
  }
  return FieldError("", absl::StrCat("is ", Quoted(name), "; must be environments/ and the SHA-256 in ", kDigits,
                                     " hex digits, 0-9 and a-f"));
}

void EncodeStoredEnvironment(const StoredEnvironment& environment, v1::StoredEnvironment* message) {
  message->set_name(std::string(kEnvironmentPrefix) + environment.id);
  message->set_num_states(environment.mdp->num_states());
  message->set_num_actions(environment.mdp->num_actions());
  message->set_num_transitions(static_cast<double>(environment.mdp->num_entries()));
  message->set_total_bytes(static_cast<double>(environment.total_bytes));
  message->set_memory_bytes(environment.memory_bytes);
  const auto since_epoch =
      std::chrono::duration_cast<std::chrono::nanoseconds>(environment.created.time_since_epoch()).count();
  message->mutable_create_time()->set_seconds(since_epoch / 1'000'000'000);
  message->mutable_create_time()->set_nanos(static_cast<int>(since_epoch % 1'000'000'000));
}

absl::Status CheckUploadId(const std::string& id) {
  const auto may_be = [](char c) { return IsDigit(c) || (c >= 'a' && c <= 'z') || c == '-'; };
  if (!id.empty() && id.size() <= kMaxUploadId && std::all_of(id.begin(), id.end(), may_be)) return absl::OkStatus();
  return FieldError("", absl::StrCat("is ", Quoted(id), "; must be 1 to ", kMaxUploadId, " of a-z, 0-9 and '-'"));
}

absl::StatusOr<NamedEnvironments> FindEnvironments(const v1::Problem& problem, const EnvironmentStore& store) {
  NamedEnvironments found;
  for (int c = 0; c < problem.contexts_size(); ++c) {
    const v1::Context& context = problem.contexts(c);
    if (context.environment_source_case() != v1::Context::kEnvironmentName) continue;
    if (found.contains(context.environment_name())) continue;
    const std::string path = absl::StrCat("contexts[", c, "].environment_name");
    const absl::StatusOr<std::string> id = DecodeEnvironmentName(context.environment_name());
    if (!id.ok()) return WithField(path, id.status());
    absl::StatusOr<StoredEnvironment> environment = store.Use(*id);
    if (!environment.ok()) {
      return absl::NotFoundError(absl::StrCat("problem.", path, ": ", environment.status().message()));
    }
    found.emplace(context.environment_name(), std::move(environment->mdp));
  }
  return found;
}

}  // namespace bilevel::server
