// Independent tasks, in as many threads as the caller of core has to spare.

#ifndef BILEVEL_CORE_BASE_PARALLEL_H_
#define BILEVEL_CORE_BASE_PARALLEL_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

namespace bilevel {

// Calls task(0), ..., task(count - 1), each once, in any order and in any threads, and returns when all have returned.
// Tasks share nothing that they change without a lock.
using ParallelFor = std::function<void(int count, const std::function<void(int)>& task)>;

// In the calling thread, in order.
inline void RunInOrder(int count, const std::function<void(int)>& task) {
  for (int i = 0; i < count; ++i) task(i);
}

// Calls work(begin, end) for consecutive parts of [0, count) of `grain` each, the last one shorter. How a range is cut
// depends on count and grain alone, so what each part computes does not depend on the number of threads.
template <typename Work>
void ForParts(const ParallelFor& parallel_for, int64_t count, int64_t grain, const Work& work) {
  if (count <= grain) {
    if (count > 0) work(int64_t{0}, count);
    return;
  }
  parallel_for(static_cast<int>((count + grain - 1) / grain), [&](int part) {
    const int64_t begin = part * grain;
    work(begin, std::min(begin + grain, count));
  });
}

// The sum of part(begin, end) over the same parts, in their order: the same bits at any number of threads.
template <typename Part>
double SumParts(const ParallelFor& parallel_for, int64_t count, int64_t grain, const Part& part) {
  if (count <= grain) return count > 0 ? part(int64_t{0}, count) : 0.0;
  std::vector<double> sums(static_cast<size_t>((count + grain - 1) / grain));
  ForParts(parallel_for, count, grain,
           [&](int64_t begin, int64_t end) { sums[static_cast<size_t>(begin / grain)] = part(begin, end); });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

// The largest of part(begin, end), which is >= 0, over the same parts; NaN if one is.
template <typename Part>
double MostOfParts(const ParallelFor& parallel_for, int64_t count, int64_t grain, const Part& part) {
  if (count <= grain) return count > 0 ? part(int64_t{0}, count) : 0.0;
  std::vector<double> most(static_cast<size_t>((count + grain - 1) / grain));
  ForParts(parallel_for, count, grain,
           [&](int64_t begin, int64_t end) { most[static_cast<size_t>(begin / grain)] = part(begin, end); });
  return std::accumulate(most.begin(), most.end(), 0.0,
                         [](double a, double b) { return b > a || std::isnan(b) ? b : a; });
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_PARALLEL_H_
