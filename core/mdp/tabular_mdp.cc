#include "core/mdp/tabular_mdp.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/mdp/row_kernels.h"

namespace bilevel {
namespace {

constexpr double kSumTolerance = 1e-9;
constexpr double kSingleSumTolerance = 1e-6;
// States are walked through in parts of this many slices.
constexpr int64_t kSlicesInPart = 2048;
// From so many states on P^T y is added up in shares of the states, as many whatever the number of threads.
constexpr int kStatesToShare = 65536;
constexpr int kShares = 4;

std::string RowName(Eigen::Index row, int num_actions) {
  return absl::StrCat("row ", row, " (s=", row / num_actions, ", a=", row % num_actions, ")");
}

absl::Status CheckSizes(const TabularMdpSpec& spec) {
  if (spec.num_states < 1) return FieldError("num_states", absl::StrCat("is ", spec.num_states, "; must be >= 1"));
  if (spec.num_actions < 1) return FieldError("num_actions", absl::StrCat("is ", spec.num_actions, "; must be >= 1"));
  const uint64_t rows = static_cast<uint64_t>(spec.num_states) * static_cast<uint64_t>(spec.num_actions);
  if (spec.offsets.size() != rows + 1) {
    return FieldError(
        "transitions.offsets",
        absl::StrCat("has ", spec.offsets.size(), " entries; must have num_states * num_actions + 1 = ", rows + 1));
  }
  if (spec.columns.size() != spec.probabilities.size()) {
    return FieldError("transitions.columns", absl::StrCat("has ", spec.columns.size(), " entries but values has ",
                                                          spec.probabilities.size(), "; they must be equal"));
  }
  if (spec.offsets.front() != 0) {
    return FieldError("transitions.offsets", absl::StrCat("starts at ", spec.offsets.front(), "; must start at 0"));
  }
  if (spec.columns.size() > TabularMdp::kMaxEntries) {
    return FieldError("transitions.columns", absl::StrCat("has ", spec.columns.size(), " entries; at most ",
                                                          TabularMdp::kMaxEntries, " are supported"));
  }
  if (spec.offsets.back() != spec.columns.size()) {
    return FieldError(
        "transitions.offsets",
        absl::StrCat("ends at ", spec.offsets.back(), "; must end at the number of entries, ", spec.columns.size()));
  }
  for (uint64_t row = 0; row < rows; ++row) {
    if (spec.offsets[row] > spec.offsets[row + 1]) {
      return FieldError("transitions.offsets",
                        absl::StrCat("falls from ", spec.offsets[row], " to ", spec.offsets[row + 1], " at ", row + 1,
                                     "; must never decrease"));
    }
  }
  if (spec.termination_probability.size() != 0 && static_cast<uint64_t>(spec.termination_probability.size()) != rows) {
    return FieldError("termination_probability",
                      absl::StrCat("has ", spec.termination_probability.size(), " entries; must have ", rows));
  }
  if (!spec.available_actions.empty() && spec.available_actions.size() != rows) {
    return FieldError("available_actions",
                      absl::StrCat("has ", spec.available_actions.size(), " entries; must have ", rows));
  }
  if (spec.initial_distribution.size() != 0 && spec.initial_distribution.size() != spec.num_states) {
    return FieldError("initial_distribution", absl::StrCat("has ", spec.initial_distribution.size(),
                                                           " entries; must have num_states = ", spec.num_states));
  }
  return absl::OkStatus();
}

absl::Status CheckAvailable(const TabularMdpSpec& spec) {
  if (spec.available_actions.empty()) return absl::OkStatus();
  for (int s = 0; s < spec.num_states; ++s) {
    int count = 0;
    for (int a = 0; a < spec.num_actions; ++a) {
      const uint8_t flag = spec.available_actions[static_cast<size_t>(s) * spec.num_actions + a];
      if (flag > 1) {
        return FieldError("available_actions",
                          absl::StrCat("(s=", s, ", a=", a, ") is ", static_cast<int>(flag), "; must be 0 or 1"));
      }
      count += flag;
    }
    if (count == 0) {
      return FieldError("available_actions",
                        absl::StrCat("has no available action in state ", s, "; every state needs one"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckColumns(const TabularMdpSpec& spec, Eigen::Index row) {
  for (uint64_t k = spec.offsets[row]; k < spec.offsets[row + 1]; ++k) {
    if (spec.columns[k] >= static_cast<uint32_t>(spec.num_states)) {
      return FieldError("transitions.columns",
                        absl::StrCat(RowName(row, spec.num_actions), " has column ", spec.columns[k],
                                     "; must be below num_states = ", spec.num_states));
    }
    if (k > spec.offsets[row] && spec.columns[k] <= spec.columns[k - 1]) {
      return FieldError("transitions.columns",
                        absl::StrCat(RowName(row, spec.num_actions), " has column ", spec.columns[k], " after ",
                                     spec.columns[k - 1], "; must be strictly increasing within a row"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckProbabilityVector(const Vector& p, double tolerance) {
  for (Eigen::Index i = 0; i < p.size(); ++i) {
    if (!(p[i] >= 0) || !std::isfinite(p[i])) {
      return FieldError("", absl::StrCat("entry ", i, " is ", ToText(p[i]), "; must be finite and >= 0"));
    }
  }
  const double sum = p.sum();
  if (!(std::abs(sum - 1) <= tolerance)) {
    return FieldError("", absl::StrCat("sums to ", ToText(sum), "; must sum to 1 +- ", ToText(tolerance)));
  }
  return absl::OkStatus();
}

absl::StatusOr<TabularMdp> TabularMdp::Create(TabularMdpSpec spec) {
  RETURN_IF_ERROR(CheckSizes(spec));
  RETURN_IF_ERROR(CheckAvailable(spec));

  TabularMdp mdp;
  mdp.num_states_ = spec.num_states;
  mdp.num_actions_ = spec.num_actions;
  mdp.min_row_sum_ = std::numeric_limits<double>::infinity();
  mdp.available_ = std::move(spec.available_actions);
  if (std::all_of(mdp.available_.begin(), mdp.available_.end(), [](uint8_t flag) { return flag == 1; })) {
    mdp.available_.clear();
  }
  const double tolerance = spec.single_precision ? kSingleSumTolerance : kSumTolerance;
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    RETURN_IF_ERROR(CheckColumns(spec, row));
    const uint64_t begin = spec.offsets[row], end = spec.offsets[row + 1];
    if (!mdp.available(row)) {
      std::fill(spec.probabilities.begin() + begin, spec.probabilities.begin() + end, 0.0);
      continue;
    }
    double sum = 0;
    for (uint64_t k = begin; k < end; ++k) {
      const double p = spec.probabilities[k];
      if (!(p >= 0 && p <= 1 + tolerance)) {
        return FieldError("transitions", absl::StrCat(RowName(row, spec.num_actions), " has probability ", ToText(p),
                                                      " at column ", spec.columns[k], "; must be in [0, 1]"));
      }
      sum += p;
    }
    const double ending = spec.termination_probability.size() == 0 ? 0.0 : spec.termination_probability[row];
    if (!(ending >= 0 && ending <= 1)) {
      return FieldError("termination_probability",
                        absl::StrCat(RowName(row, spec.num_actions), " is ", ToText(ending), "; must be in [0, 1]"));
    }
    if (!(std::abs(sum + ending - 1) <= tolerance)) {
      return FieldError(
          "transitions",
          absl::StrCat(RowName(row, spec.num_actions), " sums to ", ToText(sum), " with termination_probability ",
                       ToText(ending), "; row sum + termination_probability must be 1 +- ", ToText(tolerance)));
    }
    if (spec.single_precision && sum > 0) {
      const double factor = (1 - ending) / sum;
      for (uint64_t k = begin; k < end; ++k) spec.probabilities[k] *= factor;
      sum = 1 - ending;
    }
    mdp.min_row_sum_ = std::min(mdp.min_row_sum_, sum);
    mdp.max_row_sum_ = std::max(mdp.max_row_sum_, sum);
    mdp.max_row_entries_ = std::max(mdp.max_row_entries_, static_cast<int>(end - begin));
  }
  mdp.transitions_ = ActionRows(spec.num_states, spec.num_actions, spec.offsets, spec.columns, spec.probabilities);
  if (spec.initial_distribution.size() == 0) {
    mdp.initial_distribution_ = Vector::Constant(spec.num_states, 1.0 / spec.num_states);
  } else {
    if (absl::Status status = CheckProbabilityVector(spec.initial_distribution, kSumTolerance); !status.ok()) {
      return WithField("initial_distribution", status);
    }
    mdp.initial_distribution_ = std::move(spec.initial_distribution);
  }
  return mdp;
}

std::vector<double> TabularMdp::Probabilities() const {
  std::vector<double> result(num_entries());
  for (Eigen::Index row = 0; row < num_rows(); ++row) {
    transitions_.ForEachInRow(row, [&](uint64_t entry, uint64_t place) { result[entry] = transitions_.value(place); });
  }
  return result;
}

void TabularMdp::Move(std::span<const double> probabilities, Vector initial_distribution, double rounding) {
  initial_distribution_ = std::move(initial_distribution);
  probability_rounding_ = rounding;
  min_row_sum_ = std::numeric_limits<double>::infinity();
  max_row_sum_ = 0;
  for (Eigen::Index row = 0; row < num_rows(); ++row) {
    double sum = 0;
    transitions_.ForEachInRow(row, [&](uint64_t entry, uint64_t place) {
      transitions_.value(place) = probabilities[entry];
      sum += probabilities[entry];
    });
    if (!available(row)) continue;
    min_row_sum_ = std::min(min_row_sum_, sum);
    max_row_sum_ = std::max(max_row_sum_, sum);
  }
}

Vector TabularMdp::ExpectNext(const Vector& v, const ParallelFor& parallel_for) const {
  Vector result(num_rows());
  ForParts(parallel_for, NumSlices(num_states_), kSlicesInPart, [&](int64_t first, int64_t last) {
    MultiplyRows(transitions_, transitions_.values(), v.data(), {first, last}, result.data());
  });
  return result;
}

Vector TabularMdp::PushForward(const Vector& y, const ParallelFor& parallel_for) const {
  const auto push = [&](int64_t first_state, int64_t last_state, Vector& result) {
    result = Vector::Zero(num_states_);
    for (Eigen::Index row = first_state * num_actions_; row < last_state * num_actions_; ++row) {
      const double weight = y[row];
      if (weight == 0) continue;
      transitions_.ForEachInRow(row, [&](uint64_t, uint64_t place) {
        result[transitions_.column(place)] += transitions_.value(place) * weight;
      });
    }
  };
  Vector result;
  if (num_states_ < kStatesToShare) {
    push(0, num_states_, result);
    return result;
  }
  std::array<Vector, kShares> shares;
  parallel_for(kShares, [&](int share) {
    push(int64_t{num_states_} * share / kShares, int64_t{num_states_} * (share + 1) / kShares,
         shares[static_cast<size_t>(share)]);
  });
  result.resize(num_states_);
  ForParts(parallel_for, num_states_, kLanes * kSlicesInPart, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    result.segment(begin, n) = (shares[0].segment(begin, n) + shares[1].segment(begin, n)) +
                               (shares[2].segment(begin, n) + shares[3].segment(begin, n));
  });
  return result;
}

Vector TabularMdp::ExpectNext(std::span<const double> entries, const Vector& v) const {
  Vector result(num_rows());
  for (Eigen::Index row = 0; row < num_rows(); ++row) {
    double sum = 0;
    transitions_.ForEachInRow(
        row, [&](uint64_t entry, uint64_t place) { sum += entries[entry] * v[transitions_.column(place)]; });
    result[row] = sum;
  }
  return result;
}

Vector TabularMdp::PushForward(std::span<const double> entries, const Vector& y) const {
  Vector result = Vector::Zero(num_states_);
  for (Eigen::Index row = 0; row < num_rows(); ++row) {
    const double weight = y[row];
    if (weight == 0) continue;
    transitions_.ForEachInRow(
        row, [&](uint64_t entry, uint64_t place) { result[transitions_.column(place)] += entries[entry] * weight; });
  }
  return result;
}

Eigen::MatrixXd TabularMdp::DensePolicyTransitions(const Vector& pi) const {
  Eigen::MatrixXd result = Eigen::MatrixXd::Zero(num_states_, num_states_);
  for (int s = 0; s < num_states_; ++s) {
    for (Eigen::Index row = static_cast<Eigen::Index>(s) * num_actions_; row < (s + Eigen::Index{1}) * num_actions_;
         ++row) {
      transitions_.ForEachInRow(row, [&](uint64_t, uint64_t place) {
        result(s, transitions_.column(place)) += pi[row] * transitions_.value(place);
      });
    }
  }
  return result;
}

}  // namespace bilevel
