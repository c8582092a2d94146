#include "server/sessions/policy_digest.h"

#include <bit>
#include <cstdint>
#include <string_view>

#include "server/environments/sha256.h"

namespace bilevel::server {

static_assert(std::endian::native == std::endian::little);

std::string DigestOf(const PolicySnapshot& policy) {
  Sha256 hash;
  const auto add_bytes = [&](const void* bytes, size_t size) { hash.Add({static_cast<const char*>(bytes), size}); };
  for (const uint64_t number : {policy.version, policy.merged, uint64_t{policy.parameters_version}}) {
    add_bytes(&number, sizeof number);
  }
  const auto add = [&](const Vector& reals) {
    add_bytes(reals.data(), static_cast<size_t>(reals.size()) * sizeof(double));
  };
  add(policy.parameters);
  for (const ContextPolicy& context : policy.contexts) add(context.pi);
  return hash.Digest();
}

}  // namespace bilevel::server
