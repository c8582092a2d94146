// SHA-256 of bytes as they come.

#ifndef BILEVEL_SERVER_ENVIRONMENTS_SHA256_H_
#define BILEVEL_SERVER_ENVIRONMENTS_SHA256_H_

#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace bilevel::server {

class Sha256 {
 public:
  static constexpr size_t kBytes = 32;

  Sha256();

  void Add(std::string_view bytes);
  // Of all that was added, kBytes of them. Once.
  std::string Digest();

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_ENVIRONMENTS_SHA256_H_
