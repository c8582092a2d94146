#include "tests/support/known_problems.h"

namespace bilevel::testing {

TabularMdpSpec Bandit(int num_actions) {
  TabularMdpSpec spec;
  spec.num_states = 1;
  spec.num_actions = num_actions;
  spec.offsets.push_back(0);
  for (int a = 0; a < num_actions; ++a) {
    spec.columns.push_back(0);
    spec.probabilities.push_back(1);
    spec.offsets.push_back(spec.columns.size());
  }
  return spec;
}

TabularMdpSpec Chain(int num_states) {
  TabularMdpSpec spec;
  spec.num_states = num_states;
  spec.num_actions = 1;
  spec.offsets.push_back(0);
  spec.termination_probability = Vector::Unit(num_states, num_states - 1);
  for (int s = 0; s + 1 < num_states; ++s) {
    spec.columns.push_back(static_cast<uint32_t>(s) + 1);
    spec.probabilities.push_back(1);
    spec.offsets.push_back(spec.columns.size());
  }
  spec.offsets.push_back(spec.columns.size());
  return spec;
}

TabularMdpSpec Switch() {
  TabularMdpSpec spec;
  spec.num_states = spec.num_actions = 2;
  spec.offsets = {0, 1, 2, 3, 4};
  spec.columns = {0, 1, 1, 0};
  spec.probabilities = {1, 1, 1, 1};
  return spec;
}

ProblemNumbers SaddleAtZero(double temperature) {
  ContextNumbers c;
  c.mdp = Bandit(2);
  c.temperature = temperature;
  c.reward.base = Vector::Zero(2);
  c.reward.coefficient = Vector::Unit(2, 0);
  c.reward.matrix = Vector{{1.0, -1.0}}.asDiagonal();
  c.quadratic_weight = 1;
  c.target = Vector::Unit(2, 1);
  c.state_weights = Vector::Ones(1);
  ProblemNumbers numbers;
  numbers.num_parameters = 2;
  numbers.contexts.push_back(c);
  return numbers;
}

BilevelProblem KinkAtZero(double temperature) {
  ProblemNumbers numbers = SaddleAtZero(temperature);
  numbers.contexts.push_back(numbers.contexts[0]);
  for (const double side : {1.0, -1.0}) {
    ContextNumbers& context = numbers.contexts[side > 0 ? 0 : 1];
    context.reward.coefficient = Vector();
    context.reward.matrix = Eigen::MatrixXd();
    context.reward.features.resize(2, 2);
    context.reward.features.insert(0, 0) = side;
  }
  BilevelProblem problem = Build(numbers);
  problem.aggregation = Aggregation::kWorstCase;
  return problem;
}

}  // namespace bilevel::testing
