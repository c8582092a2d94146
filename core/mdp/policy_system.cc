#include "core/mdp/policy_system.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/base/flush_tiny.h"
#include "core/mdp/part_sums.h"

namespace bilevel {
namespace {

// Refinement steps that fall by less than this renew a stale factorisation.
constexpr double kSlowRefinement = 1e-2;
// A residual that falls by less than this has reached rounding level.
constexpr double kStagnation = 0.5;
// A residual below this share of the solution is rounding: numbers of that size were added up to form it.
constexpr double kRoundingLevel = 4 * std::numeric_limits<double>::epsilon();
constexpr int kMaxRefinements = 30;
// Of a discount, where its own system cannot be factorised.
constexpr double kNearBy = 1 - 1e-12;
// In single precision the residual is formed anew when it has come down to this share of what it was at most.
constexpr double kReliable = 1e-3;
// BiCGSTAB gives up after so many iterations, or so many without a new smallest residual.
constexpr int kMaxBiCgStabIterations = 2000;
constexpr int kPatience = 200;
// Dense products win when at least this share of P^pi is stored.
constexpr double kFullShare = 0.25;
// Plain iteration goes on while so many more products would do, as the last few go.
constexpr size_t kPlainWindow = 4, kMostPlainProducts = 100;
constexpr double kForeseenProducts = 60;

// Of a vector: its range, or, transposed, its 1-norm and that of its change.
struct SpreadOfIterate {
  double least = std::numeric_limits<double>::infinity(), most = -least, sum = 0, change = 0;

  void Include(const SpreadOfIterate& other) {
    least = std::min(least, other.least);
    most = std::max(most, other.most);
    sum += other.sum;
    change += other.change;
  }
};

}  // namespace

PolicySystem::PolicySystem(const TabularMdp& mdp, Kind kind, ParallelFor parallel_for)
    : mdp_(&mdp), kind_(kind), parallel_for_(std::move(parallel_for)), preconditioner_(parallel_for_) {
  if (kind_ == Kind::kKrylov) return;  // it may never come to a product
  matrix_ = std::make_unique<PolicyMatrix>(mdp, parallel_for_);
  const double pairs = static_cast<double>(mdp.num_states()) * mdp.num_states();
  use_dense_product_ = static_cast<double>(matrix_->num_entries()) > kFullShare * pairs;
}

double PolicySystem::factorization_flops() const {
  if (kind_ != Kind::kDirect) return 0;
  const double size = mdp_->num_states();
  return 2 * size * std::min<double>(matrix_->bandwidth() * matrix_->bandwidth(), size * size / 3);
}

void PolicySystem::SetPolicy(const Vector& pi, Change change) {
  ++policy_;
  preconditioner_.SetPolicy(change);
  if (use_dense_product_) mdp_->FormDensePolicyTransitions(pi, dense_);
  if (matrix_ == nullptr) matrix_ = std::make_unique<PolicyMatrix>(*mdp_, parallel_for_);
  if (!use_dense_product_) matrix_->SetPolicy(pi);
}

void PolicySystem::Multiply(Side side, const Vector& v, Vector& result) {
  ++counters_.products;
  if (use_dense_product_) {
    if (side == Side::kPlain) {
      result = dense_ * v;
    } else {
      result = dense_.transpose() * v;
    }
  } else if (side == Side::kPlain) {
    matrix_->Multiply(v, result);
  } else {
    matrix_->MultiplyTransposed(v, result);
  }
}

template <typename Real, typename Then>
void PolicySystem::MultiplyThen(Side side, const VectorOf<Real>& v, VectorOf<Real>& result, const Then& then) {
  ++counters_.products;
  if (side == Side::kPlain) {
    matrix_->Multiply(v, result, then);
  } else {
    matrix_->MultiplyTransposed(v, result, then);
  }
}

Vector PolicySystem::Multiply(const Vector& v) {
  Vector result;
  Multiply(Side::kPlain, v, result);
  return result;
}

Vector PolicySystem::MultiplyTransposed(const Vector& z) {
  Vector result;
  Multiply(Side::kTransposed, z, result);
  return result;
}

Vector PolicySystem::Residual(Side side, double gamma, const Vector& b, const Vector& v) {
  if (v.isZero(0)) return b;
  Vector result;
  Multiply(side, v, result);
  ForParts(parallel_for_, b.size(), kStatesInPart, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    result.segment(begin, n) = b.segment(begin, n) - v.segment(begin, n) + gamma * result.segment(begin, n);
  });
  return result;
}

void PolicySystem::Fill(double gamma, BlockLu& lu) const {
  if (use_dense_product_) {
    lu.SetIdentityMinus(gamma, dense_);
    return;
  }
  lu.SetZero();
  for (Eigen::Index s = 0; s < mdp_->num_states(); ++s) lu(s, s) = 1;
  matrix_->ForEach([&](Eigen::Index s, uint32_t s2, double p) { lu(s, s2) -= gamma * p; });
}

PolicySystem::Factorization& PolicySystem::Factorize(double gamma) {
  Factorization& factorization = factorizations_[gamma];
  if (!factorization.lu.has_value()) factorization.lu.emplace(mdp_->num_states(), matrix_->bandwidth());
  // Within rounding of 1 pivots may vanish. Refinement does with the factors of a system near by; or with none.
  for (const double share : {1.0, kNearBy, 0.0}) {
    Fill(share * gamma, *factorization.lu);
    if (factorization.lu->Factorize()) break;
  }
  factorization.policy = policy_;
  ++counters_.factorizations;
  return factorization;
}

void PolicySystem::Refactor(double gamma) {
  if (kind_ != Kind::kDirect) return;
  const auto found = factorizations_.find(gamma);
  if (found == factorizations_.end() || found->second.policy != policy_) Factorize(gamma);
}

Vector PolicySystem::ApplyFactorization(double gamma, const Vector& r) {
  return ApplyInverse(Side::kPlain, factorizations_.at(gamma), r);
}

Vector PolicySystem::ApplyInverse(Side side, const Factorization& factorization, const Vector& r) {
  return side == Side::kPlain ? factorization.lu->Solve(r) : factorization.lu->SolveTransposed(r);
}

double PolicySystem::Norm(Side side, const Vector& r) const {
  const bool adds = side == Side::kTransposed;
  const auto part = [&](int64_t begin, int64_t end) { return NormOf(adds, &r[begin], end - begin); };
  return adds ? SumParts(parallel_for_, r.size(), kStatesInPart, part)
              : MostOfParts(parallel_for_, r.size(), kStatesInPart, part);
}

PolicySystem::Outcome PolicySystem::Solve(double gamma, const Vector& b, double tolerance, const Interrupt& interrupt,
                                          Vector& v) {
  return kind_ == Kind::kDirect ? Refine(Side::kPlain, gamma, b, tolerance, interrupt, v)
                                : Iterate(Side::kPlain, gamma, b, tolerance, interrupt, v);
}

PolicySystem::Outcome PolicySystem::SolveTransposed(double gamma, const Vector& b, double tolerance,
                                                    const Interrupt& interrupt, Vector& z) {
  return kind_ == Kind::kDirect ? Refine(Side::kTransposed, gamma, b, tolerance, interrupt, z)
                                : Iterate(Side::kTransposed, gamma, b, tolerance, interrupt, z);
}

PolicySystem::Outcome PolicySystem::Refine(Side side, double gamma, const Vector& b, double tolerance,
                                           const Interrupt& interrupt, Vector& v) {
  Vector r = Residual(side, gamma, b, v);
  double norm = Norm(side, r);
  if (norm <= tolerance || norm == 0) return {norm, true};
  if (!std::isfinite(norm)) return {norm, false};
  if (interrupt.Check().has_value()) return {norm, false};
  const auto found = factorizations_.find(gamma);
  Factorization& factorization = found != factorizations_.end() ? found->second : Factorize(gamma);
  for (int step = 0; step < kMaxRefinements && norm > tolerance; ++step) {
    if (interrupt.Check().has_value()) return {norm, false};
    const Vector candidate = v + ApplyInverse(side, factorization, r);
    const Vector candidate_r = Residual(side, gamma, b, candidate);
    const double candidate_norm = Norm(side, candidate_r);
    if (!(candidate_norm <= kSlowRefinement * norm) && factorization.policy != policy_) {
      Factorize(gamma);  // in place
      continue;
    }
    if (!(candidate_norm < norm)) return {norm, true};
    const bool stagnated = candidate_norm > kStagnation * norm;
    v = candidate;
    r = candidate_r;
    norm = candidate_norm;
    if (stagnated) break;
  }
  return {norm, true};
}

// v + sum_i (gamma P^pi)^i r converges like the second eigenvalue once its slow part is added at one stroke: what is
// left, r, is near a multiple of the first eigenvector by then. That is a constant, or, transposed, r itself.
void PolicySystem::IteratePlainly(Side side, double gamma, double tolerance, const Interrupt& interrupt, Vector& v,
                                  Vector& r) {
  const bool stochastic = mdp_->rows_sum_to_one(gamma);
  const bool transposed = side == Side::kTransposed;
  const int64_t size = v.size();
  std::vector<SpreadOfIterate> spreads(static_cast<size_t>((size + kStatesInPart - 1) / kStatesInPart));
  std::vector<double> norms;
  Vector next;
  while (norms.size() < kMostPlainProducts) {
    if (interrupt.Check().has_value()) return;
    MultiplyThen(side, r, next, [&](int64_t begin, int64_t end) {
      const auto before = r.segment(begin, end - begin);
      auto now = next.segment(begin, end - begin);
      v.segment(begin, end - begin) += before;
      now *= gamma;
      SpreadOfIterate& spread = spreads[static_cast<size_t>(begin / kStatesInPart)];
      if (transposed) {
        spread = {.sum = now.lpNorm<1>(), .change = (now - gamma * before).lpNorm<1>()};
      } else {
        spread = {.least = now.minCoeff(), .most = now.maxCoeff()};
      }
    });
    std::swap(r, next);  // next is r before this step
    SpreadOfIterate spread = spreads.front();
    for (size_t part = 1; part < spreads.size(); ++part) spread.Include(spreads[part]);
    const double plain = transposed ? spread.sum : std::max(std::abs(spread.least), std::abs(spread.most));
    double shifted = std::numeric_limits<double>::infinity();
    if (stochastic) shifted = transposed ? spread.change / (1 - gamma) : 0.5 * (spread.most - spread.least);
    norms.push_back(std::min(plain, shifted));
    if (!std::isfinite(norms.back())) return;
    if (norms.back() <= 0.5 * std::max(tolerance, kRoundingLevel * Norm(side, v))) {
      if (!(shifted < plain)) return;
      if (transposed) {
        v += next * (gamma / (1 - gamma));
      } else {
        v.array() += 0.5 * (spread.most + spread.least) / (1 - gamma);
      }
      return;
    }
    if (norms.size() % kPlainWindow != 0) continue;
    const double before = norms[norms.size() - kPlainWindow],
                 rate = std::log(before / norms.back()) / (kPlainWindow - 1);
    if (!(std::log(norms.back() / tolerance) <= rate * kForeseenProducts)) break;
  }
  mixes_slowly_ = true;
}

PolicySystem::Outcome PolicySystem::Iterate(Side side, double gamma, const Vector& b, double tolerance,
                                            const Interrupt& interrupt, Vector& v) {
  Vector r = Residual(side, gamma, b, v);
  double norm = Norm(side, r);
  auto reached = [&] { return norm <= tolerance || norm <= kRoundingLevel * Norm(side, v); };
  if (!mixes_slowly_ && std::isfinite(norm) && !reached()) {
    IteratePlainly(side, gamma, tolerance, interrupt, v, r);
    r = Residual(side, gamma, b, v);
    norm = Norm(side, r);
  }
  int failures = 0;
  while (!reached()) {
    if (!std::isfinite(norm)) return {norm, false};
    if (interrupt.Check().has_value()) return {norm, false};
    Vector candidate = v;
    const bool changed = single_precision_fails_ ? BiCgStab<double>(side, gamma, b, r, tolerance, interrupt, candidate)
                                                 : BiCgStab<float>(side, gamma, b, r, tolerance, interrupt, candidate);
    Vector candidate_r = Residual(side, gamma, b, candidate);
    const double candidate_norm = Norm(side, candidate_r);
    if (candidate_norm < (changed ? 1 : kStagnation) * norm) {
      v = std::move(candidate);
      r = std::move(candidate_r);
      norm = candidate_norm;
      failures = 0;
      continue;
    }
    if (changed) continue;
    if (!std::exchange(single_precision_fails_, true)) continue;
    preconditioner_.Distrust();
    // Breakdown: plain iteration contracts by gamma a step; then try again from there, ever more patiently.
    const int steps = 50 << std::min(failures++, 10);
    const double before = norm;
    for (int i = 0; i < steps && !reached() && std::isfinite(norm); ++i) {
      if (interrupt.Check().has_value()) return {norm, false};
      v += r;
      r = Residual(side, gamma, b, v);
      norm = Norm(side, r);
    }
    if (norm >= before) return {norm, reached()};
  }
  return {norm, true};
}

// Van der Vorst (1992), "Bi-CGSTAB", preconditioned from the right. In single precision v is moved, and the residual
// formed anew, each time that it has come down far enough for roundings to show, while directions go on: the reliable
// updates of Sleijpen and van der Vorst (1996).
template <typename Real>
bool PolicySystem::BiCgStab(Side side, double gamma, const Vector& b, const Vector& start_r, double tolerance,
                            const Interrupt& interrupt, Vector& v) {
  using Reals = VectorOf<Real>;
  constexpr bool kSingle = std::is_same_v<Real, float>;
  const int64_t size = v.size();
  std::vector<PartSums> parts(static_cast<size_t>((size + kStatesInPart - 1) / kStatesInPart));
  const auto part_at = [&](int64_t begin) -> PartSums& { return parts[static_cast<size_t>(begin / kStatesInPart)]; };
  const auto precondition = [&](const Reals& x, Reals& result) {
    if (side == Side::kPlain) {
      preconditioner_.Solve(x, result);
    } else {
      preconditioner_.SolveTransposed(x, result);
    }
  };
  // Calls work(begin, n) for all parts and puts together what it returns.
  const auto sum_parts = [&](const auto& work) {
    ForParts(parallel_for_, size, kStatesInPart, [&](int64_t begin, int64_t end) {
      const FlushTiny<Real> flush;
      part_at(begin) = work(begin, end - begin);
    });
    return TotalOf(parts, side == Side::kTransposed);
  };
  const auto dot = [](const Reals& x, const Reals& y, int64_t at, int64_t n) { return Dot(&x[at], &y[at], n); };
  // result = x - gamma P^pi x, and its inner products with `other` and itself.
  const auto apply = [&](const Reals& x, const Reals& other, Reals& result) {
    MultiplyThen(side, x, result, [&](int64_t begin, int64_t end) {
      const int64_t n = end - begin;
      auto here = result.segment(begin, n);
      here = x.segment(begin, n) - static_cast<Real>(gamma) * here;
      part_at(begin) = {.with_other = dot(result, other, begin, n), .with_itself = dot(result, result, begin, n)};
    });
    return TotalOf(parts, false);
  };
  preconditioner_.Make(*matrix_, gamma);
  double norm = Norm(side, start_r);
  // Of what is iterated on, so that single precision has room to either side.
  const double scale = kSingle ? std::ldexp(1.0, std::min(-std::ilogb(norm), 1000)) : 1.0;
  norm *= scale;
  const double start = norm;
  double target = 0.5 * scale * std::max(tolerance, kRoundingLevel * Norm(side, v));
  Reals r(size);
  // r from the residual in double precision.
  const auto take = [&](const Vector& from) {
    return sum_parts([&](int64_t at, int64_t n) {
             r.segment(at, n) = (scale * from.segment(at, n)).template cast<Real>();
             return PartSums{.norm = NormOf(side == Side::kTransposed, &r[at], n)};
           })
        .norm;
  };
  take(start_r);
  const Reals shadow = r;
  Reals p = Reals::Zero(size), ap = p, as(size), steep, steep_r, move = p;
  // The move to where the residual was smallest, where that is not `move`.
  Reals best;
  bool is_best = true;
  double best_norm = norm, peak = norm, landed_norm = norm;
  const auto land = [&] {
    if (!is_best) std::swap(move, best);
    sum_parts([&](int64_t at, int64_t n) {
      v.segment(at, n) += move.segment(at, n).template cast<double>() / scale;
      move.segment(at, n).setZero();
      return PartSums{};
    });
  };
  double rho = 1, alpha = 1, omega = 1;
  double next_rho = sum_parts([&](int64_t at, int64_t n) { return PartSums{dot(r, r, at, n), 0, 0}; }).with_other;
  int since_best = 0;
  bool another = false;
  for (int i = 0; i < kMaxBiCgStabIterations && since_best < kPatience; ++i, ++since_best) {
    if (best_norm <= target) break;
    if (interrupt.Check().has_value()) break;
    if (preconditioner_.Reconsider(*matrix_, i, std::log(start / best_norm), std::log(start / (scale * tolerance)))) {
      another = true;
      break;
    }
    if (next_rho == 0 || !std::isfinite(next_rho)) break;
    const auto beta = static_cast<Real>((next_rho / rho) * (alpha / omega)), last_omega = static_cast<Real>(omega);
    sum_parts([&](int64_t at, int64_t n) {
      p.segment(at, n) = r.segment(at, n) + beta * (p.segment(at, n) - last_omega * ap.segment(at, n));
      return PartSums{};
    });
    rho = next_rho;
    precondition(p, steep);
    // What is taken from the residual and added to the move has to be the same number.
    const auto a = static_cast<Real>(rho / apply(steep, shadow, ap).with_other);
    alpha = a;
    sum_parts([&](int64_t at, int64_t n) {
      r.segment(at, n) -= a * ap.segment(at, n);
      return PartSums{};
    });
    precondition(r, steep_r);
    const PartSums inner = apply(steep_r, r, as);
    const auto o = static_cast<Real>(inner.with_itself > 0 ? inner.with_other / inner.with_itself : 0);
    omega = o;
    const PartSums now = sum_parts([&](int64_t at, int64_t n) {
      r.segment(at, n) -= o * as.segment(at, n);
      return PartSums{.with_other = dot(r, shadow, at, n), .norm = NormOf(side == Side::kTransposed, &r[at], n)};
    });
    next_rho = now.with_other;
    norm = now.norm;
    if (!std::isfinite(norm) || norm > 1e8 * start) break;
    if (is_best && !(norm < best_norm)) best = move;
    is_best = norm < best_norm;
    sum_parts([&](int64_t at, int64_t n) {
      move.segment(at, n) += a * steep.segment(at, n) + o * steep_r.segment(at, n);
      return PartSums{};
    });
    peak = std::max(peak, norm);
    if (is_best) {
      best_norm = norm;
      since_best = 0;
    }
    if (omega == 0) break;
    if (kSingle && is_best && norm <= kReliable * peak && norm > target) {
      land();
      norm = peak = best_norm = take(Residual(side, gamma, b, v));
      if (!(norm < kStagnation * landed_norm)) break;
      landed_norm = norm;
      next_rho = sum_parts([&](int64_t at, int64_t n) { return PartSums{dot(r, shadow, at, n), 0, 0}; }).with_other;
      target = 0.5 * scale * std::max(tolerance, kRoundingLevel * Norm(side, v));
    }
  }
  land();
  return another;
}

}  // namespace bilevel
