// The environments of a server, by the digest of their canonical bytes, within a cap.

#ifndef BILEVEL_SERVER_ENVIRONMENTS_ENVIRONMENT_STORE_H_
#define BILEVEL_SERVER_ENVIRONMENTS_ENVIRONMENT_STORE_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/mdp/tabular_mdp.h"
#include "server/jobs/memory_budget.h"

namespace bilevel::server {

// A name is this and the id.
inline constexpr std::string_view kEnvironmentPrefix = "environments/";

// What a problem shares with all others that name the same environment. Whoever holds `mdp` also holds the memory's
// reservation.
struct StoredEnvironment {
  std::string id;  // SHA-256 in 64 hex digits
  std::shared_ptr<const TabularMdp> mdp;
  uint64_t total_bytes = 0;  // of the canonical layout
  double memory_bytes = 0;   // with what is kept of where policies lead (TabularMdp::SharePolicyPattern)
  std::chrono::system_clock::time_point created;
};

class EnvironmentStore {
 public:
  // most: environments at a time. The budget must outlive this and all that it hands out.
  EnvironmentStore(size_t most, MemoryBudget& budget) : most_(most), budget_(budget) {}

  // RESOURCE_EXHAUSTED (ENVIRONMENT_LIMIT) when there are as many as there may be.
  absl::Status CheckRoom() const;

  // Keeps an environment under its digest. Where there is one already, that one stays, and `mdp` goes.
  struct Added {
    StoredEnvironment environment;
    bool existed = false;
  };
  absl::StatusOr<Added> Add(const std::string& id, TabularMdp mdp, uint64_t total_bytes,
                            MemoryBudget::Reservation reservation);

  // NOT_FOUND for an id that is not in use.
  absl::StatusOr<StoredEnvironment> Find(const std::string& id) const;

  // The same for those who solve: once they all have let go of `mdp`, what was found of where policies lead stays for
  // the next, if the budget has room for it at once.
  absl::StatusOr<StoredEnvironment> Use(const std::string& id) const;

  // Forgets what has stayed so; who works with it goes on.
  void ForgetPatterns() const;

  // In order of ids.
  std::vector<StoredEnvironment> List() const;

  // Its memory is free once nobody holds it any more: perhaps here, which takes time where it is large.
  absl::Status Delete(const std::string& id);

 private:
  class KeptPattern;
  struct Held;

  absl::Status CheckRoomLocked() const;
  absl::StatusOr<std::shared_ptr<const Held>> FindHeld(const std::string& id) const;
  // With `mdp` for those who only look.
  static StoredEnvironment Describe(const std::shared_ptr<const Held>& held);

  const size_t most_;
  MemoryBudget& budget_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Held>> environments_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_ENVIRONMENTS_ENVIRONMENT_STORE_H_
