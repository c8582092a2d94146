#include "tests/support/families.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <utility>
#include <vector>

#include "core/base/rng.h"

namespace bilevel::testing {
namespace {

constexpr int kActions = 4;

// Collects rows in order; what leads to the same state is added up.
class Rows {
 public:
  explicit Rows(int num_states, int entries_in_row) {
    spec_.num_states = num_states;
    spec_.num_actions = kActions;
    const size_t rows = static_cast<size_t>(num_states) * kActions;
    spec_.offsets.reserve(rows + 1);
    spec_.offsets.push_back(0);
    spec_.columns.reserve(rows * static_cast<size_t>(entries_in_row));
    spec_.probabilities.reserve(rows * static_cast<size_t>(entries_in_row));
  }

  void To(int64_t state, double probability) { row_.emplace_back(static_cast<uint32_t>(state), probability); }

  void EndRow() {
    std::sort(row_.begin(), row_.end());
    for (const auto& [state, probability] : row_) {
      if (spec_.columns.size() > spec_.offsets.back() && spec_.columns.back() == state) {
        spec_.probabilities.back() += probability;
      } else {
        spec_.columns.push_back(state);
        spec_.probabilities.push_back(probability);
      }
    }
    spec_.offsets.push_back(spec_.columns.size());
    row_.clear();
  }

  TabularMdpSpec Take() { return std::move(spec_); }

 private:
  TabularMdpSpec spec_;
  std::vector<std::pair<uint32_t, double>> row_;
};

Family Random4(int S) {
  constexpr int kSuccessors = 4;
  Rng rng(1);
  Rows rows(S, kSuccessors);
  Family family;
  family.reward.resize(Eigen::Index{S} * kActions);
  for (Eigen::Index row = 0; row < Eigen::Index{S} * kActions; ++row) {
    std::array<double, kSuccessors> weight;
    double total = 0;
    for (double& w : weight) total += w = rng.Uniform();
    for (const double w : weight) rows.To(static_cast<int64_t>(rng.Below(static_cast<uint64_t>(S))), w / total);
    rows.EndRow();
    const double u = rng.Uniform();
    family.reward[row] = u * rng.Uniform();
  }
  family.spec = rows.Take();
  return family;
}

Family GridSlip(int n) {
  constexpr std::array<std::pair<int, int>, kActions> kMoves = {{{-1, 0}, {0, 1}, {1, 0}, {0, -1}}};
  Rng rng(1);
  const int S = n * n;
  Rows rows(S, 3);
  Family family;
  family.reward = Vector::Zero(Eigen::Index{S} * kActions);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      const int s = i * n + j;
      const double cost = 0.5 + rng.Uniform();
      for (int a = 0; a < kActions; ++a) {
        if (s == S - 1) {
          rows.To(s, 1);
        } else {
          const auto move = [&](int direction, double probability) {
            const auto [di, dj] = kMoves[static_cast<size_t>((a + direction + kActions) % kActions)];
            rows.To(std::clamp(i + di, 0, n - 1) * n + std::clamp(j + dj, 0, n - 1), probability);
          };
          move(0, 0.8);
          move(-1, 0.1);
          move(1, 0.1);
          family.reward[Eigen::Index{s} * kActions + a] = -cost;
        }
        rows.EndRow();
      }
    }
  }
  family.spec = rows.Take();
  return family;
}

Family Queue2d(int n) {
  constexpr double kArrival = 0.9, kSlow = 0.6, kFast = 1.2, kTotal = kArrival + 2 * kFast, kEffort = 0.1;
  const int S = n * n;
  Rows rows(S, 4);
  Family family;
  family.reward.resize(Eigen::Index{S} * kActions);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      const int s = i * n + j;
      for (int a = 0; a < kActions; ++a) {
        const double first = (a & 1) != 0 ? kFast : kSlow, second = (a & 2) != 0 ? kFast : kSlow;
        double stays = kTotal;
        const auto go = [&](bool possible, int to, double rate) {
          if (!possible) return;
          rows.To(to, rate / kTotal);
          stays -= rate;
        };
        go(i + 1 < n, s + n, kArrival);
        go(i > 0 && j + 1 < n, s - n + 1, first);
        go(j > 0, s - 1, second);
        if (stays > 0) rows.To(s, stays / kTotal);
        rows.EndRow();
        family.reward[Eigen::Index{s} * kActions + a] = -(i + 2.0 * j) / n - kEffort * ((a & 1) + (a >> 1));
      }
    }
  }
  family.spec = rows.Take();
  return family;
}

Family BirthDeath(int S) {
  constexpr double kUp = 0.45;
  Rows rows(S, 3);
  Family family;
  family.reward.resize(Eigen::Index{S} * kActions);
  for (int s = 0; s < S; ++s) {
    for (int a = 0; a < kActions; ++a) {
      const double up = s + 1 < S ? kUp : 0, down = s > 0 ? 0.2 + 0.1 * a : 0;
      if (up > 0) rows.To(s + 1, up);
      if (down > 0) rows.To(s - 1, down);
      rows.To(s, 1 - up - down);
      rows.EndRow();
      family.reward[Eigen::Index{s} * kActions + a] = -static_cast<double>(s) / S - 0.1 * a;
    }
  }
  family.spec = rows.Take();
  return family;
}

}  // namespace

Family MakeFamily(std::string_view name, int num_states) {
  const int side = static_cast<int>(std::sqrt(static_cast<double>(num_states)));
  if (name == "rand-4") return Random4(num_states);
  if (name == "grid-slip") return GridSlip(side);
  if (name == "queue-2d") return Queue2d(side);
  if (name == "birth-death") return BirthDeath(num_states);
  std::cerr << "no family " << name << "\n";
  std::exit(2);
}

}  // namespace bilevel::testing
