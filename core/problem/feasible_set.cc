#include "core/problem/feasible_set.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

absl::Status CheckBox(const Box& box, int size) {
  if (box.lower.size() != size) {
    return FieldError("box.lower", absl::StrCat("has ", box.lower.size(), " entries; must have 1 or size = ", size));
  }
  if (box.upper.size() != size) {
    return FieldError("box.upper", absl::StrCat("has ", box.upper.size(), " entries; must have 1 or size = ", size));
  }
  for (int i = 0; i < size; ++i) {
    if (std::isnan(box.lower[i]) || box.lower[i] == HUGE_VAL) {
      return FieldError("box.lower",
                        absl::StrCat("entry ", i, " is ", ToText(box.lower[i]), "; must be a number or -infinity"));
    }
    if (std::isnan(box.upper[i]) || box.upper[i] == -HUGE_VAL) {
      return FieldError("box.upper",
                        absl::StrCat("entry ", i, " is ", ToText(box.upper[i]), "; must be a number or +infinity"));
    }
    if (box.lower[i] > box.upper[i]) {
      return FieldError("box.lower", absl::StrCat("entry ", i, " is ", ToText(box.lower[i]),
                                                  "; must be <= upper = ", ToText(box.upper[i])));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPositive(std::string_view field, double value) {
  if (value > 0 && std::isfinite(value)) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", ToText(value), "; must be finite and > 0"));
}

absl::Status CheckBall(const Ball& ball, int size) {
  if (ball.center.size() != size) {
    return FieldError("ball.center",
                      absl::StrCat("has ", ball.center.size(), " entries; must have 1 or size = ", size));
  }
  for (int i = 0; i < size; ++i) {
    if (!std::isfinite(ball.center[i])) {
      return FieldError("ball.center", absl::StrCat("entry ", i, " is ", ToText(ball.center[i]), "; must be finite"));
    }
  }
  return CheckPositive("ball.radius", ball.radius);
}

absl::Status CheckSet(const FeasibleBlock& block) {
  if (const Box* box = std::get_if<Box>(&block.set)) return CheckBox(*box, block.size);
  if (const Simplex* simplex = std::get_if<Simplex>(&block.set)) return CheckPositive("simplex.total", simplex->total);
  if (const Ball* ball = std::get_if<Ball>(&block.set)) return CheckBall(*ball, block.size);
  if (const Budget* budget = std::get_if<Budget>(&block.set)) return CheckPositive("budget.total", budget->total);
  return absl::OkStatus();
}

// Held, Wolfe, Crowder (1974): x - shift, clipped at zero, with the shift that makes it sum to total.
Vector ProjectOntoSimplex(const Vector& x, double total) {
  // A constant changes nothing, and sums of what is near 0 keep their digits.
  const Vector y = x.array() - x.maxCoeff();
  std::vector<double> sorted(y.begin(), y.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  double sum = 0, shift = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    sum += sorted[i];
    const double candidate = (sum - total) / static_cast<double>(i + 1);
    if (sorted[i] <= candidate) break;
    shift = candidate;
  }
  return (y.array() - shift).max(0.0);
}

Vector SoftThreshold(const Vector& x, double weight) {
  if (weight == 0) return x;
  return x.unaryExpr([weight](double v) { return std::copysign(std::max(std::abs(v) - weight, 0.0), v); });
}

// With the multiplier mu of 1/2 (|u - c|^2 - r^2) <= 0 and t = 1/(1 + mu),
//
//   u(t) = soft(c + t (x - c), t weight),   0 < t <= 1,   |u(t) - c| grows with t from 0.
//
// An entry of u(t) - c is t (x - c -+ weight), or -c where u is 0, and changes from one to the other at
// t = c / (c - x +- weight). Between two such points |u - c|^2 = t^2 A + B, which is solved for t.
Vector ProxOntoBall(const Vector& x, const Ball& ball, double weight) {
  const Vector& c = ball.center;
  const Vector from_center = x - c;
  const auto u = [&](double t) { return SoftThreshold(t == 1 ? x : Vector(c + t * from_center), t * weight); };
  const auto inside = [&](double t) { return (u(t) - c).stableNorm() <= ball.radius; };
  if (weight == 0) return inside(1) ? x : Vector(c + from_center * (ball.radius / from_center.stableNorm()));
  if (inside(1)) return u(1);
  std::vector<double> breaks;
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    for (const double side : {weight, -weight}) {
      const double t = c[i] / (side - from_center[i]);
      if (t > 0 && t < 1) breaks.push_back(t);
    }
  }
  std::sort(breaks.begin(), breaks.end());
  const auto beyond = std::partition_point(breaks.begin(), breaks.end(), inside);
  const double low = beyond == breaks.begin() ? 0 : *(beyond - 1), high = beyond == breaks.end() ? 1 : *beyond;
  const Vector between = u(low + (high - low) / 2);
  double moving = 0, resting = 0;  // A, B over r^2
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    if (between[i] == 0) {
      resting += c[i] / ball.radius * (c[i] / ball.radius);
    } else {
      const double slope = (from_center[i] - std::copysign(weight, between[i])) / ball.radius;
      moving += slope * slope;
    }
  }
  return u(moving > 0 ? std::clamp(std::sqrt(std::max(1 - resting, 0.0) / moving), low, high) : high);
}

// On x >= 0 the 1-norm is the sum.
Vector ProxOntoBudget(const Vector& x, const Budget& budget, double weight) {
  const Vector within = (x.array() - weight).max(0.0);
  return within.sum() <= budget.total ? within : ProjectOntoSimplex(x, budget.total);
}

Vector ProxOnto(const FeasibleBlock& block, const Vector& x, double weight) {
  if (const Simplex* simplex = std::get_if<Simplex>(&block.set)) return ProjectOntoSimplex(x, simplex->total);
  if (const Ball* ball = std::get_if<Ball>(&block.set)) return ProxOntoBall(x, *ball, weight);
  if (const Budget* budget = std::get_if<Budget>(&block.set)) return ProxOntoBudget(x, *budget, weight);
  Vector shrunk = SoftThreshold(x, weight);
  if (const Box* box = std::get_if<Box>(&block.set)) return shrunk.cwiseMax(box->lower).cwiseMin(box->upper);
  return shrunk;
}

}  // namespace

absl::StatusOr<FeasibleSet> FeasibleSet::Create(int num_parameters, std::vector<FeasibleBlock> blocks) {
  int64_t total = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const FeasibleBlock& block = blocks[i];
    const std::string path = absl::StrCat("[", i, "]");
    if (block.size < 1) return FieldError(path + ".size", absl::StrCat("is ", block.size, "; must be >= 1"));
    total += block.size;
    if (absl::Status status = CheckSet(block); !status.ok()) return WithField(path, status);
  }
  if (!blocks.empty() && total != num_parameters) {
    return FieldError("", absl::StrCat("sizes sum to ", total, "; must sum to num_parameters = ", num_parameters));
  }
  FeasibleSet set;
  set.blocks_ = std::move(blocks);
  return set;
}

bool FeasibleSet::unconstrained() const {
  return std::all_of(blocks_.begin(), blocks_.end(),
                     [](const FeasibleBlock& block) { return std::holds_alternative<Unconstrained>(block.set); });
}

Vector FeasibleSet::Prox(const Vector& x, double weight) const {
  if (blocks_.empty()) return SoftThreshold(x, weight);
  Vector result(x.size());
  Eigen::Index first = 0;
  for (const FeasibleBlock& block : blocks_) {
    result.segment(first, block.size) = ProxOnto(block, x.segment(first, block.size), weight);
    first += block.size;
  }
  return result;
}

}  // namespace bilevel
