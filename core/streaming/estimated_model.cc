#include "core/streaming/estimated_model.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "core/base/status_macros.h"
#include "core/streaming/random_draws.h"

namespace bilevel {
namespace {

using Entries = std::vector<TransitionCounts::Entry>;
using Weight = std::function<double(double)>;  // of a number of (pseudo-)counts

// The states seen to follow each state, in order.
std::vector<std::vector<int>> NeighboursOf(const ModelFrame& frame, const Entries& entries) {
  std::vector<std::vector<int>> neighbours(static_cast<size_t>(frame.num_states));
  for (const TransitionCounts::Entry& entry : entries) {
    const int64_t state = entry.row / frame.num_actions;
    if (state < frame.num_states && entry.column < frame.num_states) {
      neighbours[static_cast<size_t>(state)].push_back(entry.column);
    }
  }
  for (std::vector<int>& list : neighbours) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  return neighbours;
}

// m(.|s,a), in order of columns; column S: the episode ends.
class PriorRows {
 public:
  PriorRows(const ModelFrame& frame, const Entries& entries, ModelPrior::Kind kind)
      : kind_(kind), num_states_(frame.num_states) {
    if (kind == ModelPrior::Kind::kNeighbours) neighbours_ = NeighboursOf(frame, entries);
  }

  std::vector<std::pair<int, double>> At(int state) const {
    if (kind_ == ModelPrior::Kind::kEnd) return {{num_states_, 1.0}};
    if (kind_ == ModelPrior::Kind::kStay || neighbours_[static_cast<size_t>(state)].empty()) return {{state, 1.0}};
    const std::vector<int>& list = neighbours_[static_cast<size_t>(state)];
    std::vector<std::pair<int, double>> row;
    row.reserve(list.size());
    for (const int column : list) row.emplace_back(column, 1 / static_cast<double>(list.size()));
    return row;
  }

 private:
  ModelPrior::Kind kind_;
  int num_states_;
  std::vector<std::vector<int>> neighbours_;
};

// Adds `add` times the prior's row to counts that are in order of columns too.
void Mix(const std::vector<std::pair<int, double>>& prior, double add, std::vector<std::pair<int, double>>& row) {
  const size_t counted = row.size();
  for (const auto& [column, share] : prior) row.emplace_back(column, add * share);
  std::inplace_merge(row.begin(), row.begin() + static_cast<int64_t>(counted), row.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
  size_t kept = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    if (kept > 0 && row[kept - 1].first == row[i].first) {
      row[kept - 1].second += row[i].second;
    } else {
      row[kept++] = row[i];
    }
  }
  row.resize(kept);
}

Vector InitialDistribution(const ModelFrame& frame, Entries::const_iterator entry, Entries::const_iterator end,
                           const Weight& weight) {
  if (frame.initial_distribution.size() != 0 || entry == end) return frame.initial_distribution;
  Vector initial = Vector::Zero(frame.num_states);
  for (; entry != end; ++entry) initial[entry->column] = weight(static_cast<double>(entry->count));
  return initial / initial.sum();
}

absl::StatusOr<EstimatedModel> Build(const ModelFrame& frame, const Entries& entries, const ModelPrior& prior,
                                     const Weight& weight) {
  const int64_t rows = int64_t{frame.num_states} * frame.num_actions;
  const PriorRows prior_rows(frame, entries, prior.kind);
  TabularMdpSpec spec;
  spec.num_states = frame.num_states;
  spec.num_actions = frame.num_actions;
  spec.available_actions = frame.available_actions;
  spec.offsets.reserve(static_cast<size_t>(rows) + 1);
  spec.offsets.push_back(0);
  spec.columns.reserve(entries.size());
  spec.probabilities.reserve(entries.size());
  spec.termination_probability = Vector::Zero(rows);
  int64_t unseen = 0;
  auto entry = entries.begin();
  std::vector<std::pair<int, double>> row;
  for (int64_t r = 0; r < rows; ++r) {
    row.clear();
    for (; entry != entries.end() && entry->row == r; ++entry) {
      row.emplace_back(entry->column, static_cast<double>(entry->count));
    }
    const bool available = frame.available_actions.empty() || frame.available_actions[static_cast<size_t>(r)] != 0;
    if (available) {
      const bool seen = !row.empty();
      if (!seen) ++unseen;
      if (!seen || prior.strength > 0) {
        Mix(prior_rows.At(static_cast<int>(r / frame.num_actions)), seen ? prior.strength : 1, row);
      }
      double total = 0;
      if (seen) {
        for (auto& [column, count] : row) total += count = weight(count);
      } else {
        total = 1;
      }
      for (const auto& [column, count] : row) {
        if (column == frame.num_states) {
          spec.termination_probability[r] = count / total;
        } else {
          spec.columns.push_back(static_cast<uint32_t>(column));
          spec.probabilities.push_back(count / total);
        }
      }
    }
    spec.offsets.push_back(spec.columns.size());
  }
  spec.initial_distribution = InitialDistribution(frame, entry, entries.end(), weight);
  ASSIGN_OR_RETURN(TabularMdp mdp, TabularMdp::Create(std::move(spec)));
  return EstimatedModel{std::move(mdp), unseen};
}

}  // namespace

absl::StatusOr<EstimatedModel> EstimateModel(const ModelFrame& frame, const Entries& entries, const ModelPrior& prior) {
  return Build(frame, entries, prior, [](double count) { return count; });
}

absl::StatusOr<EstimatedModel> RedrawModel(const ModelFrame& frame, const Entries& entries, const ModelPrior& prior,
                                           Rng& rng) {
  return Build(frame, entries, prior, [&](double count) { return DrawGamma(rng, count); });
}

}  // namespace bilevel
