#include "core/base/instruction_set.h"

namespace bilevel {

bool Supports(InstructionSet set) {
  switch (set) {
    case InstructionSet::kPortable:
      return true;
#ifdef BILEVEL_X86_LOOPS
    case InstructionSet::kAvx2:
      return __builtin_cpu_supports("avx2") != 0;
    case InstructionSet::kAvx512:
    case InstructionSet::kAvx512Gather:
      return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
             __builtin_cpu_supports("avx512vl") != 0;
#endif
    default:
      return false;
  }
}

InstructionSet Fastest() {
  static const InstructionSet fastest = [] {
    if (!Supports(InstructionSet::kAvx512)) {
      return Supports(InstructionSet::kAvx2) ? InstructionSet::kAvx2 : InstructionSet::kPortable;
    }
#ifdef BILEVEL_X86_LOOPS
    // AMD's gather is slower than loads one by one.
    if (__builtin_cpu_is("intel") != 0) return InstructionSet::kAvx512Gather;
#endif
    return InstructionSet::kAvx512;
  }();
  return fastest;
}

}  // namespace bilevel
