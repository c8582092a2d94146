// What an upload has to arrive as.

#ifndef BILEVEL_TESTS_CLIENT_CANONICAL_BYTES_H_
#define BILEVEL_TESTS_CLIENT_CANONICAL_BYTES_H_

#include <openssl/evp.h>

#include <string>

#include "client/environment_bytes.h"

namespace bilevel::client {

inline std::string Whole(const EnvironmentBytes& bytes) {
  std::string whole(bytes.size(), 'x');
  bytes.Read(0, whole);
  return whole;
}

inline std::string Sha256(const std::string& bytes) {
  std::string digest(32, '\0');
  EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr, EVP_sha256(),
             nullptr);
  return digest;
}

}  // namespace bilevel::client

#endif  // BILEVEL_TESTS_CLIENT_CANONICAL_BYTES_H_
