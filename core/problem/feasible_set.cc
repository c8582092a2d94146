#include "core/problem/feasible_set.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
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

// Held, Wolfe, Crowder (1974): x - shift, clipped at zero, with the shift that makes it sum to total.
Vector ProjectOntoSimplex(const Vector& x, double total) {
  std::vector<double> sorted(x.begin(), x.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  double sum = 0, shift = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    sum += sorted[i];
    const double candidate = (sum - total) / static_cast<double>(i + 1);
    if (sorted[i] <= candidate) break;
    shift = candidate;
  }
  return (x.array() - shift).max(0.0);
}

Vector SoftThreshold(const Vector& x, double weight) {
  return x.unaryExpr([weight](double v) { return std::copysign(std::max(std::abs(v) - weight, 0.0), v); });
}

}  // namespace

absl::StatusOr<FeasibleSet> FeasibleSet::Create(int num_parameters, std::vector<FeasibleBlock> blocks) {
  int64_t total = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const FeasibleBlock& block = blocks[i];
    const std::string path = absl::StrCat("[", i, "]");
    if (block.size < 1) return FieldError(path + ".size", absl::StrCat("is ", block.size, "; must be >= 1"));
    total += block.size;
    if (const Box* box = std::get_if<Box>(&block.set)) {
      if (absl::Status status = CheckBox(*box, block.size); !status.ok()) return WithField(path, status);
    } else if (const Simplex* simplex = std::get_if<Simplex>(&block.set)) {
      if (!(simplex->total > 0) || !std::isfinite(simplex->total)) {
        return FieldError(path + ".simplex.total",
                          absl::StrCat("is ", ToText(simplex->total), "; must be finite and > 0"));
      }
    }
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
  if (blocks_.empty()) return weight == 0 ? x : SoftThreshold(x, weight);
  Vector result = x;
  Eigen::Index first = 0;
  for (const FeasibleBlock& block : blocks_) {
    const Vector part = x.segment(first, block.size);
    if (const Simplex* simplex = std::get_if<Simplex>(&block.set)) {
      result.segment(first, block.size) = ProjectOntoSimplex(part, simplex->total);
    } else {
      Vector shrunk = weight == 0 ? part : SoftThreshold(part, weight);
      if (const Box* box = std::get_if<Box>(&block.set)) shrunk = shrunk.cwiseMax(box->lower).cwiseMin(box->upper);
      result.segment(first, block.size) = shrunk;
    }
    first += block.size;
  }
  return result;
}

}  // namespace bilevel
