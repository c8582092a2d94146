#include "core/mdp/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/lanes.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes lanes apart and sees parts that nobody set.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace bilevel {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();


// Row sums of one action over the states of a slice.
BILEVEL_LANES_INLINE void SumSlice(const ActionRows& rows, const double* values, const double* v, int64_t slice,
                                   int64_t action, Lanes& sum) {
  const int64_t block = slice * rows.num_actions() + action;
  const uint32_t* columns = rows.columns();
  sum = Lanes{};
  for (uint64_t line = rows.lines()[block], end = rows.lines()[block + 1]; line < end; ++line) {
    const uint32_t* c = columns + kLanes * line;
    const Lanes next = {v[c[0]], v[c[1]], v[c[2]], v[c[3]], v[c[4]], v[c[5]], v[c[6]], v[c[7]]};
    sum += *reinterpret_cast<const Lanes*>(values + kLanes * line) * next;
  }
}

BILEVEL_LANES_INLINE double SumRow(const ActionRows& rows, const double* values, const double* v, int64_t row) {
  double sum = 0;
  for (uint64_t k = rows.offsets()[row], end = rows.offsets()[row + 1]; k < end; ++k) {
    sum += values[k] * v[rows.columns()[k]];
  }
  return sum;
}

// [S*A] to the states of a slice; past the last state its number is repeated.
BILEVEL_LANES_INLINE void Load(const double* from, int64_t stride, int count, Lanes& lanes) {
  if (count == kLanes) {
    lanes = Lanes{from[0],          from[stride],     from[2 * stride], from[3 * stride],
                  from[4 * stride], from[5 * stride], from[6 * stride], from[7 * stride]};
  } else {
    lanes = Lanes{} + from[(count - 1) * stride];
    for (int lane = 0; lane < count; ++lane) lanes[lane] = from[lane * stride];
  }
}

BILEVEL_LANES_INLINE void Store(const Lanes& lanes, int64_t stride, int count, double* to) {
  if (count == kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) to[lane * stride] = lanes[lane];
  } else {
    for (int lane = 0; lane < count; ++lane) to[lane * stride] = lanes[lane];
  }
}

template <bool kSliced>
BILEVEL_LANES_INLINE void SumStates(const ActionRows& rows, const double* values, const double* v, int64_t slice,
                                    int64_t action, int count, Lanes& sum) {
  if constexpr (kSliced) {
    SumSlice(rows, values, v, slice, action, sum);
  } else {
    const int64_t A = rows.num_actions();
    sum = Lanes{};
    for (int lane = 0; lane < kLanes; ++lane) {
      sum[lane] = SumRow(rows, values, v, (slice * kLanes + std::min(lane, count - 1)) * A + action);
    }
  }
}

// scratch: [2 * A] lanes.
template <bool kSliced, bool kPolicy>
BILEVEL_LANES_INLINE StepRange SweepSlices(const SoftSweep& sweep, SliceRange range, Lanes* scratch) {
  const ActionRows& rows = *sweep.rows;
  const int64_t S = rows.num_states(), A = rows.num_actions();
  const double inverse_temperature = 1 / sweep.temperature;
  Lanes* const q = scratch;
  Lanes* const weight = scratch + A;
  Lanes smallest = Lanes{} + kInfinity, largest = Lanes{} - kInfinity, poison = {};
  for (int64_t slice = range.first; slice < range.last; ++slice) {
    const int64_t first = slice * kLanes;
    const int count = static_cast<int>(std::min<int64_t>(kLanes, S - first));
    Lanes top = Lanes{} - kInfinity;
    for (int64_t a = 0; a < A; ++a) {
      Lanes sum = {}, reward = {};
      SumStates<kSliced>(rows, rows.values(), sweep.value, slice, a, count, sum);
      Load(sweep.reward + first * A + a, A, count, reward);
      q[a] = reward + sweep.discount * sum;
      if (sweep.available != nullptr) {
        for (int lane = 0; lane < count; ++lane) {
          if (sweep.available[(first + lane) * A + a] == 0) q[a][lane] = -kInfinity;
        }
      }
      top = q[a] > top ? q[a] : top;
    }
    Lanes total = {};
    for (int64_t a = 0; a < A; ++a) {
      Lanes exponent = (q[a] - top) * inverse_temperature;
      Exp(exponent);
      weight[a] = exponent;
      total += exponent;
    }
    Lanes log_total = total;
    Log(log_total);
    const Lanes backup = top + sweep.temperature * log_total;
    Lanes before = {};
    Load(sweep.value + first, 1, count, before);
    Lanes step = backup - before;
    for (int lane = count; lane < kLanes; ++lane) step[lane] = step[0];
    smallest = step < smallest ? step : smallest;
    largest = step > largest ? step : largest;
    poison += step * 0.0;
    Store(backup, 1, count, sweep.backup + first);
    if constexpr (kPolicy) {
      for (int64_t a = 0; a < A; ++a) {
        const auto gone = q[a] == -kInfinity;
        const Lanes log_pi = (q[a] - top) * inverse_temperature - log_total;
        Store(gone ? Lanes{} : q[a], A, count, sweep.q + first * A + a);
        Store(weight[a] / total, A, count, sweep.pi + first * A + a);
        Store(gone ? Lanes{} : log_pi, A, count, sweep.log_pi + first * A + a);
      }
    }
  }
  StepRange result{kInfinity, -kInfinity};
  for (int lane = 0; lane < kLanes; ++lane) {
    result.Include({smallest[lane] + poison[lane], largest[lane] + poison[lane]});
  }
  return result;
}

BILEVEL_LANES_INLINE StepRange SweepAny(const SoftSweep& sweep, SliceRange range, Lanes* scratch) {
  const bool sliced = sweep.rows->layout() == ActionRows::Layout::kSlices;
  if (sweep.pi != nullptr) {
    return sliced ? SweepSlices<true, true>(sweep, range, scratch) : SweepSlices<false, true>(sweep, range, scratch);
  }
  return sliced ? SweepSlices<true, false>(sweep, range, scratch) : SweepSlices<false, false>(sweep, range, scratch);
}

BILEVEL_LANES_INLINE void MultiplyAny(const ActionRows& rows, const double* values, const double* v, SliceRange range,
                                      double* result) {
  const int64_t S = rows.num_states(), A = rows.num_actions();
  if (rows.layout() == ActionRows::Layout::kRows) {
    for (int64_t row = range.first * kLanes * A, end = std::min(range.last * kLanes, S) * A; row < end; ++row) {
      result[row] = SumRow(rows, values, v, row);
    }
    return;
  }
  for (int64_t slice = range.first; slice < range.last; ++slice) {
    const int64_t first = slice * kLanes;
    const int count = static_cast<int>(std::min<int64_t>(kLanes, S - first));
    for (int64_t a = 0; a < A; ++a) {
      Lanes sum = {};
      SumSlice(rows, values, v, slice, a, sum);
      Store(sum, A, count, result + first * A + a);
    }
  }
}

BILEVEL_LANES_INLINE void MultiplyPolicyAny(const ActionRows& rows, const double* pi, const double* v, SliceRange range,
                                            double* result) {
  const int64_t S = rows.num_states(), A = rows.num_actions();
  const bool sliced = rows.layout() == ActionRows::Layout::kSlices;
  for (int64_t slice = range.first; slice < range.last; ++slice) {
    const int64_t first = slice * kLanes;
    const int count = static_cast<int>(std::min<int64_t>(kLanes, S - first));
    Lanes total = {};
    for (int64_t a = 0; a < A; ++a) {
      Lanes sum = {}, weight = {};
      if (sliced) {
        SumSlice(rows, rows.values(), v, slice, a, sum);
      } else {
        SumStates<false>(rows, rows.values(), v, slice, a, count, sum);
      }
      Load(pi + first * A + a, A, count, weight);
      total += weight * sum;
    }
    Store(total, 1, count, result + first);
  }
}

struct Kernels {
  StepRange (*sweep)(const SoftSweep&, SliceRange, Lanes*);
  void (*multiply)(const ActionRows&, const double*, const double*, SliceRange, double*);
  void (*multiply_policy)(const ActionRows&, const double*, const double*, SliceRange, double*);
};

// The kernels for one instruction set.
#define BILEVEL_KERNELS_FOR(name, attribute)                                                                          \
  attribute StepRange Sweep##name(const SoftSweep& sweep, SliceRange range, Lanes* scratch) {                         \
    return SweepAny(sweep, range, scratch);                                                                           \
  }                                                                                                                   \
  attribute void Multiply##name(const ActionRows& rows, const double* values, const double* v, SliceRange range,      \
                                double* result) {                                                                     \
    MultiplyAny(rows, values, v, range, result);                                                                      \
  }                                                                                                                   \
  attribute void MultiplyPolicy##name(const ActionRows& rows, const double* pi, const double* v, SliceRange range,    \
                                      double* result) {                                                               \
    MultiplyPolicyAny(rows, pi, v, range, result);                                                                    \
  }

BILEVEL_KERNELS_FOR(Portable, )
#if defined(__x86_64__)
BILEVEL_KERNELS_FOR(Avx2, __attribute__((target("avx2"))))
BILEVEL_KERNELS_FOR(Avx512, __attribute__((target("avx512f,avx512dq,avx512vl,prefer-vector-width=512"))))
#endif

const Kernels& KernelsOf(InstructionSet set) {
  static constexpr Kernels kPortable = {SweepPortable, MultiplyPortable, MultiplyPolicyPortable};
#if defined(__x86_64__)
  static constexpr Kernels kAvx2 = {SweepAvx2, MultiplyAvx2, MultiplyPolicyAvx2},
                           kAvx512 = {SweepAvx512, MultiplyAvx512, MultiplyPolicyAvx512};
  if (set == InstructionSet::kAvx512) return kAvx512;
  if (set == InstructionSet::kAvx2) return kAvx2;
#endif
  return kPortable;
}

}  // namespace

bool Supports(InstructionSet set) {
  switch (set) {
    case InstructionSet::kPortable:
      return true;
#if defined(__x86_64__)
    case InstructionSet::kAvx2:
      return __builtin_cpu_supports("avx2") != 0;
    case InstructionSet::kAvx512:
      return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
             __builtin_cpu_supports("avx512vl") != 0;
#endif
    default:
      return false;
  }
}

InstructionSet Widest() {
  static const InstructionSet widest = Supports(InstructionSet::kAvx512) ? InstructionSet::kAvx512
                                       : Supports(InstructionSet::kAvx2) ? InstructionSet::kAvx2
                                                                         : InstructionSet::kPortable;
  return widest;
}

void StepRange::Include(const StepRange& other) {
  // Also where the comparison fails because this or the other is NaN.
  if (!(smallest <= other.smallest)) smallest = std::isnan(smallest) ? smallest : other.smallest;
  if (!(largest >= other.largest)) largest = std::isnan(largest) ? largest : other.largest;
}

StepRange RunSoftSweep(const SoftSweep& sweep, SliceRange range, InstructionSet set) {
  constexpr int64_t kFewActions = 32;
  const int64_t A = sweep.rows->num_actions();
  if (A <= kFewActions) {
    Lanes scratch[2 * kFewActions];
    return KernelsOf(set).sweep(sweep, range, scratch);
  }
  AlignedArray<double> scratch(static_cast<size_t>(2 * kLanes * A));
  return KernelsOf(set).sweep(sweep, range, reinterpret_cast<Lanes*>(scratch.data()));
}

void MultiplyRows(const ActionRows& rows, const double* values, const double* v, SliceRange range, double* result,
                  InstructionSet set) {
  KernelsOf(set).multiply(rows, values, v, range, result);
}

void MultiplyPolicy(const ActionRows& rows, const double* pi, const double* v, SliceRange range, double* result,
                    InstructionSet set) {
  KernelsOf(set).multiply_policy(rows, pi, v, range, result);
}

}  // namespace bilevel
