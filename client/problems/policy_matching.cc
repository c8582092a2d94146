#include "client/problems/policy_matching.h"

#include <cmath>

#include "client/array.h"

namespace bilevel::client {
namespace {

constexpr int kStates = 20;
constexpr int kActions = 4;
constexpr int kParameters = 30;

std::vector<double> RandomFeatures(Random& random) {
  std::vector<double> features = random.Normals(kStates * kActions * kParameters);
  for (double& feature : features) feature /= std::sqrt(static_cast<double>(kParameters));
  return features;
}

std::vector<double> RandomTarget(Random& random) {
  std::vector<double> target = random.Uniforms(kStates * kActions);
  for (int s = 0; s < kStates; ++s) {
    double total = 0.0;
    for (int a = 0; a < kActions; ++a) total += target[s * kActions + a];
    for (int a = 0; a < kActions; ++a) target[s * kActions + a] /= total;
  }
  return target;
}

}  // namespace

SeededProblem PolicyMatching(std::uint64_t seed) {
  Random random(seed);
  SeededProblem seeded;
  v1::Problem& problem = seeded.problem;
  problem.set_num_parameters(kParameters);
  problem.set_sense(v1::SENSE_MINIMIZE);
  v1::Penalty& penalty = *problem.add_penalties();
  penalty.set_kind(v1::Penalty::KIND_SQUARED_L2);
  penalty.set_weight(1e-3);

  v1::Context& context = *problem.add_contexts();
  context.set_label("policy matching");
  context.set_discount(0.9);
  context.set_temperature(0.5);
  v1::Environment& environment = *context.mutable_environment();
  environment.set_num_states(kStates);
  environment.set_num_actions(kActions);
  *environment.mutable_transitions() = RandomTransitions(kStates, kActions, random);
  *context.mutable_reward()->mutable_features()->mutable_dense() =
      MakeArray(RandomFeatures(random), {kStates, kActions, kParameters});

  v1::ObjectiveTerm& term = *context.add_objective();
  term.set_weight(5.0 / kStates);  // the term's own factor is 1/2
  *term.mutable_separable()->mutable_target() = MakeArray(RandomTarget(random), {kStates, kActions});
  seeded.start = random.Normals(kParameters);
  return seeded;
}

}  // namespace bilevel::client
