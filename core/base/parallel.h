// Independent tasks, in as many threads as the caller of core has to spare.

#ifndef BILEVEL_CORE_BASE_PARALLEL_H_
#define BILEVEL_CORE_BASE_PARALLEL_H_

#include <functional>

namespace bilevel {

// Calls task(0), ..., task(count - 1), each once, in any order and in any threads, and returns when all have returned.
// Tasks share nothing that they change without a lock.
using ParallelFor = std::function<void(int count, const std::function<void(int)>& task)>;

// In the calling thread, in order.
inline void RunInOrder(int count, const std::function<void(int)>& task) {
  for (int i = 0; i < count; ++i) task(i);
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_PARALLEL_H_
