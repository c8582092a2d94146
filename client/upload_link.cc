#include "client/upload_link.h"

#include <grpcpp/grpcpp.h>
#include <openssl/evp.h>

#include <algorithm>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/backoff.h"
#include "client/status.h"

namespace bilevel::client {
namespace {

constexpr std::uint64_t kPieceBytes = 1 << 20;
constexpr Backoff::Delay kInitialDelay{0.1}, kMaxDelay{10.0};

std::string RandomId() {
  std::random_device random;
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8),
                      absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8));
}

// Whether a further stream may do better. OUT_OF_RANGE: the server lost the upload since it was asked.
bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsCancelled(status) || absl::IsOutOfRange(status);
}

}  // namespace

UploadLink::UploadLink(v1::EnvironmentService::StubInterface& stub, const EnvironmentBytes& bytes,
                       const UploadOptions& options, Clock::time_point deadline)
    : stub_(stub),
      bytes_(bytes),
      options_(options),
      deadline_(deadline),
      id_(options.upload_id.empty() ? RandomId() : options.upload_id),
      hash_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  EVP_DigestInit_ex(hash_.get(), EVP_sha256(), nullptr);
}

absl::StatusOr<v1::UploadEnvironmentResponse> UploadLink::Run() {
  Backoff backoff(kInitialDelay, kMaxDelay, std::random_device()());
  // Nobody else knows a random id.
  bool ask = !options_.upload_id.empty();
  for (;;) {
    const std::uint64_t before = furthest_;
    const absl::StatusOr<std::uint64_t> offset = ask ? Locate() : absl::StatusOr<std::uint64_t>(0);
    const absl::Status status = !offset.ok() || done_ ? offset.status() : Send(*offset);
    if (status.ok()) return std::move(response_);
    if (!MayPass(status)) return status;
    if (furthest_ > before) backoff.Reset();
    const auto delay = std::chrono::duration_cast<Clock::duration>(backoff.Next());
    if (Clock::now() + delay >= deadline_) {
      return absl::DeadlineExceededError(absl::StrCat("the deadline passed before the upload was complete; last: ",
                                                      absl::string_view(status.message())));
    }
    std::this_thread::sleep_for(delay);
    ask = true;
  }
}

absl::StatusOr<std::uint64_t> UploadLink::Locate() {
  grpc::ClientContext context;
  context.set_deadline(deadline_);
  v1::GetUploadRequest request;
  request.set_upload_id(id_);
  v1::Upload upload;
  const grpc::Status status = stub_.GetUpload(&context, request, &upload);
  if (status.ok()) return std::min(static_cast<std::uint64_t>(upload.offset()), bytes_.size());
  if (status.error_code() != grpc::StatusCode::NOT_FOUND) return FromGrpcStatus(status);
  if (digest_.empty()) return 0;
  grpc::ClientContext again;
  again.set_deadline(deadline_);
  v1::GetEnvironmentRequest name;
  name.set_name(absl::StrCat("environments/", absl::BytesToHexString(digest_)));
  const grpc::Status found = stub_.GetEnvironment(&again, name, response_.mutable_environment());
  done_ = found.ok();
  if (!done_ && found.error_code() != grpc::StatusCode::NOT_FOUND) return FromGrpcStatus(found);
  return 0;
}

absl::Status UploadLink::Send(std::uint64_t offset) {
  HashUpTo(offset);
  grpc::ClientContext context;
  context.set_deadline(deadline_);
  response_.Clear();
  const auto writer = stub_.UploadEnvironment(&context, &response_);
  v1::UploadEnvironmentRequest request;
  request.set_upload_id(id_);
  bool last = false;
  do {
    request.set_offset(offset);
    std::string& piece = *request.mutable_data();
    piece.resize(std::min(kPieceBytes, bytes_.size() - offset));
    bytes_.Read(offset, piece);
    Hash(offset, piece);
    offset += piece.size();
    last = offset == bytes_.size();
    if (last) {
      FinishDigest();
      request.set_sha256(digest_);
    }
    if (!writer->Write(request, last ? grpc::WriteOptions().set_last_message() : grpc::WriteOptions())) break;
    request.clear_upload_id();
    furthest_ = std::max(furthest_, offset);
    if (options_.progress) options_.progress(offset, bytes_.size());
  } while (!last);
  return FromGrpcStatus(writer->Finish());
}

void UploadLink::HashUpTo(std::uint64_t offset) {
  std::string piece;
  while (hashed_ < offset) {
    piece.resize(std::min(kPieceBytes, offset - hashed_));
    bytes_.Read(hashed_, piece);
    Hash(hashed_, piece);
  }
}

// What was hashed before, for a stream that broke, is passed over.
void UploadLink::Hash(std::uint64_t offset, const std::string& piece) {
  const std::uint64_t end = offset + piece.size();
  if (end <= hashed_) return;
  const std::uint64_t skip = hashed_ - offset;
  EVP_DigestUpdate(hash_.get(), piece.data() + skip, piece.size() - skip);
  hashed_ = end;
}

void UploadLink::FinishDigest() {
  if (!digest_.empty()) return;
  digest_.resize(static_cast<std::size_t>(EVP_MD_size(EVP_sha256())));
  EVP_DigestFinal_ex(hash_.get(), reinterpret_cast<unsigned char*>(digest_.data()), nullptr);
}

}  // namespace bilevel::client
