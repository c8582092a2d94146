#include "server/policy_download.h"

#include <algorithm>

#include "server/convert/error.h"

namespace bilevel::server {
namespace {

constexpr size_t kChunkBytes = 1 << 20;

}  // namespace

void PolicyDownload::Start(const absl::Status& status) {
  if (status.ok()) {
    WriteNext();
  } else {
    Finish(ToGrpcStatus(status));
  }
}

void PolicyDownload::WriteNext() {
  const size_t size = std::min(kChunkBytes, bytes_.size() - sent_);
  chunk_.set_total_bytes(static_cast<double>(bytes_.size()));
  chunk_.set_offset(static_cast<double>(sent_));
  chunk_.set_data(bytes_.substr(sent_, size));
  sent_ += size;
  StartWrite(&chunk_);
}

void PolicyDownload::OnWriteDone(bool ok) {
  if (!ok) {
    Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the caller is gone"));
  } else if (sent_ < bytes_.size()) {
    WriteNext();
  } else {
    Finish(grpc::Status::OK);
  }
}

}  // namespace bilevel::server
