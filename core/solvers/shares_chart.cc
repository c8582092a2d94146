#include "core/solvers/shares_chart.h"

#include <algorithm>
#include <utility>

namespace bilevel {
namespace {

constexpr double kSmallestShare = 1e-9;

bool DependsOnX(const BilevelProblem& problem) {
  return problem.penalties.l1 != 0 || problem.penalties.squared_l2 != 0 || !problem.feasible_set.unconstrained() ||
         problem.HasQuadraticReward();
}

}  // namespace

std::optional<SharesChart> SharesChart::Create(const BilevelProblem& problem) {
  const std::vector<ParameterGroup>& groups = problem.map.groups();
  const bool any = std::any_of(groups.begin(), groups.end(),
                               [](const ParameterGroup& group) { return group.kind == MapKind::kSoftmax; });
  if (!any || DependsOnX(problem)) return std::nullopt;
  BilevelProblem chart = problem;
  std::vector<ParameterGroup> plain = groups;
  std::vector<FeasibleBlock> blocks;
  for (ParameterGroup& group : plain) {
    const bool shares = group.kind == MapKind::kSoftmax;
    blocks.push_back({.size = group.size, .set = Unconstrained{}});
    if (!shares) continue;
    group.kind = MapKind::kIdentity;
    blocks.back().set = Simplex{1};
  }
  // Sizes are those of the valid groups above.
  chart.map = *ParameterMap::Create(problem.num_parameters, std::move(plain));
  chart.feasible_set = *FeasibleSet::Create(problem.num_parameters, std::move(blocks));
  return SharesChart(std::move(chart), groups);
}

Vector SharesChart::ToShares(const Vector& x) const {
  Vector p = x;
  Eigen::Index first = 0;
  for (const ParameterGroup& group : groups_) {
    if (group.kind == MapKind::kSoftmax) {
      p.segment(first, group.size) = Softmax(x.segment(first, group.size));
    }
    first += group.size;
  }
  return p;
}

Vector SharesChart::FromShares(const Vector& p) const {
  Vector x = p;
  Eigen::Index first = 0;
  for (const ParameterGroup& group : groups_) {
    if (group.kind == MapKind::kSoftmax) {
      auto part = x.segment(first, group.size);
      part = (part.array().max(0.0) + kSmallestShare).log().eval();
    }
    first += group.size;
  }
  return x;
}

}  // namespace bilevel
