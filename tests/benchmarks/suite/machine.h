// What a run was measured on.

#ifndef BILEVEL_TESTS_BENCHMARKS_SUITE_MACHINE_H_
#define BILEVEL_TESTS_BENCHMARKS_SUITE_MACHINE_H_

#include <string>

#include "core/base/parallel.h"

namespace bilevel::benchmarks {

// Bytes a second that a[i] = b[i] + 3 c[i] reads and writes, of arrays far beyond the caches; the best of `rounds`.
class Triad {
 public:
  explicit Triad(ParallelFor parallel_for);
  ~Triad();
  Triad(const Triad&) = delete;
  Triad& operator=(const Triad&) = delete;

  double Measure(int rounds);

 private:
  struct Arrays;
  ParallelFor parallel_for_;
  Arrays* arrays_;
};

// "date; processor; cores; memory; load", in a line of Markdown.
std::string DescribeMachine();

// So many threads that stay until the end of the process.
ParallelFor StandingThreads(int count);

// Of the machine, free for programs now.
double AvailableBytes();

}  // namespace bilevel::benchmarks

#endif  // BILEVEL_TESTS_BENCHMARKS_SUITE_MACHINE_H_
