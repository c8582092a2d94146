#include "core/mdp/majorant.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/base/floating_point.h"

namespace bilevel {
namespace {

// Solves begin at this relative tolerance and go on, this much tighter each time, while corrections add more to a bound
// than they may.
constexpr double kLoosest = 0.1, kTightening = 0.1, kTightest = 1e-5;
constexpr double kWorthCorrecting = 1;
// Visits are solved for until their image is this much of what it approximates, everywhere.
constexpr double kVisitsImage = 0.3;
// Once the 1-norm of their residual is below this, no image can rise by more than that.
constexpr double kFineVisits = 1e-2;
// A series is given up when it has no end after so many products, or none in sight after the first few.
constexpr int kMostTerms = 24, kFirstTerms = 8;
constexpr double kInSight = 1.3;
// How much its end may add to a bound.
constexpr double kWorthEnding = 0.5;
constexpr double kPadding = 1 + 1e-12;  // covers the roundings of the correction itself

// w, or w scaled up, and so much of `corrector` that the image of the sum reaches g.
struct Correction {
  double scale = 1, share = 0;
  double total = 0;  // the sum of what comes out
};

Correction FindCorrection(const Vector& g, const Vector& image, const Vector& w, const Vector& corrector,
                          double corrector_image) {
  constexpr double kScales[] = {1, 1.1, 1.3};
  const double sum = w.sum(), corrector_sum = corrector.sum();
  std::optional<Correction> best;
  for (const double scale : kScales) {
    const double missing = std::max(0.0, (g - scale * image).maxCoeff<Eigen::PropagateNaN>());
    const double share = kPadding * missing / corrector_image;
    const Correction correction{scale, share, scale * sum + share * corrector_sum};
    if (!best.has_value() || correction.total < best->total) best = correction;
  }
  return *best;
}

}  // namespace

Majorant::Majorant(const TabularMdp& mdp, PolicySystem& system, double gamma, double kappa, const Interrupt& interrupt,
                   Effort effort)
    : system_(system),
      gamma_(gamma),
      inflated_(gamma * (1 + kappa)),
      contraction_(gamma * mdp.max_row_sum() * (1 + mdp.row_steps() * kUnitRoundoff)),
      loosest_(system.kind() == PolicySystem::Kind::kDirect ? kTightest : kLoosest),
      sum_padding_(kPadding * (1 + 2 * kUnitRoundoff * mdp.num_states())),
      interrupt_(interrupt),
      effort_(effort) {}

double Majorant::BoundSum(double sum) const { return sum_padding_ * sum / (1 - contraction_); }

Vector Majorant::LowerImage(const Vector& w, bool transposed) {
  const Vector pushed = inflated_ * (transposed ? system_.MultiplyTransposed(w) : system_.Multiply(w));
  // Two more than the operations here, for scaling.
  const double steps = 6 + (transposed ? system_.column_steps() : system_.row_steps());
  return w - pushed - steps * kUnitRoundoff * (w + pushed);
}

// With r_0 = g and r_{i+1} >= gamma (1 + kappa) P^pi r_i, rounded up, sum_{i<k} r_i + alpha r_k is a bound as soon as
// alpha (r_k - r_{k+1}) >= r_k, whose smallest alpha is the end of a geometric series (Collatz and Wielandt's bound).
bool Majorant::SumSeries(const Vector& g, bool transposed, Vector& w) {
  if (system_.kind() == PolicySystem::Kind::kDirect || system_.mixes_slowly()) return false;
  const double steps = 6 + (transposed ? system_.column_steps() : system_.row_steps());
  const double factor = inflated_ * (1 + steps * kUnitRoundoff);
  const auto size = [&](const Vector& r) { return transposed ? r.sum() : r.maxCoeff(); };
  const double whole = size(g);
  w = Vector::Zero(g.size());
  Vector r = g;
  for (int k = 1; k <= kMostTerms && !interrupt_.Check().has_value(); ++k) {
    Vector next = transposed ? system_.MultiplyTransposed(r) : system_.Multiply(r);
    double ratio = 0;
    for (Eigen::Index s = 0; s < r.size(); ++s) {
      next[s] *= factor;
      if (next[s] > ratio * r[s]) ratio = next[s] / r[s];
    }
    ratio *= 1 + 4 * kUnitRoundoff;
    if (ratio < 1 &&
        (1 / (1 - ratio) - 1 / (1 - contraction_)) * size(r) <= kWorthEnding / (1 - contraction_) * whole) {
      w = kPadding * (w + r / (1 - ratio));
      return true;
    }
    if (k == kFirstTerms && !(ratio < kInSight)) break;
    w += r;
    r = std::move(next);
  }
  return false;
}

Vector Majorant::SolveAndCorrect(const Vector& g, bool transposed, double size, const Vector& corrector,
                                 double corrector_image, Vector w) {
  for (double tolerance = loosest_;; tolerance *= kTightening) {
    if (transposed) {
      system_.SolveTransposed(gamma_, g, tolerance * size, interrupt_, w);
    } else {
      system_.Solve(gamma_, g, tolerance * size, interrupt_, w);
    }
    const Vector positive = w.cwiseMax(0.0);
    const Correction correction =
        FindCorrection(g, LowerImage(positive, transposed), positive, corrector, corrector_image);
    if (correction.total <= (1 + kWorthCorrecting) * positive.sum() || tolerance <= kTightest ||
        interrupt_.Check().has_value()) {
      return correction.scale * positive + correction.share * corrector;
    }
  }
}

Vector Majorant::Bound(const Vector& g) {
  const double largest = g.size() == 0 ? 0.0 : g.maxCoeff<Eigen::PropagateNaN>();
  const double uniform = kPadding * largest / (1 - contraction_);
  if (largest == 0) return Vector::Zero(g.size());
  if (!std::isfinite(largest)) return Vector::Constant(g.size(), std::numeric_limits<double>::infinity());
  if (effort_ == Effort::kNorms) return Vector::Constant(g.size(), uniform);
  // 1 is mapped to at least 1 - inflated * b.
  const double image_of_ones = 1 - inflated_ * (contraction_ / std::max(gamma_, 1e-300)) - 4 * kUnitRoundoff;
  if (!(image_of_ones > 0) || gamma_ == 0 || interrupt_.Check().has_value()) {
    return gamma_ == 0 ? Vector(kPadding * g) : Vector::Constant(g.size(), uniform);
  }
  Vector w;
  if (!SumSeries(g, false, w)) {
    w = SolveAndCorrect(g, false, largest, Vector::Ones(g.size()), image_of_ones, Vector::Zero(g.size()));
    if (!w.allFinite()) return Vector::Constant(g.size(), uniform);
  }
  return w.cwiseMin(uniform);
}

void Majorant::FindVisits(Eigen::Index size) {
  const Vector ones = Vector::Ones(size);
  Vector w = Vector::Constant(size, 1 / (1 - contraction_));
  // A small residual on average may be a large one somewhere.
  for (double tolerance = loosest_;; tolerance *= kTightening) {
    system_.SolveTransposed(gamma_, ones, tolerance * static_cast<double>(size), interrupt_, w);
    visits_ = w.cwiseMax(0.0);
    visits_image_ = LowerImage(visits_, true).minCoeff();
    if (visits_image_ >= kVisitsImage || tolerance * static_cast<double>(size) <= kFineVisits ||
        interrupt_.Check().has_value()) {
      return;
    }
  }
}

Vector Majorant::BoundTransposed(const Vector& g) {
  const double total = g.sum();
  const double uniform = BoundSum(total);
  if (total == 0) return Vector::Zero(g.size());
  if (!std::isfinite(total)) return Vector::Constant(g.size(), std::numeric_limits<double>::infinity());
  if (gamma_ == 0) return kPadding * g;
  if (effort_ == Effort::kNorms || !std::isfinite(inflated_) || interrupt_.Check().has_value())
    return Vector::Constant(g.size(), uniform);
  Vector w;
  if (!SumSeries(g, true, w)) {
    if (visits_.size() == 0) FindVisits(g.size());
    if (!(visits_image_ > 0)) return Vector::Constant(g.size(), uniform);
    // The slow part of w is that of visits.
    w = SolveAndCorrect(g, true, total, visits_, visits_image_, (total / static_cast<double>(g.size())) * visits_);
    if (!w.allFinite()) return Vector::Constant(g.size(), uniform);
  }
  return w.cwiseMin(uniform);
}

}  // namespace bilevel
