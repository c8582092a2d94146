// The families of problems that speed is measured on, deterministic: of one name and size there is one.
//
//   rand-4       4 actions, 4 uniform successors each with uniform weights, r = u u'
//   grid-slip    n x n cells, 4 moves: 0.8 ahead, 0.1 to each side, walls hold; a cell costs 0.5 + u; the far corner is
//                the goal, where everything ends up and nothing is paid
//   queue-2d     two queues in a row, up to n - 1 in each, uniformised at 3.3: arrivals at 0.9, either server slow
//                at 0.6 or fast at 1.2; costs (i + 2 j)/n and 0.1 for each fast server
//   birth-death  a chain: up with 0.45, down with 0.2, 0.3, 0.4 or 0.5; costs i/S and 0 to 0.3 for the effort
//
// u: uniform on [0, 1), of Rng(1).

#ifndef BILEVEL_TESTS_SUPPORT_FAMILIES_H_
#define BILEVEL_TESTS_SUPPORT_FAMILIES_H_

#include <string_view>

#include "core/mdp/tabular_mdp.h"

namespace bilevel::testing {

struct Family {
  TabularMdpSpec spec;
  Vector reward;  // [S*A]
};

inline constexpr std::string_view kFamilies[] = {"rand-4", "grid-slip", "queue-2d", "birth-death"};

// num_states is rounded down to a square where cells make one. Ends the program for an unknown name.
Family MakeFamily(std::string_view name, int num_states);

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_FAMILIES_H_
