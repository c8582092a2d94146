// The linear systems of a policy:  A v = b  and  A^T z = b  with  A = I - gamma P^pi,  P^pi(s,s2) = sum_a pi(a|s)
// P(s2|s,a).
//
// A is a row diagonally dominant M-matrix: A^{-1} >= 0 entrywise, and for rows of P^pi that sum to at most b < 1/gamma
//
//   |v - A^{-1} b|_inf <= |residual|_inf / (1 - gamma b),   |z - A^{-T} b|_1 <= |residual|_1 / (1 - gamma b).
//
// Products go through PolicyMatrix (when P^pi is mostly full: a dense matrix).
//
// Direct kind: LU with iterative refinement, within the band that P^pi has in the given order of states. The
// factorisation of an earlier policy serves as long as refinement with it converges fast; it is renewed when it does
// not. Krylov kind: v <- b + gamma P^pi v while that is quick, else BiCGSTAB, which gets a preconditioner when it is
// slow (core/README.md), falling back on the former, which always converges.
//
// Residuals are recomputed from their definition before a solve returns, so the reported residual is the true one.

#ifndef BILEVEL_CORE_MDP_POLICY_SYSTEM_H_
#define BILEVEL_CORE_MDP_POLICY_SYSTEM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/base/interrupt.h"
#include "core/base/parallel.h"
#include "core/mdp/block_lu.h"
#include "core/mdp/policy_matrix.h"
#include "core/mdp/preconditioner.h"

namespace bilevel {

class PolicySystem {
 public:
  enum class Kind { kDirect, kKrylov };

  // Work done since construction.
  struct Counters {
    int64_t products = 0;    // with P^pi or its transpose
    int factorizations = 0;  // LU
  };

  struct Outcome {
    double residual = 0;     // inf-norm for A, 1-norm for A^T
    bool converged = false;  // residual <= tolerance, or no further digit to be had
  };

  // mdp must outlive this. Memory: that of PolicyMatrix; direct kind that of BlockLu for each discount, and 8 S^2 bytes
  // for products when P^pi is mostly full. parallel_for: affects only the time.
  PolicySystem(const TabularMdp& mdp, Kind kind, ParallelFor parallel_for = RunInOrder);

  Kind kind() const { return kind_; }
  const ParallelFor& parallel_for() const { return parallel_for_; }
  const Counters& counters() const { return counters_; }

  // Of one factorisation, about; direct kind, else 0.
  double factorization_flops() const;

  using Change = Preconditioner::Change;

  // pi: [S*A], rows summing to one (not checked).
  void SetPolicy(const Vector& pi, Change change = Change::kAny);

  // Krylov kind: whether plain iteration was too slow for some system so far.
  bool mixes_slowly() const { return mixes_slowly_; }

  // Renews the factorisation for this discount if it belongs to another policy. Direct kind only; otherwise nothing.
  void Refactor(double gamma);

  // Direct kind: whether some policy's factorisation for this discount is at hand, and its inverse applied to r.
  bool HasFactorization(double gamma) const { return factorizations_.contains(gamma); }
  Vector ApplyFactorization(double gamma, const Vector& r);

  // v holds the starting point on entry ([S], may be zero) and the solution on return. Stops when the residual is at
  // most `tolerance`, or when it no longer falls. Looks at `interrupt` in every iteration.
  Outcome Solve(double gamma, const Vector& b, double tolerance, const Interrupt& interrupt, Vector& v);
  Outcome SolveTransposed(double gamma, const Vector& b, double tolerance, const Interrupt& interrupt, Vector& z);

  // P^pi v and (P^pi)^T z.
  Vector Multiply(const Vector& v);
  Vector MultiplyTransposed(const Vector& z);

  // Roundings of one entry of P^pi v or (P^pi)^T z: the largest number of entries in a row or column of P^pi, each a
  // sum over actions, and those of the probabilities themselves. Like products and solves they need a policy.
  double row_steps() const { return matrix_->max_row_entries() + mdp_->num_actions() + mdp_->probability_rounding(); }
  double column_steps() const {
    return matrix_->max_column_entries() + mdp_->num_actions() + mdp_->probability_rounding();
  }

 private:
  enum class Side { kPlain, kTransposed };

  struct Factorization {
    std::optional<BlockLu> lu;
    uint64_t policy = 0;  // of which policy_ count
  };

  // I - gamma P^pi.
  void Fill(double gamma, BlockLu& lu) const;
  void Multiply(Side side, const Vector& v, Vector& result);
  // The same, Krylov kind alone; then(begin, end) is called for each part of the states as it is there.
  template <typename Real, typename Then>
  void MultiplyThen(Side side, const VectorOf<Real>& v, VectorOf<Real>& result, const Then& then);
  Vector Residual(Side side, double gamma, const Vector& b, const Vector& v);
  double Norm(Side side, const Vector& r) const;
  Factorization& Factorize(double gamma);
  static Vector ApplyInverse(Side side, const Factorization& factorization, const Vector& r);
  Outcome Refine(Side side, double gamma, const Vector& b, double tolerance, const Interrupt& interrupt, Vector& v);
  Outcome Iterate(Side side, double gamma, const Vector& b, double tolerance, const Interrupt& interrupt, Vector& v);
  // v <- v + r, r <- gamma P^pi r, as long as few more are foreseen to do; r is stale after it.
  void IteratePlainly(Side side, double gamma, double tolerance, const Interrupt& interrupt, Vector& v, Vector& r);
  // One BiCGSTAB run from v, whose residual is start_r, in vectors of Real; returns on breakdown too. True: there is
  // another preconditioner to go on with.
  template <typename Real>
  bool BiCgStab(Side side, double gamma, const Vector& b, const Vector& start_r, double tolerance,
                const Interrupt& interrupt, Vector& v);

  const TabularMdp* mdp_;
  Kind kind_;
  Counters counters_;
  ParallelFor parallel_for_;
  std::unique_ptr<PolicyMatrix> matrix_;  // Krylov kind: made for the first policy
  uint64_t policy_ = 0;                   // counts SetPolicy
  bool use_dense_product_ = false;
  Eigen::MatrixXd dense_;                           // P^pi, when products use it
  std::map<double, Factorization> factorizations_;  // by discount
  // Krylov kind.
  Preconditioner preconditioner_;
  bool mixes_slowly_ = false;
  bool single_precision_fails_ = false;  // once BiCGSTAB in it got no further
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_POLICY_SYSTEM_H_
