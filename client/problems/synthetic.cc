#include "client/problems/synthetic.h"

#include "client/array.h"

namespace bilevel::client {
namespace {

constexpr int kStates = 10;
constexpr int kActions = 5;
constexpr int kParameters = 100;

}  // namespace

SeededProblem Synthetic(std::uint64_t seed) {
  Random random(seed);
  SeededProblem seeded;
  v1::Problem& problem = seeded.problem;
  problem.set_num_parameters(kParameters);
  problem.set_sense(v1::SENSE_MINIMIZE);
  v1::Penalty& penalty = *problem.add_penalties();
  penalty.set_kind(v1::Penalty::KIND_SQUARED_L2);
  penalty.set_weight(1.0);

  v1::Context& context = *problem.add_contexts();
  context.set_label("synthetic");
  context.set_discount(0.5);
  context.set_temperature(1.0);
  context.add_objective()->mutable_separable();
  v1::Environment& environment = *context.mutable_environment();
  environment.set_num_states(kStates);
  environment.set_num_actions(kActions);
  *environment.mutable_transitions() = RandomTransitions(kStates, kActions, random);

  std::vector<double> coefficient = random.Uniforms(kStates * kActions);
  for (double& entry : coefficient) entry *= random.Uniform();
  v1::QuadraticForm& quadratic = *context.mutable_reward()->mutable_quadratic();
  *quadratic.mutable_coefficient() = MakeArray(coefficient, {kStates, kActions});
  *quadratic.mutable_matrix() = MakeArray(random.Normals(kParameters * kParameters), {kParameters, kParameters});
  seeded.start = random.Normals(kParameters);
  return seeded;
}

}  // namespace bilevel::client
