// Sets of instructions that inner loops are compiled for, and which of them this machine has.
//
// A file of loops is included once for each set, in a namespace of its own, with the compiler's target set for that
// region (core/mdp/row_kernels.cc, core/mdp/block_kernels.cc); all give the same bits. No Eigen there: its objects must
// not meet two sets of flags.

#ifndef BILEVEL_CORE_BASE_INSTRUCTION_SET_H_
#define BILEVEL_CORE_BASE_INSTRUCTION_SET_H_

// Clang spells targets of regions otherwise: it gets the portable loops.
#if defined(__x86_64__) && !defined(__clang__)
#define BILEVEL_X86_LOOPS
#endif

namespace bilevel {

enum class InstructionSet { kPortable, kAvx2, kAvx512, kAvx512Gather };
inline constexpr InstructionSet kInstructionSets[] = {InstructionSet::kPortable, InstructionSet::kAvx2,
                                                      InstructionSet::kAvx512, InstructionSet::kAvx512Gather};

// Whether this machine and this build have it.
bool Supports(InstructionSet set);
// The fastest one of those.
InstructionSet Fastest();

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_INSTRUCTION_SET_H_
