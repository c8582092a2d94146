// A ParallelFor of threads of its own.

#ifndef BILEVEL_TESTS_SUPPORT_THREADS_H_
#define BILEVEL_TESTS_SUPPORT_THREADS_H_

#include <atomic>
#include <thread>
#include <vector>

#include "core/base/parallel.h"

namespace bilevel::testing {

inline ParallelFor Threads(int number) {
  return [number](int count, const std::function<void(int)>& task) {
    std::atomic<int> next = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < number; ++t) {
      threads.emplace_back([&] {
        for (int i = next++; i < count; i = next++) task(i);
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
}

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_THREADS_H_
