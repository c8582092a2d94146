#include "server/environments/upload_registry.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "server/environments/environment_decoder.h"
#include "server/environments/sha256.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

using Clock = UploadRegistryOptions::Clock;

// A failed allocation ends an upload, not the server.
template <typename Work>
auto Guarded(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

std::string Hex(std::string_view bytes) {
  return absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size()));
}

absl::StatusOr<TabularMdp> FinishDecoding(EnvironmentDecoder decoder) {
  absl::StatusOr<TabularMdp> mdp = std::move(decoder).Finish();
  if (!mdp.ok()) return WithField("data", mdp.status());
  return mdp;
}

}  // namespace

class UploadRegistry::Upload {
 public:
  Upload(std::string name, const Limits& limits, MemoryBudget& budget, Clock::time_point now)
      : id(std::move(name)), active_(now.time_since_epoch().count()) {
    content_.emplace(limits, [this, &budget](double bytes) -> absl::Status {
      ASSIGN_OR_RETURN(reservation_, budget.Reserve(bytes));
      return absl::OkStatus();
    });
  }

  const std::string id;

  // A further stream, from now on the only one.
  uint64_t NextStream() { return ++stream_; }

  void Touch(Clock::time_point now) { active_ = now.time_since_epoch().count(); }
  Clock::time_point active() const { return Clock::time_point(Clock::duration(active_.load())); }

  absl::Status Take(uint64_t stream, uint64_t offset, std::string_view data) {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(CheckStream(stream));
    const uint64_t taken = content_->decoder.taken();
    if (offset > taken) {
      return absl::OutOfRangeError(absl::StrCat("the piece begins at ", offset, " and ", taken,
                                                " bytes have arrived; GetUpload says where to go on"));
    }
    if (data.size() > kMaxUploadPieceBytes) {
      return FieldError("data", absl::StrCat("has ", data.size(), " bytes; at most ", kMaxUploadPieceBytes));
    }
    data.remove_prefix(std::min<uint64_t>(taken - offset, data.size()));
    content_->hash.Add(data);
    RETURN_IF_ERROR(WithField("data", content_->decoder.Take(data)));
    reservation_.Shrink(content_->decoder.Bytes());
    return absl::OkStatus();
  }

  struct Result {
    std::string digest;
    TabularMdp mdp;
    uint64_t total_bytes;
    MemoryBudget::Reservation reservation;
  };
  absl::StatusOr<Result> Finish(uint64_t stream, std::string_view sha256) {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(CheckStream(stream));
    EnvironmentDecoder& decoder = content_->decoder;
    if (sha256.size() != Sha256::kBytes) {
      return FieldError("sha256", absl::StrCat("has ", sha256.size(), " bytes; must have ", Sha256::kBytes));
    }
    if (!decoder.complete()) {
      return FieldError("sha256", absl::StrCat("comes after ", decoder.taken(), " of ", decoder.total_bytes(),
                                               " bytes; must come with the last"));
    }
    std::string digest = content_->hash.Digest();
    if (digest != sha256) {
      return absl::DataLossError(absl::StrCat("the bytes that arrived have the SHA-256 ", Hex(digest), ", not ",
                                              Hex(sha256), "; upload again, from the start"));
    }
    const double bytes = decoder.FinalBytes();
    const uint64_t total_bytes = decoder.total_bytes();
    ASSIGN_OR_RETURN(TabularMdp mdp, FinishDecoding(std::move(decoder)));
    reservation_.Shrink(bytes);
    return Result{std::move(digest), std::move(mdp), total_bytes, std::move(reservation_)};
  }

  bool IsOf(uint64_t stream) const { return stream_ == stream; }

  Progress progress() {
    const std::lock_guard lock(mutex_);
    if (!content_.has_value()) return {};
    return {content_->decoder.taken(), content_->decoder.total_bytes()};
  }

  // Frees what it holds.
  void End() {
    const std::lock_guard lock(mutex_);
    content_.reset();
    reservation_ = {};
  }

 private:
  struct Content {
    Content(const Limits& limits, EnvironmentDecoder::Admit admit) : decoder(limits, std::move(admit)) {}
    EnvironmentDecoder decoder;
    Sha256 hash;
  };

  absl::Status CheckStream(uint64_t stream) const {
    if (!content_.has_value()) {
      return absl::AbortedError(absl::StrCat("nothing arrived of upload ", id, " for too long; it was forgotten"));
    }
    if (stream != stream_) return absl::AbortedError(absl::StrCat("a newer stream of upload ", id, " took over"));
    return absl::OkStatus();
  }

  std::atomic<uint64_t> stream_ = 0;
  std::atomic<Clock::rep> active_;
  std::mutex mutex_;
  std::optional<Content> content_;
  MemoryBudget::Reservation reservation_;
};

absl::StatusOr<UploadRegistry::Lease> UploadRegistry::Open(const std::string& id, uint64_t offset) {
  ForgetIdle();
  const std::lock_guard lock(mutex_);
  if (const auto found = uploads_.find(id); found != uploads_.end()) {
    found->second->Touch(options_.now());
    return Lease{found->second, found->second->NextStream()};
  }
  if (offset != 0) {
    return absl::OutOfRangeError(
        absl::StrCat("the first piece begins at ", offset, " and nothing of upload ", id, " has arrived"));
  }
  RETURN_IF_ERROR(store_.CheckRoom());
  if (uploads_.size() >= options_.most) {
    return MakeRefusal(absl::StatusCode::kResourceExhausted,
                       {.reason = reasons::kUploadLimit,
                        .subject = "uploads",
                        .description = absl::StrCat(uploads_.size(),
                                                    " uploads are on their way, as many as this server takes at a "
                                                    "time; retry later"),
                        .retry_delay = std::chrono::milliseconds(1000)});
  }
  auto upload = std::make_shared<Upload>(id, limits_, budget_, options_.now());
  uploads_.emplace(id, upload);
  return Lease{upload, upload->NextStream()};
}

absl::Status UploadRegistry::Take(const Lease& lease, uint64_t offset, std::string_view data) {
  lease.upload->Touch(options_.now());
  const absl::Status status = Guarded([&] { return lease.upload->Take(lease.stream, offset, data); });
  if (!status.ok() && !absl::IsAborted(status) && !absl::IsOutOfRange(status)) Forget(lease.upload);
  return status;
}

absl::StatusOr<EnvironmentStore::Added> UploadRegistry::Finish(const Lease& lease, std::string_view sha256) {
  absl::StatusOr<Upload::Result> result =
      Guarded([&]() -> absl::StatusOr<Upload::Result> { return lease.upload->Finish(lease.stream, sha256); });
  if (!absl::IsAborted(result.status())) Forget(lease.upload);
  if (!result.ok()) return result.status();
  return store_.Add(Hex(result->digest), std::move(result->mdp), result->total_bytes, std::move(result->reservation));
}

void UploadRegistry::Abandon(const Lease& lease) {
  if (lease.upload->IsOf(lease.stream)) Forget(lease.upload);
}

absl::StatusOr<UploadRegistry::Progress> UploadRegistry::Find(const std::string& id) {
  ForgetIdle();
  std::shared_ptr<Upload> upload;
  {
    const std::lock_guard lock(mutex_);
    const auto found = uploads_.find(id);
    if (found == uploads_.end()) {
      return absl::NotFoundError(absl::StrCat("nothing of upload ", id, " is here: it has not begun, or has ended"));
    }
    upload = found->second;
  }
  return upload->progress();
}

void UploadRegistry::ForgetIdle() {
  std::vector<std::shared_ptr<Upload>> idle;
  {
    const std::lock_guard lock(mutex_);
    const Clock::time_point latest = options_.now() - options_.idle;
    for (auto at = uploads_.begin(); at != uploads_.end();) {
      if (at->second->active() < latest) {
        idle.push_back(std::move(at->second));
        at = uploads_.erase(at);
      } else {
        ++at;
      }
    }
  }
  for (const std::shared_ptr<Upload>& upload : idle) upload->End();
}

void UploadRegistry::Forget(const std::shared_ptr<Upload>& upload) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = uploads_.find(upload->id);
    if (found != uploads_.end() && found->second == upload) uploads_.erase(found);
  }
  upload->End();
}

}  // namespace bilevel::server
