// The inner loops of BlockLu, in the fastest instructions that the machine has; all give the same bits.

#ifndef BILEVEL_CORE_MDP_BLOCK_KERNELS_H_
#define BILEVEL_CORE_MDP_BLOCK_KERNELS_H_

#include <cstdint>

#include "core/base/instruction_set.h"
#include "core/base/lanes.h"

namespace bilevel {

// Numbers in a block, which stands by columns.
inline constexpr int64_t kBlock = int64_t{kLanes} * kLanes;

// Rows of blocks one after the other. Numbers are on cache-line boundaries.
struct BlockBand {
  int64_t count = 0;                 // of rows of blocks
  int64_t reach = 0;                 // blocks (i, j) with |i - j| <= reach are there
  const int64_t* origins = nullptr;  // block (i, j) is number origins[i] + j
  double* blocks = nullptr;
  // Of the diagonal blocks, inverses of the factors: set by factorisation.
  double* lower = nullptr;
  double* upper = nullptr;
};

// Blocks below the diagonal become those of the unit lower factor, blocks above it those of the upper one. False when a
// pivot is not positive, and the blocks are of no use.
bool FactorizeBlocks(const BlockBand& band, InstructionSet set = Fastest());

// x <- A^{-1} x and A^{-T} x, [kLanes * count]; reads the factors.
void SolveBlocks(const BlockBand& band, double* x, InstructionSet set = Fastest());
void SolveBlocksTransposed(const BlockBand& band, double* x, InstructionSet set = Fastest());

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_BLOCK_KERNELS_H_
