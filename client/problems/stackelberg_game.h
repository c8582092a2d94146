// A Stackelberg game: customs and a smuggler (an inspection game with commitment; Avenhaus, von Stengel, Zamir 2002,
// "Inspection games", Handbook of Game Theory 3).
//
// A ship calls at three ports in turn. In each step it takes on honest goods (action 0) or contraband (1) for the next
// port s. Customs of port s inspect with probability q_s; they do not see what is aboard. Contraband that is not
// inspected pays the ship gain_s and costs the leader harm_s; contraband that is found costs the ship fine_s; an
// inspection costs the leader cost_s, whatever it finds. The leader makes its q known beforehand and maximises its
// return; discount 0.9.
//
//   port   gain  fine  harm  cost   gain / (gain + fine)
//   0      1     3     2     0.4    1/4
//   1      2     2     3     0.4    1/2
//   2      1     1     1     0.4    1/2
//
// A leader who acts in each step before the follower does, as dynamics (core/README.md): a state is (port s, what is
// aboard y, what customs do b), numbered (s * 2 + y) * 2 + b, and P((s+1, a, b2) | (s, y, b), a) = omega_{b2|s+1}, with
// one softmax group (waved through, inspected) for each port. Both y use the same group, since customs do not see y;
// the ship sees b, but only when it has loaded: it answers to the announced probabilities. Episodes start with honest
// goods in a random port, b drawn by initial_features.
//
// The answer: what is loaded decides the next step alone, so each port is a game of its own. The ship smuggles with
//
//   p_s = 1 / (1 + exp(discount (q_s (gain + fine) - gain) / temperature)),
//
// and phi = -1/3 sum_s [discount harm_s p_s (1 - q_s) + cost_s q_s] / (1 - discount). As the temperature vanishes, the
// best q_s tends to gain / (gain + fine) from above, where smuggling ceases to pay, and phi to
// -1/3 sum_s cost_s q_s / (1 - discount) = -5/3, the Stackelberg value. To inspect always gives -4, never -18. Without
// commitment, q is the same in equilibrium, but the ship smuggles often enough to make an inspection worth its cost,
// discount harm p = cost, and phi = -4: the difference is what the announcement is worth.
//
// Check values at temperature 0.02: best phi = -1.857008 with q = 0.2854, 0.5352, 0.5502, above the thresholds by the
// margin that a follower needs who errs in exp(-difference / temperature) of the cases.

#ifndef BILEVEL_CLIENT_PROBLEMS_STACKELBERG_GAME_H_
#define BILEVEL_CLIENT_PROBLEMS_STACKELBERG_GAME_H_

#include <array>

#include "bilevel/v1/problem.pb.h"

namespace bilevel::client {

struct CustomsPort {
  double gain;
  double fine;
  double harm;
  double cost;
};

inline constexpr std::array<CustomsPort, 3> kCustomsPorts = {
    {{1.0, 3.0, 2.0, 0.4}, {2.0, 2.0, 3.0, 0.4}, {1.0, 1.0, 1.0, 0.4}}};

struct StackelbergGameOptions {
  double temperature = 0.02;  // > 0
};

v1::Problem StackelbergGame(const StackelbergGameOptions& options = {});

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_STACKELBERG_GAME_H_
