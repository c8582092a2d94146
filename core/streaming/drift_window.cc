#include "core/streaming/drift_window.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace bilevel {
namespace {

// Steps of one row, which stand together.
template <typename Visit>
void ForEachRow(std::span<const DriftWindow::Step> sorted, const Visit& visit) {
  for (size_t begin = 0; begin < sorted.size();) {
    size_t end = begin + 1;
    while (end < sorted.size() && sorted[end].row == sorted[begin].row) ++end;
    visit(sorted.subspan(begin, end - begin));
    begin = end;
  }
}

// Values of successors that differ by less than this, beside the largest, may be equal: V is known no better.
constexpr double kEqualValues = 1e-10;

// Surplus of V(s2) now over what is expected given the margins, and its variance, summed over rows.
struct ResidualShift {
  double surplus = 0, variance = 0;

  void Add(std::span<const PairedCount> kinds, std::span<const int32_t> columns, const Vector& value) {
    double before = 0, now = 0, mean = 0, square = 0, window = 0, size = 0;
    const auto value_of = [&](size_t j) {
      return columns[j] >= 0 && columns[j] < value.size() ? value[columns[j]] : 0.0;
    };
    for (size_t j = 0; j < kinds.size(); ++j) {
      before += kinds[j].before;
      now += kinds[j].now;
      mean += (kinds[j].before + kinds[j].now) * value_of(j);
      window += kinds[j].now * value_of(j);
      size = std::max(size, std::abs(value_of(j)));
    }
    const double all = before + now;
    if (before == 0 || now == 0) return;
    mean /= all;
    for (size_t j = 0; j < kinds.size(); ++j) {
      square += (kinds[j].before + kinds[j].now) * (value_of(j) - mean) * (value_of(j) - mean);
    }
    if (square <= all * kEqualValues * kEqualValues * size * size) return;
    surplus += window - now * mean;
    variance += before * now * square / (all * (all - 1));
  }
  double InDeviations() const { return variance > 0 ? surplus / std::sqrt(variance) : 0; }
};

}  // namespace

DriftWindow::DriftWindow(int num_states, int num_actions, uint64_t max_distinct, bool policy)
    : num_states_(num_states),
      num_actions_(num_actions),
      max_distinct_(max_distinct),
      policy_(policy),
      before_(static_cast<size_t>(num_states) * static_cast<size_t>(num_actions)) {
  if (policy) acted_ = Vector::Zero(Eigen::Index{num_states} * num_actions);
}

void DriftWindow::Move() {
  acted_.setZero();
  acted_from_ = window_.size();
}

void DriftWindow::Pair(std::span<const Step> steps, std::vector<PairedCount>& kinds,
                       std::vector<int32_t>& columns) const {
  const std::vector<Kind>& before = before_[static_cast<size_t>(steps.front().row)];
  kinds.clear();
  columns.clear();
  const auto put = [&](int32_t column, double was, double now) {
    columns.push_back(column);
    kinds.push_back({was, now});
  };
  const bool full = distinct_ >= max_distinct_;
  double other = 0;
  size_t at = 0;
  for (size_t begin = 0, end; begin < steps.size(); begin = end) {
    const int32_t column = steps[begin].column;
    for (end = begin + 1; end < steps.size() && steps[end].column == column;) ++end;
    const auto now = static_cast<double>(end - begin);
    for (; at < before.size() && before[at].column < column; ++at) put(before[at].column, before[at].count, 0);
    if (at < before.size() && before[at].column == column) {
      put(column, before[at++].count, now);
    } else if (full) {
      other += now;
    } else {
      put(column, 0, now);
    }
  }
  for (; at < before.size(); ++at) put(before[at].column, before[at].count, 0);
  if (other == 0) return;
  if (!before.empty() && before.front().column == kOther) {
    kinds.front().now += other;
  } else {
    put(kOther, 0, other);
  }
}

DriftWindow::Comparison DriftWindow::Compare() {
  sorted_ = window_;
  std::sort(sorted_.begin(), sorted_.end(),
            [](const Step& a, const Step& b) { return std::tie(a.row, a.column) < std::tie(b.row, b.column); });
  Comparison found;
  Homogeneity transitions;
  ResidualShift residual;
  std::vector<PairedCount> kinds;
  std::vector<int32_t> columns;
  ForEachRow(sorted_, [&](std::span<const Step> steps) {
    Pair(steps, kinds, columns);
    transitions.Add(kinds);
    if (value_.size() != 0) residual.Add(kinds, columns, value_);
  });
  found.transitions = transitions.Find();
  found.residual = residual.InDeviations();
  if (policy_) found.policy = ComparePolicy();
  return found;
}

Homogeneity::Result DriftWindow::ComparePolicy() const {
  Vector now = Vector::Zero(acted_.size());
  AddActed(now);
  Homogeneity actions;
  std::vector<PairedCount> kinds(static_cast<size_t>(num_actions_));
  for (int s = 0; s < num_states_; ++s) {
    for (int a = 0; a < num_actions_; ++a) {
      const Eigen::Index row = Eigen::Index{s} * num_actions_ + a;
      kinds[static_cast<size_t>(a)] = {acted_[row], now[row]};
    }
    actions.Add(kinds);
  }
  return actions.Find();
}

void DriftWindow::AddActed(Vector& visits) const {
  for (size_t i = acted_from_; i < window_.size(); ++i) {
    if (window_[i].acted) visits[window_[i].row] += 1;
  }
}

void DriftWindow::Remember(std::span<const Step> steps) {
  std::vector<Kind>& before = before_[static_cast<size_t>(steps.front().row)];
  const auto by_column = [](const Kind& kind, int32_t column) { return kind.column < column; };
  for (const Step& step : steps) {
    auto at = std::lower_bound(before.begin(), before.end(), step.column, by_column);
    if (at == before.end() || at->column != step.column) {
      int32_t column = step.column;
      if (distinct_ >= max_distinct_) {
        column = kOther;
        at = before.begin();
      }
      if (at == before.end() || at->column != column) {
        at = before.insert(at, {column, 0});
        distinct_ += column == kOther ? 0 : 1;
      }
    }
    at->count += 1;
  }
}

void DriftWindow::Close(bool transitions, bool policy) {
  if (transitions) {
    for (std::vector<Kind>& row : before_) row = {};
    distinct_ = 0;
  }
  ForEachRow(sorted_, [&](std::span<const Step> steps) { Remember(steps); });
  if (policy_) {
    if (transitions || policy) acted_.setZero();
    AddActed(acted_);
  }
  window_.clear();
  acted_from_ = 0;
  value_ = next_value_;
}

double DriftWindow::MaxBytes(int num_states, int64_t num_rows, double max_distinct, double window) {
  // Old and new stand side by side while a vector grows by doubling; the window once more as it is sorted. A row that
  // is known has an allocation of its own, and one kind beyond those that are told apart.
  const auto rows = static_cast<double>(num_rows), states = static_cast<double>(num_states);
  constexpr double kAllocation = 32;
  return 4 * window * sizeof(Step) + 3 * max_distinct * sizeof(Kind) +
         rows * (sizeof(std::vector<Kind>) + 3 * sizeof(Kind) + kAllocation + 2 * sizeof(double)) +
         2 * states * sizeof(double);
}

}  // namespace bilevel
