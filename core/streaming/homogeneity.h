// Whether two samples come from the same laws, stratum by stratum: in each stratum i two counts of every kind j of
// outcome, n_0(i,j) before and n_1(i,j) now, drawn from p_i(.), which may differ from stratum to stratum in any way.
//
//   X^2 = sum_i (N_i - 1)/N_i sum_j (n_1(i,j) - e(i,j))^2 (1/e(i,j) + 1/e_0(i,j)),   e = n_1(i) c(i,j) / N_i
//
// with c = n_0 + n_1, N_i their sum over j, e_0 = n_0(i) c / N_i: Pearson's statistic, chi-square with sum_i (kinds -
// 1) degrees of freedom. Kinds of which either sample should have fewer than 5 are put together, in the order given.
//
// Strata too thin for two such kinds share one degree of freedom (Mantel and Haenszel): their likeliest kind against
// the others, surplus now over all of them,
//
//   (|sum_i n_1(i,j_i) - e(i,j_i)| - 1/2)^2 / sum_i n_0(i) n_1(i) c (N_i - c) / (N_i^2 (N_i - 1)),   c = c(i,j_i)
//
// where that variance is at least 5. What is put together, and j_i, follow from c(i,.), n_0(i) and n_1(i) alone, given
// which the law of n_1(i,.) without drift is known; choosing them takes nothing from the p-value.
//
// Pearson's tail is too light for single rare kinds and the likelihood ratio's, 2 sum n log(n/e), is too heavy in the
// middle: the larger of the two p-values is taken, the ratio being divided by its mean over the degrees of freedom
// (Williams 1976).
//
// Cochran (1954), Biometrics 10; Mantel, Haenszel (1959), J. Natl. Cancer Inst. 22. That outcomes of a Markov chain
// given (s,a) may be taken as such strata though their numbers are random: Billingsley (1961), Ann. Math. Statist. 32.

#ifndef BILEVEL_CORE_STREAMING_HOMOGENEITY_H_
#define BILEVEL_CORE_STREAMING_HOMOGENEITY_H_

#include <cstdint>
#include <span>
#include <vector>

namespace bilevel {

// One kind of outcome.
struct PairedCount {
  double before = 0, now = 0;
};

class Homogeneity {
 public:
  // One stratum. Cost: O(kinds).
  void Add(std::span<const PairedCount> kinds);

  struct Result {
    double statistic = 0;  // X^2
    int64_t degrees = 0;   // of freedom; 0: nothing to compare
    double p_value = 1;
  };
  Result Find() const;

 private:
  double pearson_ = 0, ratio_ = 0;
  int64_t degrees_ = 0;
  double thin_surplus_ = 0, thin_variance_ = 0;
  std::vector<PairedCount> pooled_;  // of the stratum under way
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_HOMOGENEITY_H_
