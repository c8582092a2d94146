// How environments are uploaded (BilevelClient::UploadEnvironment).

#ifndef BILEVEL_CLIENT_ENVIRONMENT_UPLOAD_H_
#define BILEVEL_CLIENT_ENVIRONMENT_UPLOAD_H_

#include <cstdint>
#include <functional>
#include <string>

namespace bilevel::client {

struct UploadOptions {
  // Names the upload, [a-z0-9-], 1 to 64 of them: who uploads the same bytes under the same id, a later process too,
  // goes on where the last one ended. Default: random, for this call alone.
  std::string upload_id = {};
  // Called in the caller's thread after each piece: bytes that were sent or need not be, of how many. May be empty.
  std::function<void(std::uint64_t sent, std::uint64_t total)> progress = {};
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_ENVIRONMENT_UPLOAD_H_
