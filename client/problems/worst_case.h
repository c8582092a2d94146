// The worst case over contexts: one budget for the fares of two villages, so that the sick reach the clinic.
//
// Every day a patient goes to the clinic (action 0) or puts it off (1). To go costs the fare, less what the leader pays
// of it; the clinic, a day later, is worth 1 and ends the episode (one action is left in it). Discount 0.8, temperature
// 1/4. Contexts: near village, fare 1.5; far village, fare 2; town, fare 1. The leader has 1 in all and pays 1/2 + x in
// the near village and 1/2 - x in the far one, x in [-1/2, 1/2]. f_c = E 0.8^(days until the clinic) is the share of
// the good of a treatment that patients of c get; the leader maximises the worst of the three.
//
// With net = 0.8 - fare + what is paid, the patient's value, its chance to go on a day, and f are
//
//   V = tau log(exp(net / tau) + exp(0.8 V / tau)),   p = exp((net - V) / tau),   f = 0.8 p / (1 - 0.8 (1 - p)),
//
// which rise with net. So the worst case is best where both villages pay the same fare, at x = -1/4 exactly; the town,
// which pays less, is no worse. The sum of the three (AGGREGATION_WEIGHTED_SUM) is best at the end x = 1/2: a budget
// too small for both does most in one place, and the far village is given up. (The other end is a local optimum.)
//
//                         near      far       town      worst     sum
//   x = -1/4, worst case  0.282538  0.282538  0.409540  0.282538  0.974616
//   x = 1/2, sum          0.589542  0.030667  0.409540  0.030667  1.029749
//
// At x = -1/4 two contexts tie, and phi has a kink: the gradient of neither vanishes, that of their sum by multipliers
// does. Both f depend on their fare alone and in the same way, so that one rises as the other falls: the multipliers
// are 1/2 and 1/2, and the optimum moves by f/2 = 0.141269 with the weight of either village.

#ifndef BILEVEL_CLIENT_PROBLEMS_WORST_CASE_H_
#define BILEVEL_CLIENT_PROBLEMS_WORST_CASE_H_

#include "bilevel/v1/problem.pb.h"

namespace bilevel::client {

struct WorstCaseOptions {
  v1::Aggregation aggregation = v1::AGGREGATION_WORST_CASE;
};

v1::Problem WorstCase(const WorstCaseOptions& options = {});

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_WORST_CASE_H_
