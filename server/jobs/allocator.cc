#include "server/jobs/allocator.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

namespace bilevel::server {

void ConfigureAllocator(char** argv) {
  constexpr const char* kTunables = "GLIBC_TUNABLES";
  if (getenv(kTunables) == nullptr) {
    setenv(kTunables, "glibc.malloc.hugetlb=1", 1);
    execv("/proc/self/exe", argv);  // returns where it cannot, and nothing is lost
  }
  mallopt(M_TRIM_THRESHOLD, 128 << 20);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
}

}  // namespace bilevel::server
