#include "core/mdp/row_kernels.h"

#include <algorithm>
#include <cmath>

#include "core/base/fetch.h"
#include "core/base/floating_point.h"
#include "core/base/lanes.h"

#ifdef BILEVEL_X86_LOOPS
#include <immintrin.h>
#endif

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes lanes apart and sees parts that nobody set.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace bilevel {
namespace {

template <typename Real>
BILEVEL_LANES_INLINE void Gather(const Real* v, const uint32_t* c, Register<2>::Doubles& lanes) {
  using D = double;
  lanes = Register<2>::Doubles{D{v[c[0]]}, D{v[c[1]]}};
}
template <typename Real>
BILEVEL_LANES_INLINE void Gather(const Real* v, const uint32_t* c, Register<4>::Doubles& lanes) {
  using D = double;
  lanes = Register<4>::Doubles{D{v[c[0]]}, D{v[c[1]]}, D{v[c[2]]}, D{v[c[3]]}};
}
template <typename Real>
BILEVEL_LANES_INLINE void Gather(const Real* v, const uint32_t* c, Register<8>::Doubles& lanes) {
  using D = double;
  lanes = Register<8>::Doubles{D{v[c[0]]}, D{v[c[1]]}, D{v[c[2]]}, D{v[c[3]]},
                               D{v[c[4]]}, D{v[c[5]]}, D{v[c[6]]}, D{v[c[7]]}};
}
template <typename Real, typename Half>
BILEVEL_LANES_INLINE void Gather(const Real* v, const uint32_t* columns, LanePair<Half>& lanes) {
  Gather(v, columns, lanes.low);
  Gather(v, columns + sizeof(Half) / sizeof(double), lanes.high);
}

struct Kernels {
  StepRange (*sweep)(const SoftSweep&, SliceRange, double*);
  void (*multiply)(const ActionRows&, const double*, const double*, SliceRange, double*);
  void (*multiply_narrow)(const ActionRows&, const float*, const double*, SliceRange, double*);
  void (*multiply_floats)(const ActionRows&, const double*, const float*, SliceRange, float*);
  void (*multiply_policy)(const ActionRows&, const double*, const double*, SliceRange, double*);
  void (*multiply_policy_floats)(const ActionRows&, const double*, const float*, SliceRange, float*);
  void (*mix_full)(const ActionRows&, const double*, double*);
  void (*push_full)(const ActionRows&, const double*, double*, double*);
};

namespace portable {
using Lanes = LanesInTwos;
#include "core/mdp/row_loops.inc"
constexpr Kernels kKernels = {SweepAny,          MultiplyAny,       MultiplyAny, MultiplyAny,
                              MultiplyPolicyAny, MultiplyPolicyAny, MixFullAny,  PushFullAny};
}  // namespace portable

#ifdef BILEVEL_X86_LOOPS
#pragma GCC push_options
#pragma GCC target("avx2")
namespace avx2 {
using Lanes = LanesInFours;
#include "core/mdp/row_loops.inc"
constexpr Kernels kKernels = {SweepAny,          MultiplyAny,       MultiplyAny, MultiplyAny,
                              MultiplyPolicyAny, MultiplyPolicyAny, MixFullAny,  PushFullAny};
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")
namespace avx512 {
using Lanes = LanesInEights;
#include "core/mdp/row_loops.inc"
constexpr Kernels kKernels = {SweepAny,          MultiplyAny,       MultiplyAny, MultiplyAny,
                              MultiplyPolicyAny, MultiplyPolicyAny, MixFullAny,  PushFullAny};
}  // namespace avx512

namespace avx512_gather {
using Lanes = LanesInEights;
BILEVEL_LANES_INLINE void Gather(const double* v, const uint32_t* columns, Lanes& lanes) {
  lanes = (Lanes)_mm512_i32gather_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns)), v, sizeof *v);
}
BILEVEL_LANES_INLINE void Gather(const float* v, const uint32_t* columns, Lanes& lanes) {
  const __m256i places = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns));
  lanes = (Lanes)_mm512_cvtps_pd(_mm256_i32gather_ps(v, places, sizeof *v));
}
#include "core/mdp/row_loops.inc"
constexpr Kernels kKernels = {SweepAny,          MultiplyAny,       MultiplyAny, MultiplyAny,
                              MultiplyPolicyAny, MultiplyPolicyAny, MixFullAny,  PushFullAny};
}  // namespace avx512_gather
#pragma GCC pop_options
#endif

const Kernels& KernelsOf([[maybe_unused]] InstructionSet set) {
#ifdef BILEVEL_X86_LOOPS
  switch (set) {
    case InstructionSet::kAvx512Gather:
      return avx512_gather::kKernels;
    case InstructionSet::kAvx512:
      return avx512::kKernels;
    case InstructionSet::kAvx2:
      return avx2::kKernels;
    default:
      return portable::kKernels;
  }
#else
  return portable::kKernels;
#endif
}

}  // namespace

void StepRange::Include(const StepRange& other) {
  // Also where the comparison fails because this or the other is NaN.
  if (!(smallest <= other.smallest)) smallest = std::isnan(smallest) ? smallest : other.smallest;
  if (!(largest >= other.largest)) largest = std::isnan(largest) ? largest : other.largest;
}

StepRange RunSoftSweep(const SoftSweep& sweep, SliceRange range, InstructionSet set) {
  constexpr int64_t kFewActions = 32;
  const int64_t A = sweep.rows->num_actions();
  if (A <= kFewActions) {
    alignas(64) double scratch[2 * kFewActions * kLanes];
    return KernelsOf(set).sweep(sweep, range, scratch);
  }
  AlignedArray<double> scratch(static_cast<size_t>(2 * A * kLanes));
  return KernelsOf(set).sweep(sweep, range, scratch.data());
}

void MultiplyRows(const ActionRows& rows, const double* values, const double* v, SliceRange range, double* result,
                  InstructionSet set) {
  KernelsOf(set).multiply(rows, values, v, range, result);
}

void MultiplyRows(const ActionRows& rows, const double* v, SliceRange range, double* result, InstructionSet set) {
  if (rows.in_floats()) {
    KernelsOf(set).multiply_narrow(rows, rows.floats(), v, range, result);
  } else {
    KernelsOf(set).multiply(rows, rows.values(), v, range, result);
  }
}

void MultiplyRows(const ActionRows& rows, const double* values, const float* v, SliceRange range, float* result,
                  InstructionSet set) {
  KernelsOf(set).multiply_floats(rows, values, v, range, result);
}

void MultiplyPolicy(const ActionRows& rows, const double* pi, const float* v, SliceRange range, float* result,
                    InstructionSet set) {
  KernelsOf(set).multiply_policy_floats(rows, pi, v, range, result);
}

void MultiplyPolicy(const ActionRows& rows, const double* pi, const double* v, SliceRange range, double* result,
                    InstructionSet set) {
  KernelsOf(set).multiply_policy(rows, pi, v, range, result);
}

void MixFullRows(const ActionRows& rows, const double* pi, double* result, InstructionSet set) {
  KernelsOf(set).mix_full(rows, pi, result);
}

void PushFullRows(const ActionRows& rows, const double* y, double* result, InstructionSet set) {
  AlignedArray<double> scratch(static_cast<size_t>(rows.num_states()) * kLanes);
  KernelsOf(set).push_full(rows, y, scratch.data(), result);
}

}  // namespace bilevel
