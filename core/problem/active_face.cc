#include "core/problem/active_face.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace bilevel {
namespace {

// What is nearer to a constraint, relative to its size, lies on it.
constexpr double kOnFace = 1e-9;

bool At(double x, double bound) {
  return std::isfinite(bound) && std::abs(x - bound) <= kOnFace * std::max(1.0, std::abs(bound));
}

double Shrink(double v, double weight) { return std::copysign(std::max(std::abs(v) - weight, 0.0), v); }

}  // namespace

struct ActiveFace::Part {
  Eigen::Index first;
  Vector x;
  Vector gradient;
  double l1;
};

ActiveFace::ActiveFace(const FeasibleSet& set, const Vector& x, const Vector& gradient, double l1)
    : fixed_(static_cast<size_t>(x.size()), false), curvature_(Vector::Zero(x.size())) {
  const size_t num_blocks = set.blocks().size();
  multipliers_ = {Vector::Zero(x.size()), Vector::Zero(x.size()), Vector::Zero(static_cast<Eigen::Index>(num_blocks))};
  if (num_blocks == 0) HoldCoordinates({0, x, gradient, l1}, {static_cast<int>(x.size()), Unconstrained{}});
  Eigen::Index first = 0;
  for (size_t b = 0; b < num_blocks; ++b) {
    const FeasibleBlock& block = set.blocks()[b];
    const Part part{first, x.segment(first, block.size), gradient.segment(first, block.size), l1};
    double& limit = multipliers_.limit[static_cast<Eigen::Index>(b)];
    if (const Simplex* simplex = std::get_if<Simplex>(&block.set)) {
      limit = HoldShares(part, simplex->total, false);
    } else if (const Budget* budget = std::get_if<Budget>(&block.set)) {
      limit = HoldShares(part, budget->total, true);
    } else if (const Ball* ball = std::get_if<Ball>(&block.set)) {
      limit = HoldSphere(part, *ball);
    } else {
      HoldCoordinates(part, block);
    }
    first += block.size;
  }
}

// One-sided derivatives of F along +e_i and -e_i decide.
void ActiveFace::HoldCoordinates(const Part& part, const FeasibleBlock& block) {
  const Box* box = std::get_if<Box>(&block.set);
  for (Eigen::Index i = 0; i < part.x.size(); ++i) {
    const double x = part.x[i], g = part.gradient[i];
    const double up = g + (x >= 0 ? part.l1 : -part.l1), down = -g + (x <= 0 ? part.l1 : -part.l1);
    const bool lowest = box != nullptr && At(x, box->lower[i]), highest = box != nullptr && At(x, box->upper[i]);
    const bool kink = x == 0 && part.l1 > 0;
    const Eigen::Index at = part.first + i;
    fixed_[static_cast<size_t>(at)] = (lowest || highest || kink) && (highest || up >= 0) && (lowest || down >= 0);
    settled_ &= fixed_[static_cast<size_t>(at)] || !(lowest || highest || kink);
    if (lowest) multipliers_.lower[at] = std::max(-down, 0.0);
    if (highest) multipliers_.upper[at] = std::min(up, 0.0);
  }
}

// d_i = nu - g_i where x_i > 0 and max(nu - g_i, 0) where x_i = 0; nu makes them sum to zero, and is 0 for a budget
// that is not spent or would rather not be. Returns nu.
double ActiveFace::HoldShares(const Part& part, double total, bool may_keep) {
  const Vector g = part.gradient.array() + part.l1;  // on x >= 0 the 1-norm is the sum
  double sum = 0, count = 0;
  std::vector<double> empty;
  for (Eigen::Index i = 0; i < g.size(); ++i) {
    if (part.x[i] <= kOnFace * total) {
      empty.push_back(g[i]);
    } else {
      sum += g[i];
      count += 1;
    }
  }
  std::sort(empty.begin(), empty.end());
  double nu = count > 0 ? sum / count : std::numeric_limits<double>::infinity();
  for (const double candidate : empty) {
    if (candidate >= nu) break;
    sum += candidate;
    count += 1;
    nu = sum / count;
  }
  const bool full = !may_keep || part.x.sum() >= total * (1 - kOnFace), spent = full && (!may_keep || nu < 0);
  if (!spent) nu = 0;
  settled_ &= spent == full;
  for (Eigen::Index i = 0; i < g.size(); ++i) {
    fixed_[static_cast<size_t>(part.first + i)] = part.x[i] <= kOnFace * total && g[i] >= nu;
    settled_ &= fixed_[static_cast<size_t>(part.first + i)] || part.x[i] > kOnFace * total;
  }
  if (spent) AddNormal(part.first, Vector::Ones(g.size()), 1);
  return nu;
}

// With n = x - center, d_i(mu) = -(g_i + l1 sign x_i + mu n_i), or -soft(g_i + mu n_i, l1) where x_i = 0. n^T d(mu)
// falls, linearly between the mu at which an entry of d reaches or leaves zero; mu = 0 where n^T d(0) <= 0, else its
// root. Returns d F / d radius.
double ActiveFace::HoldSphere(const Part& part, const Ball& ball) {
  const Vector& g = part.gradient;
  const Vector normal = part.x - ball.center;
  const auto direction = [&](double mu, Eigen::Index i) {
    const double slope = g[i] + mu * normal[i];
    return part.x[i] == 0 ? -Shrink(slope, part.l1) : -(slope + std::copysign(part.l1, part.x[i]));
  };
  const auto outward = [&](double mu) {
    double sum = 0;
    for (Eigen::Index i = 0; i < g.size(); ++i) sum += normal[i] * direction(mu, i);
    return sum;
  };
  double mu = 0;
  const bool outermost = normal.norm() >= ball.radius * (1 - kOnFace);
  if (outermost && outward(0) > 0) {
    std::vector<double> breaks = {0};
    for (Eigen::Index i = 0; i < g.size(); ++i) {
      if (part.x[i] != 0 || normal[i] == 0) continue;
      for (const double side : {part.l1, -part.l1}) {
        if (const double at = (side - g[i]) / normal[i]; at > 0) breaks.push_back(at);
      }
    }
    std::sort(breaks.begin(), breaks.end());
    const auto beyond = std::partition_point(breaks.begin(), breaks.end(), [&](double at) { return outward(at) > 0; });
    const double low = *(beyond - 1), inside = beyond == breaks.end() ? 2 * low + 1 : low + (*beyond - low) / 2;
    double fall = 0;
    for (Eigen::Index i = 0; i < g.size(); ++i) {
      if (direction(inside, i) != 0 || part.x[i] != 0) fall += normal[i] * normal[i];
    }
    if (fall > 0) mu = low + outward(low) / fall;
    if (fall == 0) mu = low;
  }
  for (Eigen::Index i = 0; i < g.size(); ++i) {
    fixed_[static_cast<size_t>(part.first + i)] =
        part.x[i] == 0 && part.l1 > 0 && std::abs(g[i] + mu * normal[i]) <= part.l1;
    settled_ &= fixed_[static_cast<size_t>(part.first + i)] || part.x[i] != 0 || part.l1 == 0;
  }
  settled_ &= outermost == (mu > 0);
  if (mu > 0) AddNormal(part.first, normal, ball.radius);
  curvature_.segment(part.first, g.size()).setConstant(mu);
  return -mu * ball.radius;
}

void ActiveFace::AddNormal(Eigen::Index first, Vector normal, double slope) {
  for (Eigen::Index i = 0; i < normal.size(); ++i) {
    if (fixed_[static_cast<size_t>(first + i)]) normal[i] = 0;
  }
  if (const double length = normal.norm(); length > 0) normals_.push_back({first, normal / length, slope / length});
}

Vector ActiveFace::FollowLimit(Eigen::Index first) const {
  Vector result = Vector::Zero(curvature_.size());
  for (const Normal& normal : normals_) {
    if (normal.first == first) result.segment(first, normal.unit.size()) = normal.rate * normal.unit;
  }
  return result;
}

Vector ActiveFace::Project(const Vector& v) const {
  Vector result = v;
  for (Eigen::Index i = 0; i < v.size(); ++i) {
    if (fixed_[static_cast<size_t>(i)]) result[i] = 0;
  }
  for (const auto& [first, unit, rate] : normals_) {
    result.segment(first, unit.size()) -= unit * unit.dot(result.segment(first, unit.size()));
  }
  return result;
}

int ActiveFace::dimension() const {
  return static_cast<int>(std::count(fixed_.begin(), fixed_.end(), false)) - static_cast<int>(normals_.size());
}

}  // namespace bilevel
