// One upload over as many streams as it takes.

#ifndef BILEVEL_CLIENT_UPLOAD_LINK_H_
#define BILEVEL_CLIENT_UPLOAD_LINK_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "bilevel/v1/environment_service.grpc.pb.h"
#include "client/environment_bytes.h"
#include "client/environment_upload.h"

struct evp_md_ctx_st;

namespace bilevel::client {

class UploadLink {
 public:
  using Clock = std::chrono::system_clock;

  // Everything must outlive it.
  UploadLink(v1::EnvironmentService::StubInterface& stub, const EnvironmentBytes& bytes, const UploadOptions& options,
             Clock::time_point deadline);

  // Sends, and sends again from where the server is, until it is done, the deadline has passed or the server says what
  // no further attempt can mend.
  absl::StatusOr<v1::UploadEnvironmentResponse> Run();

 private:
  // From where to send. Where nothing is known of the upload although everything was sent, perhaps its answer was lost:
  // then the environment is there, and in response_.
  absl::StatusOr<std::uint64_t> Locate();
  absl::Status Send(std::uint64_t offset);
  // Adds to the digest what comes before `offset`, and was not sent from here.
  void HashUpTo(std::uint64_t offset);
  void Hash(std::uint64_t offset, const std::string& piece);
  void FinishDigest();

  v1::EnvironmentService::StubInterface& stub_;
  const EnvironmentBytes& bytes_;
  const UploadOptions& options_;
  const Clock::time_point deadline_;
  const std::string id_;

  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> hash_;
  std::uint64_t hashed_ = 0;
  std::string digest_;          // once all is hashed
  std::uint64_t furthest_ = 0;  // that was sent
  bool done_ = false;           // response_ is the answer
  v1::UploadEnvironmentResponse response_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_UPLOAD_LINK_H_
