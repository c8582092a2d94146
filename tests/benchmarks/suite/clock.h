// Seconds that something takes.

#ifndef BILEVEL_TESTS_BENCHMARKS_SUITE_CLOCK_H_
#define BILEVEL_TESTS_BENCHMARKS_SUITE_CLOCK_H_

#include <algorithm>
#include <chrono>
#include <vector>

namespace bilevel::benchmarks {

inline double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename Work>
double Seconds(const Work& work) {
  const double start = Now();
  work();
  return Now() - start;
}

// values: not empty.
inline double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace bilevel::benchmarks

#endif  // BILEVEL_TESTS_BENCHMARKS_SUITE_CLOCK_H_
