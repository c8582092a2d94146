#include "server/environments/environment_store.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

absl::Status Unknown(const std::string& id) {
  return absl::NotFoundError(absl::StrCat(AbslText(kEnvironmentPrefix), id,
                                          " does not exist; environments end with the server: upload it again"));
}

}  // namespace

// Memory of where policies lead that is kept beyond the calls that used it.
class EnvironmentStore::KeptPattern {
 public:
  double bytes() const {
    const std::lock_guard lock(mutex_);
    return reservation_.bytes();
  }

  void AddUser() {
    const std::lock_guard lock(mutex_);
    ++users_;
  }

  // The last user keeps the pattern, or forgets it.
  void RemoveUser(const TabularMdp& mdp, MemoryBudget& budget) {
    const std::lock_guard lock(mutex_);
    if (--users_ > 0) return;
    const double bytes = mdp.PolicyPatternBytes();
    if (bytes <= reservation_.bytes()) return;
    reservation_ = {};
    std::optional<MemoryBudget::Reservation> reservation = budget.TryReserve(bytes);
    if (reservation.has_value()) {
      reservation_ = *std::move(reservation);
    } else {
      mdp.ForgetPolicyPattern();
    }
  }

  // What is not kept is its users' own.
  void Forget(const TabularMdp& mdp) {
    const std::lock_guard lock(mutex_);
    if (reservation_.bytes() == 0) return;
    mdp.ForgetPolicyPattern();
    reservation_ = {};
  }

 private:
  mutable std::mutex mutex_;
  int users_ = 0;
  MemoryBudget::Reservation reservation_;
};

struct EnvironmentStore::Held {
  Held(StoredEnvironment description, TabularMdp environment, MemoryBudget::Reservation memory)
      : about(std::move(description)), mdp(std::move(environment)), reservation(std::move(memory)) {}

  StoredEnvironment about;  // but `mdp` and what is kept
  TabularMdp mdp;
  MemoryBudget::Reservation reservation;
  mutable KeptPattern pattern;
};

StoredEnvironment EnvironmentStore::Describe(const std::shared_ptr<const Held>& held) {
  StoredEnvironment environment = held->about;
  environment.mdp = std::shared_ptr<const TabularMdp>(held, &held->mdp);
  environment.memory_bytes += held->pattern.bytes();
  return environment;
}

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
  StoredEnvironment about{.id = id,
                          .mdp = nullptr,
                          .total_bytes = total_bytes,
                          .memory_bytes = reservation.bytes(),
                          .created = std::chrono::system_clock::now()};
  const auto held = std::make_shared<const Held>(std::move(about), std::move(mdp), std::move(reservation));
  const std::lock_guard lock(mutex_);
  if (const auto found = environments_.find(id); found != environments_.end()) {
    return Added{Describe(found->second), true};
  }
  RETURN_IF_ERROR(CheckRoomLocked());
  environments_.emplace(id, held);
  return Added{Describe(held), false};
}

absl::StatusOr<std::shared_ptr<const EnvironmentStore::Held>> EnvironmentStore::FindHeld(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = environments_.find(id);
  if (found == environments_.end()) return Unknown(id);
  return found->second;
}

absl::StatusOr<StoredEnvironment> EnvironmentStore::Find(const std::string& id) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Held> held, FindHeld(id));
  return Describe(held);
}

absl::StatusOr<StoredEnvironment> EnvironmentStore::Use(const std::string& id) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Held> held, FindHeld(id));
  StoredEnvironment environment = Describe(held);
  held->pattern.AddUser();
  environment.mdp = std::shared_ptr<const TabularMdp>(
      &held->mdp, [held, &budget = budget_](const TabularMdp* mdp) { held->pattern.RemoveUser(*mdp, budget); });
  return environment;
}

void EnvironmentStore::ForgetPatterns() const {
  std::vector<std::shared_ptr<const Held>> all;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, held] : environments_) all.push_back(held);
  }
  for (const std::shared_ptr<const Held>& held : all) held->pattern.Forget(held->mdp);
}

std::vector<StoredEnvironment> EnvironmentStore::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<StoredEnvironment> list;
  for (const auto& [id, held] : environments_) list.push_back(Describe(held));
  return list;
}

absl::Status EnvironmentStore::Delete(const std::string& id) {
  std::shared_ptr<const Held> last;
  const std::lock_guard lock(mutex_);
  const auto found = environments_.find(id);
  if (found == environments_.end()) return Unknown(id);
  last = std::move(found->second);
  environments_.erase(found);
  return absl::OkStatus();
}

}  // namespace bilevel::server
