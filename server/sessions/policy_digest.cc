#include "server/sessions/policy_digest.h"

#include <openssl/evp.h>

#include <bit>
#include <cstdint>
#include <memory>

namespace bilevel::server {

static_assert(std::endian::native == std::endian::little);

std::string DigestOf(const PolicySnapshot& policy) {
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> hash(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr);
  for (const uint64_t number : {policy.version, policy.merged, uint64_t{policy.parameters_version}}) {
    EVP_DigestUpdate(hash.get(), &number, sizeof number);
  }
  const auto add = [&](const Vector& reals) {
    EVP_DigestUpdate(hash.get(), reals.data(), static_cast<size_t>(reals.size()) * sizeof(double));
  };
  add(policy.parameters);
  for (const ContextPolicy& context : policy.contexts) add(context.pi);
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  unsigned int size = 0;
  EVP_DigestFinal_ex(hash.get(), reinterpret_cast<unsigned char*>(digest.data()), &size);
  digest.resize(size);
  return digest;
}

}  // namespace bilevel::server
