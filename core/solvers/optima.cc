#include "core/solvers/optima.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace bilevel {
namespace {

constexpr double kSameTheta = 0.05;
// Of the largest theta met: what is smaller counts as 0.
constexpr double kNoTheta = 1e-3;

}  // namespace

int Optima::Capacity(int num_parameters) {
  constexpr int kMaxNumbers = 4'000'000, kFewest = 8;
  return std::clamp(kMaxNumbers / std::max(num_parameters, 1), kFewest, kMaxEntries);
}

void Optima::Add(LocalOptimum end, double tolerance) {
  if (!std::isfinite(end.objective)) return;
  Vector theta = problem_.map.Apply(end.x);
  largest_theta_ = std::max(largest_theta_, theta.norm());
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (!(std::abs(entries_[i].objective - end.objective) <= tolerance)) continue;
    const double reach = kSameTheta * std::max(theta.norm(), theta_[i].norm()) + kNoTheta * largest_theta_;
    if ((theta - theta_[i]).norm() > reach) continue;
    end.hits += entries_[i].hits;
    if (problem_.sign() * entries_[i].objective <= problem_.sign() * end.objective) {
      entries_[i].hits = end.hits;
      return;
    }
    entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(i));
    theta_.erase(theta_.begin() + static_cast<std::ptrdiff_t>(i));
    break;
  }
  const auto at = std::upper_bound(entries_.begin(), entries_.end(), end, [this](const auto& a, const auto& b) {
    return problem_.sign() * a.objective < problem_.sign() * b.objective;
  });
  theta_.insert(theta_.begin() + (at - entries_.begin()), std::move(theta));
  entries_.insert(at, std::move(end));
  if (entries_.size() > capacity_) {
    entries_.pop_back();
    theta_.pop_back();
  }
}

}  // namespace bilevel
