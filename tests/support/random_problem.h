// Seeded random bilevel problems, kept as numbers so that an independent reference can read them too.

#ifndef BILEVEL_TESTS_SUPPORT_RANDOM_PROBLEM_H_
#define BILEVEL_TESTS_SUPPORT_RANDOM_PROBLEM_H_

#include <optional>
#include <vector>

#include "core/base/rng.h"
#include "core/problem/bilevel_problem.h"

namespace bilevel::testing {

struct ContextNumbers {
  TabularMdpSpec mdp;
  double discount = 0.9;
  double temperature = 0.5;
  ParametricRewardSpec reward;
  double weight = 1;
  ParametricDynamicsSpec dynamics;
  // Objective: a sum of terms, each where its weight is not 0. Unset discounts and empty initial distributions are the
  // context's and the environment's.
  double return_weight = 0;
  ParametricRewardSpec leader_reward;
  std::optional<double> leader_discount;
  Vector leader_initial;
  double quadratic_weight = 0;  // squared distance to the target
  Vector target;
  Vector state_weights;  // of this and the next
  double divergence_weight = 0;
  Separable::Kind divergence = Separable::Kind::kForwardKl;
  Vector divergence_target;
  double matching_weight = 0;
  SparseRows matching_features;
  Vector matching_target;
  std::optional<double> matching_discount;
  Vector matching_initial;
  double demonstration_weight = 0;
  Vector counts;
  double value_weight = 0;
  Vector value_initial;
};

struct ProblemNumbers {
  int num_parameters = 0;
  std::vector<ParameterGroup> groups;
  std::vector<ContextNumbers> contexts;
  Penalties penalties;
  Sense sense = Sense::kMinimize;
};

struct RandomProblemOptions {
  int min_states = 2, max_states = 12;
  int max_actions = 4;
  int max_parameters = 6;
  int max_contexts = 2;
  double min_discount = 0.5, max_discount = 0.999;
  double min_temperature = 1e-3, max_temperature = 1;  // drawn log-uniformly
  bool masks = true;
  bool termination = true;
  bool dynamics = true;
};

// Draws everything: supports, masks, termination, maps, rewards, dynamics, all objective terms, penalties, sense.
ProblemNumbers DrawProblem(Rng& rng, const RandomProblemOptions& options = {});

// A random MDP alone; supports of 1 to S states.
TabularMdpSpec DrawMdp(Rng& rng, int num_states, int num_actions, bool masks, bool termination);

Vector DrawNormal(Rng& rng, Eigen::Index size, double scale = 1);

// A block around the origin that most of DrawNormal(size, 3) misses. The first three are polyhedra.
enum class SetKind { kBox, kSimplex, kBudget, kBall };
FeasibleBlock DrawBlock(Rng& rng, int size, SetKind kind);

// Policy matching on a random MDP with S = 8, A = 3, n = 6: smooth, with a target that the follower cannot reach
// exactly.
ProblemNumbers DrawMatching(uint64_t seed, Sense sense = Sense::kMinimize);

// DrawMatching without and with constraints of every kind and a 1-norm: five of them.
std::vector<BilevelProblem> DrawConstrainedMatchings(uint64_t seed);

BilevelProblem Build(const ProblemNumbers& numbers);

// Features for P and rho that move with theta in the softmax groups of positive scale; nothing when there are none.
ParametricDynamicsSpec DrawDynamics(Rng& rng, const TabularMdpSpec& mdp, const std::vector<ParameterGroup>& groups);

// A problem with no parameters: one context, its reward as given.
RegularizedMdp FollowerOf(const TabularMdp& mdp, Vector reward, double discount, double temperature);

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_RANDOM_PROBLEM_H_
