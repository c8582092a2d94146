// Environments on their way: uploads that outlive the streams which bring them.
//
// An upload has one stream at a time: a newer one takes an older one's place, and the older one is told so at its next
// message. Bytes are hashed, checked and put where they belong as they arrive, in the caller's thread: a millisecond or
// two for each piece, and some nanoseconds for each row without entries before what it brings, of which there may be as
// many as there are states and actions. An upload that is late (see Pace) is forgotten; that is looked at when another
// begins, when one is asked for, and when memory is short.

#ifndef BILEVEL_SERVER_ENVIRONMENTS_UPLOAD_REGISTRY_H_
#define BILEVEL_SERVER_ENVIRONMENTS_UPLOAD_REGISTRY_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/environments/environment_store.h"
#include "server/jobs/memory_budget.h"
#include "server/jobs/pace.h"
#include "server/limits.h"

namespace bilevel::server {

struct UploadRegistryOptions {
  size_t most = kMaxUploads;
  // Between streams, too.
  PaceOptions pace = {.idle = std::chrono::minutes(10)};
};

class UploadRegistry {
 public:
  // budget and store must outlive this.
  UploadRegistry(const Limits& limits, MemoryBudget& budget, EnvironmentStore& store,
                 UploadRegistryOptions options = {})
      : limits_(limits), budget_(budget), store_(store), options_(std::move(options)) {}

  class Upload;
  // A stream's hold on its upload.
  struct Lease {
    std::shared_ptr<Upload> upload;
    uint64_t stream = 0;
  };

  // Begins an upload, or a further stream of one that has begun. offset: where its first piece begins. OUT_OF_RANGE
  // when that is not 0 and there is no such upload; RESOURCE_EXHAUSTED for too many uploads (UPLOAD_LIMIT) or
  // environments (ENVIRONMENT_LIMIT).
  absl::StatusOr<Lease> Open(const std::string& id, uint64_t offset);

  // The next piece; bytes that arrived before, all of them once it is stored, are passed over. ABORTED when a newer
  // stream took this one's place or the upload has ended without being stored, OUT_OF_RANGE beyond what has arrived:
  // both leave the upload as it is. Errors of content (paths relative to UploadEnvironmentRequest) and of memory end
  // it.
  absl::Status Take(const Lease& lease, uint64_t offset, std::string_view data);

  // The end of the upload, and what is stored now, perhaps by an earlier stream. INVALID_ARGUMENT when bytes are
  // missing, DATA_LOSS when sha256 is not theirs, ABORTED, and what EnvironmentStore::Add says.
  absl::StatusOr<EnvironmentStore::Added> Finish(const Lease& lease, std::string_view sha256);

  // Ends an upload that will not be finished; nothing of it stays. Nothing where another stream has it.
  void Abandon(const Lease& lease);

  // NOT_FOUND for an id that is not in use.
  struct Progress {
    uint64_t offset = 0;
    uint64_t total_bytes = 0;
  };
  absl::StatusOr<Progress> Find(const std::string& id);

  // Forgets uploads that are late. Waits for none: who has a piece under way is not late.
  void ForgetLate();

 private:
  // An upload that has ended, no longer by this name.
  void Forget(const Upload& upload);
  // The same under mutex_.
  void ForgetLocked(const Upload& upload);

  const Limits limits_;
  MemoryBudget& budget_;
  EnvironmentStore& store_;
  const UploadRegistryOptions options_;
  std::mutex mutex_;  // never held while an upload's is waited for
  std::map<std::string, std::shared_ptr<Upload>> uploads_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_ENVIRONMENTS_UPLOAD_REGISTRY_H_
