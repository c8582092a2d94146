// Entrywise upper bounds through the inverse of I - gamma P^pi', when pi' is known only to be near pi.
//
// For g >= 0 and every policy pi' <= (1 + kappa) pi:
//
//   Bound(g)           >= (I - gamma P^pi')^{-1} g
//   BoundTransposed(g) >= (I - gamma P^pi')^{-T} g
//
// Why: I - gamma P^pi' is an M-matrix, so w >= 0 with (I - gamma (1 + kappa) P^pi) w >= g proves it, whatever way w was
// found. Either the end of the series sum_i (gamma (1 + kappa) P^pi)^i g is in sight, or an approximate solution is
// corrected by the smallest multiple of a positive vector that makes the inequality hold, rounding included. Where that
// fails (kappa too large, interrupted) the norm bounds |g|_inf / (1 - gamma b) and |g|_1 / (1 - gamma b) remain, b the
// largest row sum of P; they hold for every policy, and cost nothing.  Derivation: core/README.md.

#ifndef BILEVEL_CORE_MDP_MAJORANT_H_
#define BILEVEL_CORE_MDP_MAJORANT_H_

#include "core/base/interrupt.h"
#include "core/mdp/policy_system.h"

namespace bilevel {

class Majorant {
 public:
  // kNorms: the norm bounds alone, without any product.
  enum class Effort { kNorms, kSolves };

  // `system` holds pi and must outlive this; kappa >= 0, may be infinite. 0 <= gamma, gamma * mdp.max_row_sum() < 1.
  Majorant(const TabularMdp& mdp, PolicySystem& system, double gamma, double kappa, const Interrupt& interrupt,
           Effort effort = Effort::kSolves);

  double gamma() const { return gamma_; }
  Effort effort() const { return effort_; }

  // On the sum of (I - gamma P^pi')^{-T} g for every policy pi' and g >= 0 of this sum.
  double BoundSum(double sum) const;

  // g: [S], >= 0. Cost: one linear solve to a few digits; with kNorms all entries are the same.
  Vector Bound(const Vector& g);
  // As above; the first call solves one more system. With kNorms BoundSum says as much of the sum and is S times
  // smaller.
  Vector BoundTransposed(const Vector& g);

 private:
  // (I - gamma (1 + kappa) P^pi) w, lowered by its rounding error.
  Vector LowerImage(const Vector& w, bool transposed);

  // Krylov kind, where the end of the series is in sight after few products: a bound, into w.
  bool SumSeries(const Vector& g, bool transposed, Vector& w);
  // Solves from w, to `tolerance * size` at last, until little is left to be corrected: a bound.
  Vector SolveAndCorrect(const Vector& g, bool transposed, double size, const Vector& corrector, double corrector_image,
                         Vector w);
  void FindVisits(Eigen::Index size);

  PolicySystem& system_;
  double gamma_;
  double inflated_;     // gamma (1 + kappa)
  double contraction_;  // gamma times the largest row sum
  double loosest_;      // relative tolerance of solves to begin with
  double sum_padding_;  // covers the roundings of a sum over states
  Interrupt interrupt_;
  Effort effort_;
  Vector visits_;            // approximates (I - gamma P^pi)^{-T} 1; empty until needed
  double visits_image_ = 0;  // smallest entry of its lower image
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_MAJORANT_H_
