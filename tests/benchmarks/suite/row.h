// A row of the suite's tables: what was measured, and beside what.

#ifndef BILEVEL_TESTS_BENCHMARKS_SUITE_ROW_H_
#define BILEVEL_TESTS_BENCHMARKS_SUITE_ROW_H_

#include <limits>
#include <string>
#include <vector>

namespace bilevel::benchmarks {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// Numbers that are unknown or do not apply are NaN.
struct Row {
  std::string table;  // of the report (suite.cc)
  std::string name;   // what was measured: RAND-4, an empty call
  double states = kUnknown, discount = kUnknown, temperature = kUnknown, threads = 1;
  double seconds = kUnknown;
  double sweeps = kUnknown, products = kUnknown;
  double peak_megabytes = kUnknown;  // of the process that measured it
  double bound = kUnknown;           // certified, of the error; what of, the table says
  double ratio = kUnknown;           // to `against`
  std::string against;
  double target = kUnknown;  // of the ratio: at most, or at least
  bool at_least = false;
  std::string missed;  // how the tolerance was missed; empty: it was met
  std::string note;

  bool HasTarget() const { return target == target; }
  bool MeetsTarget() const { return !HasTarget() || (at_least ? ratio >= target : ratio <= target); }
  bool Passes() const { return missed.empty() && MeetsTarget(); }
};

// One line, and back; lines that are no row give false. Programs beside this one print them, too (peers.py).
std::string Encode(const Row& row);
bool Decode(const std::string& line, Row& row);

// As a row of a Markdown table, and what stands above it.
std::string MarkdownHeader();
std::string ToMarkdown(const Row& row);

}  // namespace bilevel::benchmarks

#endif  // BILEVEL_TESTS_BENCHMARKS_SUITE_ROW_H_
