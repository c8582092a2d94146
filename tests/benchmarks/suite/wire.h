// Calls over loopback to a server process, beside bare gRPC with as many bytes (echo.h).

#ifndef BILEVEL_TESTS_BENCHMARKS_SUITE_WIRE_H_
#define BILEVEL_TESTS_BENCHMARKS_SUITE_WIRE_H_

#include <string>
#include <vector>

#include "tests/benchmarks/suite/row.h"

namespace bilevel::benchmarks {

struct WireOptions {
  std::string server;      // path of bilevel_server
  double seconds = 2;      // that each figure is measured for
  int states = 1'000'000;  // of what keeps the workers busy and of what is uploaded; 0: nothing, and few
};

// Each in a process of its own, which has not used gRPC yet. Rows have callers as `threads`. Their time is the duration
// over the number of calls, all callers together, unless said otherwise.

// Empty calls beside those of a bare server, 1, 8 and 32 callers at a time.
std::vector<Row> MeasureEmptyCalls(const WireOptions& options);

// Certified hyper-gradients of Four-Rooms, warm, by 8 callers, beside 1 / (t_empty + t_core / 2) a second; then, while
// both workers solve, their 99th percentile beside 5 ms + t_core.
std::vector<Row> MeasureEvaluations(const WireOptions& options);

// An environment's upload, both digests included, beside a bare stream of as many messages of 1 MiB, taking turns;
// medians.
std::vector<Row> MeasureUpload(const WireOptions& options);

}  // namespace bilevel::benchmarks

#endif  // BILEVEL_TESTS_BENCHMARKS_SUITE_WIRE_H_
