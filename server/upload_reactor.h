// One UploadEnvironment stream.
//
// While one piece is hashed and put where it belongs, the next is read, and no more: pieces are taken in gRPC's
// threads, one after the other; UploadRegistry says how long each takes.

#ifndef BILEVEL_SERVER_UPLOAD_REACTOR_H_
#define BILEVEL_SERVER_UPLOAD_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <mutex>
#include <optional>

#include "bilevel/v1/environment_service.pb.h"
#include "server/environments/upload_registry.h"

namespace bilevel::server {

class UploadReactor final : public grpc::ServerReadReactor<v1::UploadEnvironmentRequest> {
 public:
  // registry and response must outlive the call.
  UploadReactor(UploadRegistry& registry, v1::UploadEnvironmentResponse* response)
      : registry_(registry), response_(response) {
    StartRead(&read_);
  }

 private:
  void OnReadDone(bool ok) override;
  void OnDone() override { delete this; }

  // Takes what was read, until there is nothing more to take or the call has ended.
  void TakeAll();
  // Whether the call goes on.
  absl::StatusOr<bool> Take(const v1::UploadEnvironmentRequest& request);
  absl::Status End() const;

  UploadRegistry& registry_;
  v1::UploadEnvironmentResponse* const response_;
  std::string id_;
  std::optional<UploadRegistry::Lease> lease_;

  std::mutex mutex_;
  bool taking_ = false;  // a thread is in TakeAll
  bool waits_ = false;   // a further message, or the end of them, was read meanwhile
  bool ok_ = true;       // it is a message

  v1::UploadEnvironmentRequest read_, taken_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_UPLOAD_REACTOR_H_
