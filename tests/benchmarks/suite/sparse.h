// The families of tests/support/families.h: swept, solved, differentiated through, and followed as their reward moves.

#ifndef BILEVEL_TESTS_BENCHMARKS_SUITE_SPARSE_H_
#define BILEVEL_TESTS_BENCHMARKS_SUITE_SPARSE_H_

#include <string>
#include <string_view>
#include <vector>

#include "tests/benchmarks/suite/row.h"

namespace bilevel::benchmarks {

// Residual |V - T V|_inf that counts as solved; adjoint systems are solved to as much of their right-hand side.
inline constexpr double kTolerance = 1e-8;

struct Cell {
  std::string_view family;  // of testing::kFamilies
  int states = 0;
  double discount = 0.99;
  double temperature = 0.1;
  int threads = 1;
  bool single_precision = false;  // of stored probabilities
  double time_limit = 120;        // seconds, for each solve
};

// RAND-4, GRID-SLIP, QUEUE-2D, BD-1D.
std::string NameOf(std::string_view family);

// The row of a cell in a table, still without figures.
Row RowOf(const Cell& cell, std::string table);

// Each builds its own environment; run each in a process of its own. All give one row, but MeasureInstructions and
// MeasureGradient.

// One sweep V <- T V beside the bytes of its CSR and vectors at the bandwidth of a triad, taking turns.
std::vector<Row> MeasureSweep(const Cell& cell);

// The same sweep in one thread in each instruction set that this machine has, beside the portable one's, taking turns.
std::vector<Row> MeasureInstructions(const Cell& cell);

// The follower's problem from zero to kTolerance; the bound is that of |V - V*|_inf. Beside the prototype's time in
// seconds on a machine of prototype_bandwidth, where not NaN.
inline constexpr double kPrototypeBandwidth = 26.5e9;
std::vector<Row> MeasureSolve(const Cell& cell, double prototype);

// The adjoint of f = 0.5 |pi|^2 at the solution, from zero, to 1e-8 of its right-hand side in the 1-norm; the bound is
// that of |lambda - exact|_1 / |lambda|_1 at the policy found.
std::vector<Row> MeasureAdjoint(const Cell& cell);

// The certified hyper-gradient of f = 0.5/S |pi|^2, where the leader pays x times the rewards: at x = 1 from zero, at
// x = 1.001 from there. Rows: warm beside sweeps, peak memory beside the environment's CSR. The bound is that of the
// error of the gradient, relative.
std::vector<Row> MeasureGradient(const Cell& cell, double most_sweeps, double most_memory);

// The same from zero alone, beside so many bytes of memory.
std::vector<Row> MeasureColdGradient(const Cell& cell, double memory);

// 20 steps of 0.1 % each, warm: time of a step. The bound is the worst of the 20. V is as near as kTolerance brings it
// at gamma = 0.99: beyond, the residual is to be smaller.
std::vector<Row> MeasureOuterSteps(const Cell& cell);

// Writes offsets (u64), columns (u32), probabilities and rewards (f64) as files of these names to a directory that
// exists, for programs in other languages.
void WriteCell(const Cell& cell, const std::string& directory);

}  // namespace bilevel::benchmarks

#endif  // BILEVEL_TESTS_BENCHMARKS_SUITE_SPARSE_H_
