#include "core/mdp/aggregation_multigrid.h"

#include <utility>

namespace bilevel {
namespace {

constexpr int64_t kCoarsest = 300;
constexpr int64_t kLargestDense = 2000;
// Joining ends where it does not make the matrix this much smaller.
constexpr double kWorthJoining = 0.7;

}  // namespace

AggregationMultigrid::AggregationMultigrid(const SystemRows& system, const ParallelFor& parallel_for)
    : system_(system) {
  SparseSquare current = Store(system);
  while (current.size() > kCoarsest) {
    std::vector<uint32_t> pairs, quads;
    SparseSquare half = Condense(current, pairs, JoinPairs(current, pairs));
    const int64_t num_quads = JoinPairs(half, quads);
    if (static_cast<double>(num_quads) > kWorthJoining * static_cast<double>(current.size())) break;
    SparseSquare next = Condense(std::exchange(half, {}), quads, num_quads);
    for (uint32_t& group : pairs) group = quads[group];
    IncompleteLu smoother(current, parallel_for, IncompleteLu::Order::kBlocks);
    if (levels_.empty()) current = {};
    levels_.push_back({std::move(current), std::move(smoother), std::move(pairs), num_quads});
    current = std::move(next);
  }
  if (current.size() > kLargestDense) {
    IncompleteLu smoother(current, parallel_for, IncompleteLu::Order::kBlocks);
    levels_.push_back({std::move(current), std::move(smoother), {}, 0});
    return;
  }
  Eigen::MatrixXd dense = Eigen::MatrixXd::Zero(current.size(), current.size());
  for (int64_t s = 0; s < current.size(); ++s) {
    for (uint64_t k = current.offsets[static_cast<size_t>(s)]; k < current.offsets[static_cast<size_t>(s) + 1]; ++k) {
      dense(s, current.columns[k]) += current.values[k];
    }
  }
  coarsest_.compute(dense);
}

template <typename Real>
void AggregationMultigrid::SubtractProduct(size_t level, const VectorOf<Real>& x, const VectorOf<Real>& b,
                                           VectorOf<Real>& r) const {
  if (level == 0) {
    bilevel::SubtractProduct(system_, x, b, r);
  } else {
    bilevel::SubtractProduct(levels_[level].matrix, x, b, levels_[level].smoother.parallel_for(), r);
  }
}

template <typename Real>
void AggregationMultigrid::SubtractTransposedProduct(size_t level, const VectorOf<Real>& x, const VectorOf<Real>& b,
                                                     VectorOf<Real>& r) const {
  if (level == 0) {
    bilevel::SubtractTransposedProduct(system_, x, b, r);
  } else {
    bilevel::SubtractTransposedProduct(levels_[level].matrix, x, b, r);
  }
}

template <typename Real>
void AggregationMultigrid::Cycle(size_t level, const VectorOf<Real>& b, VectorOf<Real>& x) const {
  if (level == levels_.size()) {
    x = Vector(coarsest_.solve(b.template cast<double>())).template cast<Real>();
    return;
  }
  const Level& here = levels_[level];
  if (here.group.empty()) {
    here.smoother.Solve(b, x);
    return;
  }
  VectorOf<Real> sums = VectorOf<Real>::Zero(here.num_groups), moves, r;
  for (Eigen::Index s = 0; s < b.size(); ++s) sums[here.group[static_cast<size_t>(s)]] += b[s];
  Cycle(level + 1, sums, moves);
  x.resize(b.size());
  for (Eigen::Index s = 0; s < b.size(); ++s) x[s] = moves[here.group[static_cast<size_t>(s)]];
  SubtractProduct(level, x, b, r);
  here.smoother.Solve(r, r);
  x += r;
}

template <typename Real>
void AggregationMultigrid::CycleTransposed(size_t level, const VectorOf<Real>& b, VectorOf<Real>& x) const {
  if (level == levels_.size()) {
    x = Vector(coarsest_.transpose().solve(Vector(b.template cast<double>()))).template cast<Real>();
    return;
  }
  const Level& here = levels_[level];
  here.smoother.SolveTransposed(b, x);
  if (here.group.empty()) return;
  VectorOf<Real> sums = VectorOf<Real>::Zero(here.num_groups), moves, r;
  SubtractTransposedProduct(level, x, b, r);
  for (Eigen::Index s = 0; s < b.size(); ++s) sums[here.group[static_cast<size_t>(s)]] += r[s];
  CycleTransposed(level + 1, sums, moves);
  for (Eigen::Index s = 0; s < b.size(); ++s) x[s] += moves[here.group[static_cast<size_t>(s)]];
}

template void AggregationMultigrid::Cycle(size_t, const VectorOf<double>&, VectorOf<double>&) const;
template void AggregationMultigrid::Cycle(size_t, const VectorOf<float>&, VectorOf<float>&) const;
template void AggregationMultigrid::CycleTransposed(size_t, const VectorOf<double>&, VectorOf<double>&) const;
template void AggregationMultigrid::CycleTransposed(size_t, const VectorOf<float>&, VectorOf<float>&) const;

}  // namespace bilevel
