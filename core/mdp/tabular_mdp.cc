#include "core/mdp/tabular_mdp.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "core/base/fetch.h"
#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/mdp/row_kernels.h"
#include "core/mdp/scatter_shares.h"
#include "core/mdp/tabular_mdp_builder.h"

namespace bilevel {
namespace {

std::span<const double> Span(const Vector& v) { return {v.data(), static_cast<size_t>(v.size())}; }

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
  ASSIGN_OR_RETURN(TabularMdpBuilder builder,
                   TabularMdpBuilder::Start({.num_states = spec.num_states,
                                             .num_actions = spec.num_actions,
                                             .num_entries = spec.columns.size(),
                                             .has_termination_probability = spec.termination_probability.size() != 0,
                                             .has_initial_distribution = spec.initial_distribution.size() != 0,
                                             .has_available_actions = !spec.available_actions.empty(),
                                             .single_precision = spec.single_precision}));
  RETURN_IF_ERROR(builder.AddOffsets(spec.offsets));
  RETURN_IF_ERROR(builder.AddTerminationProbability(Span(spec.termination_probability)));
  RETURN_IF_ERROR(builder.AddInitialDistribution(Span(spec.initial_distribution)));
  RETURN_IF_ERROR(builder.AddAvailableActions(spec.available_actions));
  RETURN_IF_ERROR(builder.AddColumns(spec.columns));
  RETURN_IF_ERROR(builder.AddProbabilities(std::span<const double>(spec.probabilities)));
  return std::move(builder).Finish();
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
  double* const values = transitions_.ToDoubles();
  for (Eigen::Index row = 0; row < num_rows(); ++row) {
    double sum = 0;
    transitions_.ForEachInRow(row, [&](uint64_t entry, uint64_t place) {
      values[place] = probabilities[entry];
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
    MultiplyRows(transitions_, v.data(), {first, last}, result.data());
  });
  return result;
}

Vector TabularMdp::PushForward(const Vector& y, const ParallelFor& parallel_for) const {
  if (transitions_.layout() == ActionRows::Layout::kFull) {
    Vector result(num_states_);
    PushFullRows(transitions_, y.data(), result.data());
    return result;
  }
  const bool far = transitions_.runs() == nullptr && IsFar<double>(num_states_);
  // Taken here, since what other threads take stays with them.
  std::array<Vector, kMostScatterShares> shares;
  const int num_shares = NumScatterShares(num_states_);
  for (int share = 0; share < num_shares; ++share) shares[static_cast<size_t>(share)].resize(num_states_);
  ForScatterShares(parallel_for, num_states_, [&](int share, int64_t first_state, int64_t last_state) {
    Vector& result = shares[static_cast<size_t>(share)];
    result.setZero();
    transitions_.VisitValues([&](const auto* values) {
      for (int64_t s = first_state; s < last_state; ++s) {
        for (int64_t a = 0; a < num_actions_; ++a) {
          if (far && s + kFetchStatesAhead < num_states_) {
            transitions_.ForEachInRow(s + kFetchStatesAhead, a, [&](uint64_t, uint64_t place) {
              FetchToWrite(result.data() + transitions_.column(place));
            });
          }
          const double weight = y[s * num_actions_ + a];
          if (weight == 0) continue;
          transitions_.ForEachInRow(s, a, [&](uint64_t, uint64_t place) {
            result[transitions_.column(place)] += double{values[place]} * weight;
          });
        }
      }
    });
  });
  if (num_shares == 1) return std::move(shares[0]);
  ForParts(parallel_for, num_states_, kStatesInPart, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    shares[0].segment(begin, n) = (shares[0].segment(begin, n) + shares[1].segment(begin, n)) +
                                  (shares[2].segment(begin, n) + shares[3].segment(begin, n));
  });
  return std::move(shares[0]);
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

std::shared_ptr<const PolicyPattern> TabularMdp::SharePolicyPattern(const ParallelFor& parallel_for) const {
  std::shared_ptr<LazyPattern> lazy;
  {
    const std::lock_guard lock(kept_pattern_->mutex);
    if (kept_pattern_->lazy == nullptr) kept_pattern_->lazy = std::make_shared<LazyPattern>();
    lazy = kept_pattern_->lazy;
  }
  std::call_once(lazy->once, [&] {
    lazy->pattern = std::make_unique<const PolicyPattern>(transitions_, parallel_for);
    lazy->is_made = true;
  });
  return {lazy, lazy->pattern.get()};
}

double TabularMdp::PolicyPatternBytes() const {
  const std::lock_guard lock(kept_pattern_->mutex);
  const LazyPattern* const lazy = kept_pattern_->lazy.get();
  return lazy != nullptr && lazy->is_made ? lazy->pattern->Bytes() : 0;
}

void TabularMdp::ForgetPolicyPattern() const {
  std::shared_ptr<LazyPattern> last;
  const std::lock_guard lock(kept_pattern_->mutex);
  std::swap(last, kept_pattern_->lazy);
}

Eigen::MatrixXd TabularMdp::DensePolicyTransitions(const Vector& pi) const {
  Eigen::MatrixXd result;
  FormDensePolicyTransitions(pi, result);
  return result;
}

void TabularMdp::FormDensePolicyTransitions(const Vector& pi, Eigen::MatrixXd& result) const {
  result.resize(num_states_, num_states_);
  if (transitions_.layout() == ActionRows::Layout::kFull) {
    MixFullRows(transitions_, pi.data(), result.data());
    return;
  }
  result.setZero();
  for (int s = 0; s < num_states_; ++s) {
    for (Eigen::Index row = static_cast<Eigen::Index>(s) * num_actions_; row < (s + Eigen::Index{1}) * num_actions_;
         ++row) {
      transitions_.ForEachInRow(row, [&](uint64_t, uint64_t place) {
        result(s, transitions_.column(place)) += pi[row] * transitions_.value(place);
      });
    }
  }
}

}  // namespace bilevel
