// The inner loops over ActionRows, for part of the states, in the fastest instructions that the machine has.
//
// Each is compiled for several instruction sets, of which the machine's fastest is used; all give the same bits. No
// Eigen here: its objects must not meet two sets of flags.

#ifndef BILEVEL_CORE_MDP_ROW_KERNELS_H_
#define BILEVEL_CORE_MDP_ROW_KERNELS_H_

#include <algorithm>
#include <cstdint>

#include "core/base/instruction_set.h"
#include "core/mdp/action_rows.h"

namespace bilevel {

// States [kLanes * first, kLanes * last), cut off at S.
struct SliceRange {
  int64_t first = 0;
  int64_t last = 0;
};

// One soft Bellman backup (core/mdp/soft_bellman.h).
struct SoftSweep {
  const ActionRows* rows = nullptr;    // of P
  const uint8_t* available = nullptr;  // [S*A] of 0 and 1; null: all
  const double* reward = nullptr;      // [S*A]
  const double* value = nullptr;       // V [S]
  double discount = 0;
  double temperature = 1;
  double* backup = nullptr;  // T V [S]
  // [S*A], all or none: Q, pi, log pi; 0 where unavailable.
  double* q = nullptr;
  double* pi = nullptr;
  double* log_pi = nullptr;
};

// Range of T V - V; NaN where one of them is not finite.
struct StepRange {
  double smallest = 0;
  double largest = 0;

  // |T V - V|_inf.
  double Size() const { return std::max(-smallest, largest); }
  void Include(const StepRange& other);
};

StepRange RunSoftSweep(const SoftSweep& sweep, SliceRange range, InstructionSet set = Fastest());

// result[row] = sum over the row of entries times v[column].
void MultiplyRows(const ActionRows& rows, const double* v, SliceRange range, double* result,
                  InstructionSet set = Fastest());

// The same with values by place, in place of those that rows holds.
void MultiplyRows(const ActionRows& rows, const double* values, const double* v, SliceRange range, double* result,
                  InstructionSet set = Fastest());

// The same of and to single precision; sums are in double precision.
void MultiplyRows(const ActionRows& rows, const double* values, const float* v, SliceRange range, float* result,
                  InstructionSet set = Fastest());

// result[s] = sum over actions of pi [S*A] times the row sums that MultiplyRows has: P^pi v.
void MultiplyPolicy(const ActionRows& rows, const double* pi, const double* v, SliceRange range, double* result,
                    InstructionSet set = Fastest());

void MultiplyPolicy(const ActionRows& rows, const double* pi, const float* v, SliceRange range, float* result,
                    InstructionSet set = Fastest());

// result [S, S], column by column: row s is the sum over actions of pi [S*A] times the rows of s. Layout kFull alone.
void MixFullRows(const ActionRows& rows, const double* pi, double* result, InstructionSet set = Fastest());

// result[column] = sum over rows of y [S*A] times their entries there: P^T y. Layout kFull alone. Memory: 64 S bytes.
void PushFullRows(const ActionRows& rows, const double* y, double* result, InstructionSet set = Fastest());

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_ROW_KERNELS_H_
