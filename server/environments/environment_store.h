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
  double memory_bytes = 0;
  std::chrono::system_clock::time_point created;
};

class EnvironmentStore {
 public:
  // most: environments at a time.
  explicit EnvironmentStore(size_t most) : most_(most) {}

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

  // In order of ids.
  std::vector<StoredEnvironment> List() const;

  // Its memory is free once nobody holds it any more: perhaps here, which takes time where it is large.
  absl::Status Delete(const std::string& id);

 private:
  absl::Status CheckRoomLocked() const;

  const size_t most_;
  mutable std::mutex mutex_;
  std::map<std::string, StoredEnvironment> environments_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_ENVIRONMENTS_ENVIRONMENT_STORE_H_
