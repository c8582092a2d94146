#include "core/solvers/search_space.h"

#include <algorithm>
#include <cmath>

namespace bilevel {
namespace {

// Shares below this look alike.
constexpr double kIndistinctShare = 1e-5;

SearchSpace::Scale ScaleOf(MapKind kind) {
  if (kind == MapKind::kSoftmax) return SearchSpace::Scale::kShares;
  if (kind == MapKind::kSigmoid || kind == MapKind::kTanh) return SearchSpace::Scale::kSwitch;
  return SearchSpace::Scale::kNumbers;
}

}  // namespace

void SearchSpace::Add(Form form, Scale scale, Eigen::Index x_first, Eigen::Index x_size, double total, const Box* box) {
  const Eigen::Index size = x_size + (form == Form::kBudget ? 1 : 0);
  parts_.push_back({form, x_first, x_size, z_size_, size, total, box});
  segments_.push_back({scale, z_size_, size});
  z_size_ += size;
}

void SearchSpace::AddPlain(Eigen::Index first, Eigen::Index size) {
  if (problem_.map.groups().empty()) {
    Add(Form::kPlain, Scale::kNumbers, first, size);
    return;
  }
  Eigen::Index begin = 0;
  for (const ParameterGroup& group : problem_.map.groups()) {
    const Eigen::Index low = std::max(first, begin), high = std::min(first + size, begin + group.size);
    if (low < high) Add(Form::kPlain, ScaleOf(group.kind), low, high - low);
    begin += group.size;
  }
}

SearchSpace::SearchSpace(const BilevelProblem& problem) : problem_(problem) {
  if (problem.feasible_set.blocks().empty()) AddPlain(0, problem.num_parameters);
  Eigen::Index first = 0;
  for (const FeasibleBlock& block : problem.feasible_set.blocks()) {
    if (const Simplex* simplex = std::get_if<Simplex>(&block.set)) {
      Add(Form::kSimplex, Scale::kShares, first, block.size, simplex->total);
    } else if (const Budget* budget = std::get_if<Budget>(&block.set)) {
      Add(Form::kBudget, Scale::kShares, first, block.size, budget->total);
    } else if (const Box* box = std::get_if<Box>(&block.set);
               box != nullptr && box->lower.allFinite() && box->upper.allFinite()) {
      Add(Form::kInterval, Scale::kSwitch, first, block.size, 0, box);
    } else {
      AddPlain(first, block.size);
    }
    first += block.size;
  }
}

Vector SearchSpace::ToCoordinates(const Vector& x) const {
  Vector z(z_size_);
  for (const Part& part : parts_) {
    const auto from = x.segment(part.x_first, part.x_size);
    auto to = z.segment(part.z_first, part.z_size);
    switch (part.form) {
      case Form::kPlain:
        to = from;
        break;
      case Form::kBudget:
        to[part.x_size] = std::log(std::max(1 - from.sum() / part.total, 0.0) + kIndistinctShare);
        [[fallthrough]];
      case Form::kSimplex:
        to.head(part.x_size) = (from.array().max(0.0) / part.total + kIndistinctShare).log();
        break;
      case Form::kInterval:
        for (Eigen::Index i = 0; i < part.x_size; ++i) {
          const double width = part.box->upper[i] - part.box->lower[i];
          const double place = width > 0 ? (from[i] - part.box->lower[i]) / width : 0.5;
          const double inside = std::clamp(place, kIndistinctShare, 1 - kIndistinctShare);
          to[i] = std::log(inside / (1 - inside));
        }
        break;
    }
  }
  return z;
}

Vector SearchSpace::ToParameters(const Vector& z) const {
  Vector x(problem_.num_parameters);
  for (const Part& part : parts_) {
    const Vector from = z.segment(part.z_first, part.z_size);
    auto to = x.segment(part.x_first, part.x_size);
    switch (part.form) {
      case Form::kPlain:
        to = from;
        break;
      case Form::kBudget:
      case Form::kSimplex:
        to = part.total * Softmax(from).head(part.x_size);
        break;
      case Form::kInterval:
        to = part.box->lower.array() + (part.box->upper - part.box->lower).array() / (1 + (-from.array()).exp());
        break;
    }
  }
  return problem_.feasible_set.Project(x);
}

}  // namespace bilevel
