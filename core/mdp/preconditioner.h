// What BiCGSTAB on A = I - gamma P^pi is preconditioned with: nothing, incomplete LU, or aggregation multigrid. The
// next one is tried where the one at hand is slow, and multigrid is given up where it is not worth its price.
//
// One that was made for an earlier policy serves a policy nearby as long as it is quick.

#ifndef BILEVEL_CORE_MDP_PRECONDITIONER_H_
#define BILEVEL_CORE_MDP_PRECONDITIONER_H_

#include <memory>
#include <utility>

#include "core/base/parallel.h"
#include "core/mdp/aggregation_multigrid.h"
#include "core/mdp/incomplete_lu.h"
#include "core/mdp/policy_matrix.h"

namespace bilevel {

class Preconditioner {
 public:
  // None, at first. parallel_for: affects only the time.
  explicit Preconditioner(ParallelFor parallel_for) : parallel_for_(std::move(parallel_for)) {}

  // How far the policy is from the one before.
  enum class Change { kAny, kSlight };

  // The matrix has got another policy.
  void SetPolicy(Change change);
  // The one at hand is not to be relied on.
  void Distrust() { stale_ = true; }

  // Makes the one that is to be used for the matrix's policy, unless one is at hand. The matrix must outlive it. Cost
  // and memory: as IncompleteLu and AggregationMultigrid say; nothing while there is none.
  void Make(const PolicyMatrix& matrix, double gamma);

  // x <- M^{-1} b or M^{-T} b, M near A; x <- b while there is none.
  template <typename Real>
  void Solve(const VectorOf<Real>& b, VectorOf<Real>& x) const;
  template <typename Real>
  void SolveTransposed(const VectorOf<Real>& b, VectorOf<Real>& x) const;

  // Whether Make is to be called again, for another or a fresh one, after so many iterations with the one at hand; they
  // have brought down the logarithm of the residual by `gained` of `wanted`.
  bool Reconsider(const PolicyMatrix& matrix, int iterations, double gained, double wanted);

 private:
  enum class Kind { kNone, kIncompleteLu, kMultigrid };

  template <typename Real, typename Apply>
  void ApplyTo(const VectorOf<Real>& b, VectorOf<Real>& x, const Apply& apply) const;
  bool IsSlowForItsAge(int iterations) const;
  bool TryNext(const PolicyMatrix& matrix, int iterations, double gained, double wanted);

  ParallelFor parallel_for_;
  Kind kind_ = Kind::kNone;
  std::unique_ptr<IncompleteLu> incomplete_lu_;
  std::unique_ptr<AggregationMultigrid> multigrid_;
  double gamma_ = 0;                // of the one at hand
  bool of_earlier_policy_ = false;  // the one at hand
  bool stale_ = false;
  double incomplete_lu_rate_ = 0;  // logarithm gained for each iteration, where multigrid came after it
  bool multigrid_failed_ = false;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_PRECONDITIONER_H_
