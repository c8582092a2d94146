// One DownloadPolicy call: a policy of any size, chunk by chunk. What is serialised is admitted to the memory budget
// until the last byte is on its way.

#ifndef BILEVEL_SERVER_POLICY_DOWNLOAD_H_
#define BILEVEL_SERVER_POLICY_DOWNLOAD_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <utility>

#include "bilevel/v1/session_service.pb.h"
#include "server/dispatcher.h"

namespace bilevel::server {

class PolicyDownload final : public grpc::ServerWriteReactor<v1::PolicyChunk> {
 public:
  explicit PolicyDownload(std::shared_ptr<CallState> call) : call_(std::move(call)) {}

  const std::shared_ptr<CallState>& call() const { return call_; }

  // Once, by the worker: what to send, or why not.
  void Start(const absl::Status& status);
  std::string* bytes() { return &bytes_; }
  void Hold(MemoryBudget::Reservation reservation) { reservation_ = std::move(reservation); }

 private:
  void OnWriteDone(bool ok) override;
  void OnCancel() override { call_->Cancel(); }
  void OnDone() override { delete this; }

  void WriteNext();

  const std::shared_ptr<CallState> call_;
  MemoryBudget::Reservation reservation_;
  std::string bytes_;
  size_t sent_ = 0;
  v1::PolicyChunk chunk_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_POLICY_DOWNLOAD_H_
