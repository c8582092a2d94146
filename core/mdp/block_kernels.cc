#include "core/mdp/block_kernels.h"

#include <algorithm>
#include <type_traits>

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes lanes apart and sees parts that nobody set.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace bilevel {
namespace {

// 1 in rows below, or above, the diagonal of each column, else 0.
struct Triangle {
  explicit constexpr Triangle(bool below) : rows{} {
    for (int column = 0; column < kLanes; ++column) {
      for (int row = 0; row < kLanes; ++row) rows[column][row] = (below ? row > column : row < column) ? 1.0 : 0.0;
    }
  }
  const double* operator[](int column) const { return rows[column]; }

  alignas(64) double rows[kLanes][kLanes];
};
constexpr Triangle kBelow(true), kAbove(false);

struct BlockKernels {
  bool (*factorize)(const BlockBand&);
  void (*solve)(const BlockBand&, double*);
  void (*solve_transposed)(const BlockBand&, double*);
};

namespace blocks_portable {
using Lanes = LanesInTwos;
#include "core/mdp/block_loops.inc"
constexpr BlockKernels kKernels = {FactorizeBlocks, SolveBlocks, SolveBlocksTransposed};
}  // namespace blocks_portable

#ifdef BILEVEL_X86_LOOPS
#pragma GCC push_options
#pragma GCC target("avx2")
namespace blocks_avx2 {
using Lanes = LanesInFours;
#include "core/mdp/block_loops.inc"
constexpr BlockKernels kKernels = {FactorizeBlocks, SolveBlocks, SolveBlocksTransposed};
}  // namespace blocks_avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")
namespace blocks_avx512 {
using Lanes = LanesInEights;
#include "core/mdp/block_loops.inc"
constexpr BlockKernels kKernels = {FactorizeBlocks, SolveBlocks, SolveBlocksTransposed};
}  // namespace blocks_avx512
#pragma GCC pop_options
#endif

const BlockKernels& BlockKernelsOf([[maybe_unused]] InstructionSet set) {
#ifdef BILEVEL_X86_LOOPS
  if (set == InstructionSet::kAvx512 || set == InstructionSet::kAvx512Gather) return blocks_avx512::kKernels;
  if (set == InstructionSet::kAvx2) return blocks_avx2::kKernels;
#endif
  return blocks_portable::kKernels;
}

}  // namespace

bool FactorizeBlocks(const BlockBand& band, InstructionSet set) { return BlockKernelsOf(set).factorize(band); }

void SolveBlocks(const BlockBand& band, double* x, InstructionSet set) { BlockKernelsOf(set).solve(band, x); }

void SolveBlocksTransposed(const BlockBand& band, double* x, InstructionSet set) {
  BlockKernelsOf(set).solve_transposed(band, x);
}

}  // namespace bilevel
