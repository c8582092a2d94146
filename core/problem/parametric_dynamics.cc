#include "core/problem/parametric_dynamics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/floating_point.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

constexpr double kGroupSumTolerance = 1e-9;
// A theta below this share of the largest contributes nothing that double precision can see.
constexpr double kVanishing = 1e-280;

// Which softmax group of positive scale each theta belongs to; -1: none.
std::vector<int> SimplexGroups(const ParameterMap& map) {
  std::vector<int> result;
  for (size_t g = 0; g < map.groups().size(); ++g) {
    const ParameterGroup& group = map.groups()[g];
    const bool simplex = group.kind == MapKind::kSoftmax && group.scale > 0;
    result.insert(result.end(), static_cast<size_t>(group.size), simplex ? static_cast<int>(g) : -1);
  }
  result.resize(static_cast<size_t>(map.num_parameters()), -1);
  return result;
}

absl::Status CheckShape(const SparseRows& features, Eigen::Index rows, const char* noun, int n) {
  if (features.rows() == rows && features.cols() == n) return absl::OkStatus();
  return FieldError("", absl::StrCat("is ", features.rows(), " x ", features.cols(), "; must be ", noun,
                                     " x num_parameters = ", rows, " x ", n));
}

// name: what a row of the features stands for.
absl::Status CheckEntries(const SparseRows& features, const std::vector<int>& groups,
                          const std::function<std::string(Eigen::Index)>& name) {
  for (Eigen::Index row = 0; row < features.outerSize(); ++row) {
    for (SparseRows::InnerIterator entry(features, row); entry; ++entry) {
      const auto where = [&] { return absl::StrCat("row ", row, name(row), ", column ", entry.col()); };
      if (!(entry.value() >= 0) || !std::isfinite(entry.value())) {
        return FieldError("", absl::StrCat(where(), " is ", ToText(entry.value()), "; must be finite and >= 0"));
      }
      if (groups[static_cast<size_t>(entry.col())] < 0) {
        return FieldError("", absl::StrCat(where(),
                                           " belongs to no MAP_SOFTMAX parameter group of positive scale; only "
                                           "those keep probabilities"));
      }
    }
  }
  return absl::OkStatus();
}

// The sum of one distribution's features for each j, and what becomes of it whatever theta is.
class Distribution {
 public:
  Distribution(const ParameterMap& map, const std::vector<int>& groups)
      : map_(map), groups_(groups), sums_(Vector::Zero(map.num_parameters())) {}

  void Add(const SparseRows& features, Eigen::Index row) {
    for (SparseRows::InnerIterator entry(features, row); entry; ++entry) {
      if (entry.value() == 0) continue;
      if (sums_[entry.col()] == 0) columns_.push_back(entry.col());
      sums_[entry.col()] += entry.value();
    }
  }

  bool empty() const { return columns_.empty(); }

  // What keeps the total from being `expected` at every x; empty when nothing does. Forgets what was added.
  std::string Finish(double expected) {
    std::sort(columns_.begin(), columns_.end());
    double total = 0;
    std::string fault;
    for (size_t i = 0; i < columns_.size() && fault.empty();) {
      const int g = groups_[static_cast<size_t>(columns_[i])];
      const ParameterGroup& group = map_.groups()[static_cast<size_t>(g)];
      double smallest = std::numeric_limits<double>::infinity(), largest = 0;
      size_t end = i;
      for (; end < columns_.size() && groups_[static_cast<size_t>(columns_[end])] == g; ++end) {
        smallest = std::min(smallest, sums_[columns_[end]]);
        largest = std::max(largest, sums_[columns_[end]]);
      }
      if (end - i < static_cast<size_t>(group.size)) smallest = 0;
      if (group.scale * (largest - smallest) > kGroupSumTolerance) {
        fault = absl::StrCat("has sums between ", ToText(smallest), " and ", ToText(largest),
                             " over the parameters of group ", g,
                             "; they must be equal for probabilities to sum to one at every x");
      }
      total += group.scale * largest;
      i = end;
    }
    if (fault.empty() && std::abs(total - expected) > kGroupSumTolerance) {
      fault = absl::StrCat("sums to ", ToText(total), " at every x; must be ", ToText(expected), " +- ",
                           ToText(kGroupSumTolerance));
    }
    for (const Eigen::Index column : columns_) sums_[column] = 0;
    columns_.clear();
    return fault;
  }

 private:
  const ParameterMap& map_;
  const std::vector<int>& groups_;
  Vector sums_;
  std::vector<Eigen::Index> columns_;
};

// Which transition an entry is; unavailable rows have none.
std::string NameOfEntry(const TabularMdp& mdp, Eigen::Index entry) {
  std::string name;
  mdp.ForEachEntry([&](Eigen::Index row, uint64_t k, uint32_t next, double) {
    if (k != static_cast<uint64_t>(entry)) return;
    name = absl::StrCat(" (s=", row / mdp.num_actions(), ", a=", row % mdp.num_actions(), ", next state ", next, ")");
  });
  return name;
}

// Whose row an entry is; unavailable rows have none.
std::vector<Eigen::Index> RowsOfEntries(const TabularMdp& mdp) {
  std::vector<Eigen::Index> rows(mdp.num_entries(), -1);
  mdp.ForEachEntry([&](Eigen::Index row, uint64_t k, uint32_t, double) { rows[k] = row; });
  return rows;
}

absl::Status CheckTransitions(const TabularMdp& mdp, const ParameterMap& map, const std::vector<int>& groups,
                              const SparseRows& features, const std::vector<Eigen::Index>& rows,
                              std::vector<uint8_t>& moves) {
  Distribution distribution(map, groups);
  const std::vector<double> probabilities = mdp.Probabilities();
  const size_t entries = rows.size();
  for (size_t begin = 0; begin < entries;) {
    size_t end = begin;
    double sum = 0;
    for (; end < entries && rows[end] == rows[begin]; ++end) {
      if (rows[begin] >= 0) distribution.Add(features, static_cast<Eigen::Index>(end));
      sum += probabilities[end];
    }
    if (!distribution.empty()) {
      std::fill(moves.begin() + static_cast<int64_t>(begin), moves.begin() + static_cast<int64_t>(end), uint8_t{1});
      if (const std::string fault = distribution.Finish(sum); !fault.empty()) {
        return FieldError("", absl::StrCat("row ", rows[begin], " (s=", rows[begin] / mdp.num_actions(),
                                           ", a=", rows[begin] % mdp.num_actions(), ") ", fault));
      }
    }
    begin = end;
  }
  return absl::OkStatus();
}

double LargestRow(const SparseRows& features) {
  int64_t largest = 0;
  for (Eigen::Index row = 0; row < features.outerSize(); ++row) {
    largest = std::max(largest, features.outerIndexPtr()[row + 1] - features.outerIndexPtr()[row]);
  }
  return static_cast<double>(largest);
}

bool Present(const SparseRows& features) { return features.rows() != 0 || features.cols() != 0; }

}  // namespace

absl::StatusOr<ParametricDynamics> ParametricDynamics::Create(const TabularMdp& mdp, const ParameterMap& map,
                                                              ParametricDynamicsSpec spec) {
  const int n = map.num_parameters();
  const std::vector<int> groups = SimplexGroups(map);
  ParametricDynamics dynamics;
  dynamics.used_ = Vector::Zero(n);
  if (Present(spec.transitions)) {
    const auto check = [&]() -> absl::Status {
      RETURN_IF_ERROR(
          CheckShape(spec.transitions, static_cast<Eigen::Index>(mdp.num_entries()), "stored transitions", n));
      spec.transitions.makeCompressed();
      RETURN_IF_ERROR(CheckEntries(spec.transitions, groups, [&](Eigen::Index k) { return NameOfEntry(mdp, k); }));
      const std::vector<Eigen::Index> rows = RowsOfEntries(mdp);
      dynamics.moves_.assign(rows.size(), 0);
      return CheckTransitions(mdp, map, groups, spec.transitions, rows, dynamics.moves_);
    };
    if (absl::Status status = check(); !status.ok()) return WithField("transition_features", status);
    dynamics.transitions_ = std::move(spec.transitions);
  }
  if (Present(spec.initial)) {
    const auto check = [&]() -> absl::Status {
      RETURN_IF_ERROR(CheckShape(spec.initial, mdp.num_states(), "num_states", n));
      spec.initial.makeCompressed();
      RETURN_IF_ERROR(CheckEntries(spec.initial, groups, [](Eigen::Index s) { return absl::StrCat(" (s=", s, ")"); }));
      Distribution distribution(map, groups);
      for (Eigen::Index s = 0; s < mdp.num_states(); ++s) distribution.Add(spec.initial, s);
      const std::string fault = distribution.Finish(1);
      return fault.empty() ? absl::OkStatus() : FieldError("", fault);
    };
    if (absl::Status status = check(); !status.ok()) return WithField("initial_features", status);
    dynamics.initial_ = std::move(spec.initial);
  }
  for (const SparseRows* features : {&dynamics.transitions_, &dynamics.initial_}) {
    dynamics.max_row_features_ = std::max(dynamics.max_row_features_, LargestRow(*features));
    Vector in_column = Vector::Zero(n);
    for (Eigen::Index row = 0; row < features->outerSize(); ++row) {
      for (SparseRows::InnerIterator entry(*features, row); entry; ++entry) in_column[entry.col()] += 1;
    }
    if (n > 0) dynamics.max_column_features_ = std::max(dynamics.max_column_features_, in_column.maxCoeff());
    dynamics.used_ = (in_column.array() > 0).select(1.0, dynamics.used_);
  }
  return dynamics;
}

void ParametricDynamics::Move(const Vector& theta, const Vector& theta_rounding, TabularMdp& mdp) const {
  std::vector<double> probabilities = mdp.Probabilities();
  if (!moves_.empty()) {
    const Vector moved = transitions_ * theta;
    for (size_t k = 0; k < probabilities.size(); ++k) {
      if (moves_[k] != 0) probabilities[k] = moved[static_cast<Eigen::Index>(k)];
    }
  }
  Vector initial = initial_.rows() != 0 ? Vector(initial_ * theta) : mdp.initial_distribution();
  double relative = 0;
  if (theta.size() != 0) {
    const double vanishing = kVanishing * theta.cwiseAbs().maxCoeff() + std::numeric_limits<double>::min();
    relative = (used_.array() * theta_rounding.array() / theta.array().abs().max(vanishing)).maxCoeff() / kUnitRoundoff;
  }
  mdp.Move(probabilities, std::move(initial), relative + max_row_features_ + 2);
}

std::vector<double> ParametricDynamics::TransitionsTangent(const Vector& theta_tangent) const {
  if (moves_.empty()) return {};
  Vector tangent = transitions_ * theta_tangent;
  for (size_t k = 0; k < moves_.size(); ++k) {
    if (moves_[k] == 0) tangent[static_cast<Eigen::Index>(k)] = 0;
  }
  return {tangent.begin(), tangent.end()};
}

Vector ParametricDynamics::InitialTangent(const Vector& theta_tangent) const {
  return initial_.rows() == 0 ? Vector() : Vector(initial_ * theta_tangent);
}

void ParametricDynamics::AddPullback(const TabularMdp& mdp, double weight, const EnvironmentDerivative& derivative,
                                     Vector& theta_gradient) const {
  if (!moves_.empty() && derivative.row.size() != 0) {
    Vector entries = Vector::Zero(static_cast<Eigen::Index>(moves_.size()));
    mdp.ForEachEntry([&](Eigen::Index row, uint64_t k, uint32_t column, double) {
      if (moves_[k] != 0) {
        entries[static_cast<Eigen::Index>(k)] = weight * derivative.row[row] * derivative.column[column];
      }
    });
    theta_gradient += transitions_.transpose() * entries;
  }
  if (initial_.rows() != 0 && derivative.initial.size() != 0) {
    theta_gradient += weight * (initial_.transpose() * derivative.initial);
  }
}

void ParametricDynamics::AddPullbackTangent(const TabularMdp& mdp, double weight,
                                            const EnvironmentDerivative& derivative,
                                            const EnvironmentDerivative& tangent, Vector& theta_gradient) const {
  AddPullback(mdp, weight, {tangent.row, derivative.column, tangent.initial}, theta_gradient);
  AddPullback(mdp, weight, {derivative.row, tangent.column, {}}, theta_gradient);
}

void ParametricDynamics::AddInfluence(Vector& theta_influence) const {
  for (const SparseRows* features : {&transitions_, &initial_}) {
    if (features->rows() != 0) theta_influence += features->transpose() * Vector::Ones(features->rows());
  }
}

void ParametricDynamics::AddPullbackRadius(const TabularMdp& mdp, double weight,
                                           const EnvironmentDerivative& derivative, const EnvironmentDerivative& radius,
                                           Vector& theta_radius) const {
  const double rounding = (max_column_features_ + 8) * kUnitRoundoff;
  weight = std::abs(weight);
  if (!moves_.empty() && derivative.row.size() != 0) {
    Vector entries = Vector::Zero(static_cast<Eigen::Index>(moves_.size()));
    mdp.ForEachEntry([&](Eigen::Index row, uint64_t k, uint32_t column, double) {
      if (moves_[k] == 0) return;
      const double a = std::abs(derivative.row[row]), b = std::abs(derivative.column[column]);
      const double da = radius.row[row], db = radius.column[column];
      entries[static_cast<Eigen::Index>(k)] = weight * (a * db + da * (b + db) + rounding * (a + da) * (b + db));
    });
    theta_radius += transitions_.transpose() * entries;
  }
  if (initial_.rows() != 0 && derivative.initial.size() != 0) {
    theta_radius += weight * (initial_.transpose() *
                              (radius.initial + rounding * (derivative.initial.cwiseAbs() + radius.initial)));
  }
}

}  // namespace bilevel
