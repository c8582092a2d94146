// A problem drawn at random, with the starting point that belongs to it.

#ifndef BILEVEL_CLIENT_PROBLEMS_SEEDED_PROBLEM_H_
#define BILEVEL_CLIENT_PROBLEMS_SEEDED_PROBLEM_H_

#include <vector>

#include "bilevel/v1/problem.pb.h"
#include "client/problems/random.h"

namespace bilevel::client {

struct SeededProblem {
  v1::Problem problem;
  std::vector<double> start;  // x_1, [n]
};

// Transition probabilities [num_states * num_actions, num_states], row after row: the number of successors
// k ~ U{1, ..., num_states - 1}, then k distinct states, then their weights U(0, 1) in the order of states, normalised.
v1::Matrix RandomTransitions(int num_states, int num_actions, Random& random);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_SEEDED_PROBLEM_H_
