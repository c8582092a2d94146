// Measurements in processes of their own, so that each has its own peak of memory and cannot take the others with it.

#ifndef BILEVEL_TESTS_BENCHMARKS_SUITE_ISOLATED_H_
#define BILEVEL_TESTS_BENCHMARKS_SUITE_ISOLATED_H_

#include <functional>
#include <string>
#include <vector>

#include "tests/benchmarks/suite/row.h"

namespace bilevel::benchmarks {

// Runs `measure` in a fork of this process, which must have one thread and little memory. Rows that do not say their
// peak get that of the process; one that dies gives `blank` with the reason in `missed`.
std::vector<Row> RunIsolated(const Row& blank, const std::function<std::vector<Row>()>& measure);

// The same for a program, which prints its rows (Encode). Other lines are passed on to stderr.
std::vector<Row> RunProgram(const Row& blank, const std::vector<std::string>& command);

// Of this process so far.
double PeakMegabytes();

}  // namespace bilevel::benchmarks

#endif  // BILEVEL_TESTS_BENCHMARKS_SUITE_ISOLATED_H_
