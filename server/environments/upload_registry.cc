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

absl::Status NothingOf(const std::string& id) {
  return absl::NotFoundError(absl::StrCat("nothing of upload ", id, " is here: it has not begun, or has ended"));
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

// Whatever ends an upload, an exception included, frees what it holds before the next stream can look at it.
class UploadRegistry::Upload {
 public:
  Upload(std::string name, const Limits& limits, MemoryBudget& budget, const PaceOptions& pace)
      : id(std::move(name)), pace_(pace) {
    content_.emplace(limits, [this, &budget](double bytes) -> absl::Status {
      ASSIGN_OR_RETURN(reservation_, budget.Reserve(bytes));
      return absl::OkStatus();
    });
  }

  const std::string id;

  // A further stream, from now on the only one.
  uint64_t NextStream() { return ++stream_; }
  bool IsOf(uint64_t stream) const { return stream_ == stream; }

  bool ended() const { return ended_; }

  absl::Status Take(uint64_t stream, uint64_t offset, std::string_view data) {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(CheckStream(stream));
    if (IsStored()) return absl::OkStatus();
    const uint64_t taken = content_->decoder.taken();
    if (offset > taken) {
      return absl::OutOfRangeError(absl::StrCat("the piece begins at ", offset, " and ", taken,
                                                " bytes have arrived; GetUpload says where to go on"));
    }
    absl::Status status = Guarded([&] { return TakePiece(offset, data); });
    if (!status.ok()) End(status.message());
    return status;
  }

  absl::StatusOr<EnvironmentStore::Added> Finish(uint64_t stream, std::string_view sha256, EnvironmentStore& store) {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(CheckStream(stream));
    if (IsStored()) return FindStored(sha256, store);
    absl::StatusOr<EnvironmentStore::Added> added =
        Guarded([&]() -> absl::StatusOr<EnvironmentStore::Added> { return Store(sha256, store); });
    End(added.status().message());
    return added;
  }

  absl::StatusOr<Progress> progress() {
    const std::lock_guard lock(mutex_);
    if (!content_.has_value()) return NothingOf(id);
    return Progress{content_->decoder.taken(), content_->decoder.total_bytes()};
  }

  void Abandon() {
    const std::lock_guard lock(mutex_);
    if (content_.has_value()) End("its stream broke a rule");
  }

  // Whether it was late, and has ended; it is not while a stream is at work on it.
  bool EndIfLate() {
    if (!pace_.IsLate()) return false;
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || !pace_.IsLate()) return false;
    if (content_.has_value()) End("too little arrived for too long; it was forgotten");
    return true;
  }

 private:
  struct Content {
    Content(const Limits& limits, EnvironmentDecoder::Admit admit) : decoder(limits, std::move(admit)) {}
    EnvironmentDecoder decoder;
    Sha256 hash;
  };

  // All of the following need mutex_.

  bool IsStored() const { return !stored_.empty(); }

  absl::Status CheckStream(uint64_t stream) const {
    if (stream != stream_) return absl::AbortedError(absl::StrCat("a newer stream of upload ", id, " took over"));
    if (!ended_ || IsStored()) return absl::OkStatus();
    return absl::AbortedError(absl::StrCat("upload ", id, " has ended: ", end_));
  }

  absl::Status TakePiece(uint64_t offset, std::string_view data) {
    if (data.size() > kMaxPieceBytes) {
      return FieldError("data", absl::StrCat("has ", data.size(), " bytes; at most ", kMaxPieceBytes));
    }
    data.remove_prefix(std::min<uint64_t>(content_->decoder.taken() - offset, data.size()));
    if (data.empty()) return absl::OkStatus();
    // First: where memory is short, late uploads are ended, and this one holds its lock.
    pace_.Move(data.size());
    content_->hash.Add(data);
    RETURN_IF_ERROR(WithField("data", content_->decoder.Take(data)));
    reservation_.Shrink(content_->decoder.Bytes());
    return absl::OkStatus();
  }

  absl::StatusOr<EnvironmentStore::Added> Store(std::string_view sha256, EnvironmentStore& store) {
    EnvironmentDecoder& decoder = content_->decoder;
    if (sha256.size() != Sha256::kBytes) {
      return FieldError("sha256", absl::StrCat("has ", sha256.size(), " bytes; must have ", Sha256::kBytes));
    }
    if (!decoder.complete()) {
      return FieldError("sha256", absl::StrCat("comes after ", decoder.taken(), " of ", decoder.total_bytes(),
                                               " bytes; must come with the last"));
    }
    const std::string digest = content_->hash.Digest();
    if (digest != sha256) {
      return absl::DataLossError(absl::StrCat("the bytes that arrived have the SHA-256 ", Hex(digest), ", not ",
                                              Hex(sha256), "; upload again, from the start"));
    }
    const double bytes = decoder.FinalBytes();
    const uint64_t total_bytes = decoder.total_bytes();
    ASSIGN_OR_RETURN(TabularMdp mdp, FinishDecoding(std::move(decoder)));
    reservation_.Shrink(bytes);
    ASSIGN_OR_RETURN(EnvironmentStore::Added added,
                     store.Add(Hex(digest), std::move(mdp), total_bytes, std::move(reservation_)));
    stored_ = added.environment.id;
    return added;
  }

  // For a stream that began before an earlier one ended well.
  absl::StatusOr<EnvironmentStore::Added> FindStored(std::string_view sha256, const EnvironmentStore& store) const {
    if (Hex(sha256) != stored_) {
      return absl::DataLossError(absl::StrCat("upload ", id, " was stored with the SHA-256 ", stored_, ", not ",
                                              Hex(sha256), "; upload again, from the start"));
    }
    absl::StatusOr<StoredEnvironment> environment = store.Find(stored_);
    if (!environment.ok()) {
      return absl::AbortedError(absl::StrCat("upload ", id, " was stored, and deleted since; upload again"));
    }
    return EnvironmentStore::Added{*std::move(environment), true};
  }

  // Frees what it holds.
  void End(absl::string_view why) {
    content_.reset();
    reservation_ = {};
    ended_ = true;
    end_ = std::string(why);
  }

  std::atomic<uint64_t> stream_ = 0;
  std::atomic<bool> ended_ = false;
  Pace pace_;
  std::mutex mutex_;
  std::optional<Content> content_;  // until it ends
  MemoryBudget::Reservation reservation_;
  std::string end_;     // why it ended, unless it is stored
  std::string stored_;  // the id
};

absl::StatusOr<UploadRegistry::Lease> UploadRegistry::Open(const std::string& id, uint64_t offset) {
  ForgetLate();
  const std::lock_guard lock(mutex_);
  if (const auto found = uploads_.find(id); found != uploads_.end()) {
    if (!found->second->ended()) return Lease{found->second, found->second->NextStream()};
    uploads_.erase(found);
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
  auto upload = std::make_shared<Upload>(id, limits_, budget_, options_.pace);
  uploads_.emplace(id, upload);
  return Lease{upload, upload->NextStream()};
}

absl::Status UploadRegistry::Take(const Lease& lease, uint64_t offset, std::string_view data) {
  absl::Status status = lease.upload->Take(lease.stream, offset, data);
  if (lease.upload->ended()) Forget(*lease.upload);
  return status;
}

absl::StatusOr<EnvironmentStore::Added> UploadRegistry::Finish(const Lease& lease, std::string_view sha256) {
  absl::StatusOr<EnvironmentStore::Added> added = lease.upload->Finish(lease.stream, sha256, store_);
  if (lease.upload->ended()) Forget(*lease.upload);
  return added;
}

void UploadRegistry::Abandon(const Lease& lease) {
  {
    // Streams begin under the same lock.
    const std::lock_guard lock(mutex_);
    if (!lease.upload->IsOf(lease.stream)) return;
    ForgetLocked(*lease.upload);
  }
  lease.upload->Abandon();
}

absl::StatusOr<UploadRegistry::Progress> UploadRegistry::Find(const std::string& id) {
  ForgetLate();
  std::shared_ptr<Upload> upload;
  {
    const std::lock_guard lock(mutex_);
    const auto found = uploads_.find(id);
    if (found == uploads_.end()) return NothingOf(id);
    upload = found->second;
  }
  return upload->progress();
}

void UploadRegistry::ForgetLate() {
  std::vector<std::shared_ptr<Upload>> uploads;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, upload] : uploads_) uploads.push_back(upload);
  }
  for (const std::shared_ptr<Upload>& upload : uploads) {
    if (upload->EndIfLate()) Forget(*upload);
  }
}

void UploadRegistry::Forget(const Upload& upload) {
  const std::lock_guard lock(mutex_);
  ForgetLocked(upload);
}

void UploadRegistry::ForgetLocked(const Upload& upload) {
  const auto found = uploads_.find(upload.id);
  if (found != uploads_.end() && found->second.get() == &upload) uploads_.erase(found);
}

}  // namespace bilevel::server
