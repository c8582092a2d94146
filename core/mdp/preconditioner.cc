#include "core/mdp/preconditioner.h"

#include "core/mdp/sparse_square.h"

namespace bilevel {
namespace {

// After so many iterations another one is tried, incomplete LU only where it has come less than half the way. One
// iteration with multigrid costs 2.5 times one with incomplete LU: it has so many to show that it is worth that.
constexpr int kPlainIterations = 12;
constexpr int kIncompleteLuIterations = 20;
constexpr int kMultigridIterations = 8;
constexpr double kMultigridCost = 2.5;
// After so many iterations one that was made for an earlier policy is renewed.
constexpr int kOldIncompleteLuIterations = 60, kOldMultigridIterations = 16;

}  // namespace

void Preconditioner::SetPolicy(Change change) {
  of_earlier_policy_ = true;
  if (change == Change::kAny) stale_ = true;
}

void Preconditioner::Make(const PolicyMatrix& matrix, double gamma) {
  if (kind_ == Kind::kNone) return;
  const bool multigrid = kind_ == Kind::kMultigrid;
  const bool made = multigrid ? multigrid_ != nullptr : incomplete_lu_ != nullptr;
  if (made && !stale_ && gamma_ == gamma) return;
  const SystemRows system{matrix, gamma};
  multigrid_.reset();
  if (multigrid) {
    incomplete_lu_.reset();
    multigrid_ = std::make_unique<AggregationMultigrid>(system, parallel_for_);
  } else if (incomplete_lu_ == nullptr) {
    incomplete_lu_ = std::make_unique<IncompleteLu>(system, parallel_for_);
  } else {
    incomplete_lu_->Renew(system);
  }
  gamma_ = gamma;
  of_earlier_policy_ = stale_ = false;
}

template <typename Real, typename Apply>
void Preconditioner::ApplyTo(const VectorOf<Real>& b, VectorOf<Real>& x, const Apply& apply) const {
  switch (kind_) {
    case Kind::kNone:
      x = b;
      return;
    case Kind::kIncompleteLu:
      apply(*incomplete_lu_);
      return;
    case Kind::kMultigrid:
      apply(*multigrid_);
      return;
  }
}

template <typename Real>
void Preconditioner::Solve(const VectorOf<Real>& b, VectorOf<Real>& x) const {
  ApplyTo(b, x, [&](const auto& inverse) { inverse.Solve(b, x); });
}

template <typename Real>
void Preconditioner::SolveTransposed(const VectorOf<Real>& b, VectorOf<Real>& x) const {
  ApplyTo(b, x, [&](const auto& inverse) { inverse.SolveTransposed(b, x); });
}

template void Preconditioner::Solve(const VectorOf<double>&, VectorOf<double>&) const;
template void Preconditioner::Solve(const VectorOf<float>&, VectorOf<float>&) const;
template void Preconditioner::SolveTransposed(const VectorOf<double>&, VectorOf<double>&) const;
template void Preconditioner::SolveTransposed(const VectorOf<float>&, VectorOf<float>&) const;

bool Preconditioner::Reconsider(const PolicyMatrix& matrix, int iterations, double gained, double wanted) {
  if (!IsSlowForItsAge(iterations)) return TryNext(matrix, iterations, gained, wanted);
  stale_ = true;
  return true;
}

bool Preconditioner::IsSlowForItsAge(int iterations) const {
  if (kind_ == Kind::kNone || !of_earlier_policy_) return false;
  return iterations >= (kind_ == Kind::kMultigrid ? kOldMultigridIterations : kOldIncompleteLuIterations);
}

bool Preconditioner::TryNext(const PolicyMatrix& matrix, int iterations, double gained, double wanted) {
  if (!matrix.merged() || matrix.num_entries() > IncompleteLu::kMostEntries) return false;
  switch (kind_) {
    case Kind::kNone:
      if (iterations < kPlainIterations) return false;
      kind_ = Kind::kIncompleteLu;
      return true;
    case Kind::kIncompleteLu:
      if (iterations < kIncompleteLuIterations || multigrid_failed_ || gained > 0.5 * wanted) return false;
      incomplete_lu_rate_ = gained / iterations;
      kind_ = Kind::kMultigrid;
      return true;
    case Kind::kMultigrid:
      if (iterations < kMultigridIterations || gained >= kMultigridCost * incomplete_lu_rate_ * iterations)
        return false;
      multigrid_failed_ = true;
      kind_ = Kind::kIncompleteLu;
      return true;
  }
  return false;
}

}  // namespace bilevel
