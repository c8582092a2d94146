#include "server/environments/environment_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

struct Held {
  TabularMdp mdp;
  MemoryBudget::Reservation reservation;
};

absl::Status Unknown(const std::string& id) {
  return absl::NotFoundError(absl::StrCat(AbslText(kEnvironmentPrefix), id,
                                          " does not exist; environments end with the server: upload it again"));
}

}  // namespace

absl::Status EnvironmentStore::CheckRoom() const {
  const std::lock_guard lock(mutex_);
  return CheckRoomLocked();
}

absl::Status EnvironmentStore::CheckRoomLocked() const {
  if (environments_.size() < most_) return absl::OkStatus();
  return MakeRefusal(absl::StatusCode::kResourceExhausted,
                     {.reason = reasons::kEnvironmentLimit,
                      .subject = "environments",
                      .description = absl::StrCat(environments_.size(),
                                                  " environments are stored, as many as this server keeps; delete one, "
                                                  "or start it with a higher --max_environments"),
                      .retry_delay = std::nullopt});
}

absl::StatusOr<EnvironmentStore::Added> EnvironmentStore::Add(const std::string& id, TabularMdp mdp,
                                                              uint64_t total_bytes,
                                                              MemoryBudget::Reservation reservation) {
  StoredEnvironment environment{.id = id,
                                .mdp = nullptr,
                                .total_bytes = total_bytes,
                                .memory_bytes = reservation.bytes(),
                                .created = std::chrono::system_clock::now()};
  const auto held = std::make_shared<const Held>(Held{std::move(mdp), std::move(reservation)});
  environment.mdp = std::shared_ptr<const TabularMdp>(held, &held->mdp);
  const std::lock_guard lock(mutex_);
  if (const auto found = environments_.find(id); found != environments_.end()) return Added{found->second, true};
  RETURN_IF_ERROR(CheckRoomLocked());
  environments_.emplace(id, environment);
  return Added{std::move(environment), false};
}

absl::StatusOr<StoredEnvironment> EnvironmentStore::Find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = environments_.find(id);
  if (found == environments_.end()) return Unknown(id);
  return found->second;
}

std::vector<StoredEnvironment> EnvironmentStore::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<StoredEnvironment> list;
  for (const auto& [id, environment] : environments_) list.push_back(environment);
  return list;
}

absl::Status EnvironmentStore::Delete(const std::string& id) {
  StoredEnvironment last;
  const std::lock_guard lock(mutex_);
  const auto found = environments_.find(id);
  if (found == environments_.end()) return Unknown(id);
  last = std::move(found->second);
  environments_.erase(found);
  return absl::OkStatus();
}

}  // namespace bilevel::server
