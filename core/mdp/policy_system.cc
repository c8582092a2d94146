#include "core/mdp/policy_system.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

namespace bilevel {
namespace {

// Refinement steps that fall by less than this renew a stale factorisation.
constexpr double kSlowRefinement = 1e-2;
// A residual that falls by less than this has reached rounding level.
constexpr double kStagnation = 0.5;
// A residual below this share of the solution is rounding: numbers of that size were added up to form it.
constexpr double kRoundingLevel = 4 * std::numeric_limits<double>::epsilon();
constexpr int kMaxRefinements = 30;
// BiCGSTAB gives up after so many iterations, or so many without a new smallest residual.
constexpr int kMaxBiCgStabIterations = 2000;
constexpr int kPatience = 200;
// Dense products win when at least this share of P^pi is stored.
constexpr double kFullShare = 0.25;
// Banded LU wins up to about this share of S to either side (tests/benchmarks, lu_benchmark).
constexpr double kBandShare = 0.4;

}  // namespace

PolicySystem::PolicySystem(const TabularMdp& mdp, Kind kind) : mdp_(&mdp), kind_(kind) {
  BuildMerged();
  const double pairs = static_cast<double>(mdp.num_states()) * mdp.num_states();
  const double share = static_cast<double>(merged_.values.size()) / pairs;
  use_dense_product_ = kind_ == Kind::kDirect && share > kFullShare;
  bandwidth_ = Bandwidth();
  use_banded_lu_ = kind_ == Kind::kDirect && bandwidth_ <= kBandShare * mdp.num_states();
}

void PolicySystem::BuildMerged() {
  const int S = mdp_->num_states(), A = mdp_->num_actions();
  constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  Merged& m = merged_;
  m.row_offsets.assign(static_cast<size_t>(S) + 1, 0);
  std::vector<uint32_t> slot_of_column(static_cast<size_t>(S), kNone);
  Eigen::Index current = -1;
  mdp_->ForEachEntry([&](Eigen::Index row, uint64_t, uint32_t column, double) {
    const Eigen::Index s = row / A;
    if (s != current) {
      if (current >= 0) {
        for (uint64_t k = m.row_offsets[current]; k < m.row_columns.size(); ++k)
          slot_of_column[m.row_columns[k]] = kNone;
      }
      for (Eigen::Index t = current + 1; t <= s; ++t) m.row_offsets[t] = m.row_columns.size();
      current = s;
    }
    if (slot_of_column[column] == kNone) {
      slot_of_column[column] = static_cast<uint32_t>(m.row_columns.size());
      m.row_columns.push_back(column);
    }
    m.slot.push_back(slot_of_column[column]);
  });
  for (Eigen::Index t = current + 1; t <= S; ++t) m.row_offsets[t] = m.row_columns.size();

  m.column_offsets.assign(static_cast<size_t>(S) + 1, 0);
  for (uint32_t column : m.row_columns) ++m.column_offsets[column + 1];
  for (int s = 0; s < S; ++s) {
    max_row_entries_ = std::max(max_row_entries_, static_cast<int>(m.row_offsets[s + 1] - m.row_offsets[s]));
    max_column_entries_ = std::max(max_column_entries_, static_cast<int>(m.column_offsets[s + 1]));
    m.column_offsets[s + 1] += m.column_offsets[s];
  }
  std::vector<uint64_t> next(m.column_offsets.begin(), m.column_offsets.end() - 1);
  m.column_rows.resize(m.row_columns.size());
  m.to_transposed.resize(m.row_columns.size());
  for (int s = 0; s < S; ++s) {
    for (uint64_t k = m.row_offsets[s]; k < m.row_offsets[s + 1]; ++k) {
      const uint64_t position = next[m.row_columns[k]]++;
      m.column_rows[position] = static_cast<uint32_t>(s);
      m.to_transposed[k] = static_cast<uint32_t>(position);
    }
  }
  m.values.resize(m.row_columns.size());
  m.transposed.resize(m.row_columns.size());
}

void PolicySystem::FillMerged(const Vector& pi) {
  Merged& m = merged_;
  std::fill(m.values.begin(), m.values.end(), 0.0);
  size_t next = 0;
  mdp_->ForEachEntry([&](Eigen::Index row, uint64_t, uint32_t, double p) { m.values[m.slot[next++]] += pi[row] * p; });
  for (size_t k = 0; k < m.values.size(); ++k) m.transposed[m.to_transposed[k]] = m.values[k];
}

void PolicySystem::SetPolicy(const Vector& pi) {
  ++policy_;
  FillMerged(pi);
  if (use_dense_product_) dense_ = mdp_->DensePolicyTransitions(pi);
}

Vector PolicySystem::Product(Side side, const Vector& v) {
  ++counters_.products;
  if (use_dense_product_) {
    if (side == Side::kPlain) return dense_ * v;
    return dense_.transpose() * v;
  }
  const Merged& m = merged_;
  const std::vector<uint64_t>& offsets = side == Side::kPlain ? m.row_offsets : m.column_offsets;
  const std::vector<uint32_t>& columns = side == Side::kPlain ? m.row_columns : m.column_rows;
  const std::vector<double>& values = side == Side::kPlain ? m.values : m.transposed;
  Vector result(mdp_->num_states());
  for (Eigen::Index s = 0; s < result.size(); ++s) {
    double sum = 0;
    for (uint64_t k = offsets[s]; k < offsets[s + 1]; ++k) sum += values[k] * v[columns[k]];
    result[s] = sum;
  }
  return result;
}

Vector PolicySystem::Multiply(const Vector& v) { return Product(Side::kPlain, v); }

Vector PolicySystem::MultiplyTransposed(const Vector& z) { return Product(Side::kTransposed, z); }

Vector PolicySystem::Residual(Side side, double gamma, const Vector& b, const Vector& v) {
  if (v.isZero(0)) return b;
  return b - v + gamma * Product(side, v);
}

int PolicySystem::Bandwidth() const {
  int width = 0;
  for (int s = 0; s < mdp_->num_states(); ++s) {
    for (uint64_t k = merged_.row_offsets[s]; k < merged_.row_offsets[s + 1]; ++k) {
      width = std::max(width, std::abs(s - static_cast<int>(merged_.row_columns[k])));
    }
  }
  return width;
}

void PolicySystem::FactorizeDensely(double gamma, Factorization& factorization) const {
  const Merged& m = merged_;
  const Eigen::Index S = mdp_->num_states();
  Eigen::MatrixXd A = Eigen::MatrixXd::Identity(S, S);
  for (Eigen::Index s = 0; s < S; ++s) {
    for (uint64_t k = m.row_offsets[s]; k < m.row_offsets[s + 1]; ++k) A(s, m.row_columns[k]) -= gamma * m.values[k];
  }
  factorization.lu.emplace<Eigen::PartialPivLU<Eigen::MatrixXd>>(std::move(A));
}

bool PolicySystem::FactorizeInBand(double gamma, Factorization& factorization) const {
  const Merged& m = merged_;
  const Eigen::Index S = mdp_->num_states();
  if (!std::holds_alternative<BandedLu>(factorization.lu)) factorization.lu.emplace<BandedLu>(S, bandwidth_);
  BandedLu& lu = std::get<BandedLu>(factorization.lu);
  lu.SetZero();
  for (Eigen::Index s = 0; s < S; ++s) {
    lu(s, s) = 1;
    for (uint64_t k = m.row_offsets[s]; k < m.row_offsets[s + 1]; ++k) lu(s, m.row_columns[k]) -= gamma * m.values[k];
  }
  return lu.Factorize();
}

PolicySystem::Factorization& PolicySystem::Factorize(double gamma) {
  Factorization& factorization = factorizations_[gamma];
  if (!use_banded_lu_ || !FactorizeInBand(gamma, factorization)) FactorizeDensely(gamma, factorization);
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
  if (const auto* banded = std::get_if<BandedLu>(&factorization.lu)) {
    return side == Side::kPlain ? banded->Solve(r) : banded->SolveTransposed(r);
  }
  const auto& dense = std::get<Eigen::PartialPivLU<Eigen::MatrixXd>>(factorization.lu);
  if (side == Side::kPlain) return dense.solve(r);
  return dense.transpose().solve(r);
}

namespace {

double Norm(bool transposed, const Vector& r) {
  return transposed ? r.lpNorm<1>() : r.cwiseAbs().maxCoeff<Eigen::PropagateNaN>();
}

}  // namespace

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
  const bool transposed = side == Side::kTransposed;
  Vector r = Residual(side, gamma, b, v);
  double norm = Norm(transposed, r);
  if (norm <= tolerance || norm == 0) return {norm, true};
  if (!std::isfinite(norm)) return {norm, false};
  if (interrupt.Check().has_value()) return {norm, false};
  const auto found = factorizations_.find(gamma);
  Factorization& factorization = found != factorizations_.end() ? found->second : Factorize(gamma);
  for (int step = 0; step < kMaxRefinements && norm > tolerance; ++step) {
    if (interrupt.Check().has_value()) return {norm, false};
    const Vector candidate = v + ApplyInverse(side, factorization, r);
    const Vector candidate_r = Residual(side, gamma, b, candidate);
    const double candidate_norm = Norm(transposed, candidate_r);
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

PolicySystem::Outcome PolicySystem::Iterate(Side side, double gamma, const Vector& b, double tolerance,
                                            const Interrupt& interrupt, Vector& v) {
  const bool transposed = side == Side::kTransposed;
  Vector r = Residual(side, gamma, b, v);
  double norm = Norm(transposed, r);
  auto reached = [&] { return norm <= tolerance || norm <= kRoundingLevel * Norm(transposed, v); };
  int failures = 0;
  while (!reached()) {
    if (!std::isfinite(norm)) return {norm, false};
    if (interrupt.Check().has_value()) return {norm, false};
    Vector candidate = v;
    BiCgStab(side, gamma, b, tolerance, interrupt, candidate);
    Vector candidate_r = Residual(side, gamma, b, candidate);
    const double candidate_norm = Norm(transposed, candidate_r);
    if (candidate_norm < kStagnation * norm) {
      v = std::move(candidate);
      r = std::move(candidate_r);
      norm = candidate_norm;
      failures = 0;
      continue;
    }
    // Breakdown: plain iteration contracts by gamma a step; then try again from there, ever more patiently.
    const int steps = 50 << std::min(failures++, 10);
    const double before = norm;
    for (int i = 0; i < steps && !reached() && std::isfinite(norm); ++i) {
      if (interrupt.Check().has_value()) return {norm, false};
      v += r;
      r = Residual(side, gamma, b, v);
      norm = Norm(transposed, r);
    }
    if (norm >= before) return {norm, reached()};
  }
  return {norm, true};
}

// Van der Vorst (1992), "Bi-CGSTAB", unpreconditioned.
void PolicySystem::BiCgStab(Side side, double gamma, const Vector& b, double tolerance, const Interrupt& interrupt,
                            Vector& v) {
  const bool transposed = side == Side::kTransposed;
  auto apply = [&](const Vector& x) -> Vector { return x - gamma * Product(side, x); };
  Vector r = Residual(side, gamma, b, v);
  const Vector shadow = r;
  Vector best = v;
  double best_norm = Norm(transposed, r);
  const double start = best_norm;
  Vector p = Vector::Zero(r.size()), ap = p;
  double rho = 1, alpha = 1, omega = 1;
  int since_best = 0;
  for (int i = 0; i < kMaxBiCgStabIterations && since_best < kPatience; ++i, ++since_best) {
    if (best_norm <= 0.5 * std::max(tolerance, kRoundingLevel * Norm(transposed, best))) break;
    if (interrupt.Check().has_value()) break;
    const double next_rho = shadow.dot(r);
    if (next_rho == 0 || !std::isfinite(next_rho)) break;
    p = r + (next_rho / rho) * (alpha / omega) * (p - omega * ap);
    rho = next_rho;
    ap = apply(p);
    alpha = rho / shadow.dot(ap);
    const Vector s = r - alpha * ap;
    const Vector as = apply(s);
    const double as2 = as.squaredNorm();
    omega = as2 > 0 ? as.dot(s) / as2 : 0;
    v += alpha * p + omega * s;
    r = s - omega * as;
    const double norm = Norm(transposed, r);
    if (!std::isfinite(norm) || norm > 1e8 * start) break;
    if (norm < best_norm) {
      best_norm = norm;
      best = v;
      since_best = 0;
    }
    if (omega == 0) break;
  }
  v = best;
}

}  // namespace bilevel
