#include "core/mdp/block_lu.h"

#include <algorithm>

namespace bilevel {

BlockLu::BlockLu(Eigen::Index size, Eigen::Index bandwidth)
    : size_(size),
      count_((size + kLanes - 1) / kLanes),
      reach_(std::min<int64_t>(count_ - 1, (bandwidth + kLanes - 1) / kLanes)) {
  int64_t blocks = 0;
  for (int64_t i = 0; i < count_; ++i) {
    const int64_t first = std::max<int64_t>(0, i - reach_), end = std::min(count_, i + reach_ + 1);
    origins_.push_back(blocks - first);
    blocks += end - first;
  }
  blocks_ = AlignedArray<double>(static_cast<size_t>(kBlock * blocks));
  lower_ = AlignedArray<double>(static_cast<size_t>(kBlock * count_));
  upper_ = AlignedArray<double>(static_cast<size_t>(kBlock * count_));
  SetZero();
}

void BlockLu::SetZero() {
  std::fill(blocks_.begin(), blocks_.end(), 0.0);
  for (Eigen::Index i = size_; i < kLanes * count_; ++i) (*this)(i, i) = 1;
}

void BlockLu::SetIdentityMinus(double gamma, const Eigen::MatrixXd& P) {
  const BlockBand its = band();
  for (int64_t i = 0; i < count_; ++i) {
    const Eigen::Index rows = std::min<Eigen::Index>(kLanes, size_ - kLanes * i);
    for (int64_t j = std::max<int64_t>(0, i - reach_), end = std::min(count_, i + reach_ + 1); j < end; ++j) {
      const Eigen::Index columns = std::min<Eigen::Index>(kLanes, size_ - kLanes * j);
      double* const block = its.blocks + kBlock * (its.origins[i] + j);
      if (rows < kLanes || columns < kLanes) std::fill_n(block, kBlock, 0.0);
      for (Eigen::Index c = 0; c < columns; ++c) {
        const double* const from = &P(kLanes * i, kLanes * j + c);
        for (Eigen::Index r = 0; r < rows; ++r) block[kLanes * c + r] = -gamma * from[r];
      }
      if (i != j) continue;
      for (int c = 0; c < kLanes; ++c) block[kLanes * c + c] += 1;
    }
  }
}

BlockBand BlockLu::band() const {
  // Loops that only read take the same structure.
  const auto writable = [](const AlignedArray<double>& numbers) { return const_cast<double*>(numbers.data()); };
  return {count_, reach_, origins_.data(), writable(blocks_), writable(lower_), writable(upper_)};
}

bool BlockLu::Factorize(InstructionSet set) { return FactorizeBlocks(band(), set); }

Vector BlockLu::Solve(const Vector& b, InstructionSet set) const { return Solved(&SolveBlocks, b, set); }

Vector BlockLu::SolveTransposed(const Vector& b, InstructionSet set) const {
  return Solved(&SolveBlocksTransposed, b, set);
}

Vector BlockLu::Solved(void (*solve)(const BlockBand&, double*, InstructionSet), const Vector& b,
                       InstructionSet set) const {
  AlignedArray<double> x(static_cast<size_t>(kLanes * count_));
  std::fill(std::copy_n(b.data(), size_, x.begin()), x.end(), 0.0);
  solve(band(), x.data(), set);
  return Eigen::Map<const Vector>(x.data(), size_);
}

}  // namespace bilevel
