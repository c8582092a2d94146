#include "tests/support/random_problem.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>

namespace bilevel::testing {
namespace {

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "test problem is invalid: %s\n", value.status().ToString().c_str());
    std::abort();
  }
  return *std::move(value);
}

int Between(Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.Below(static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1));
}

double UniformBetween(Rng& rng, double low, double high) { return low + (high - low) * rng.Uniform(); }

double LogUniform(Rng& rng, double low, double high) {
  return std::exp(UniformBetween(rng, std::log(low), std::log(high)));
}

SparseRows DrawFeatures(Rng& rng, Eigen::Index rows, int n, double density) {
  std::vector<Eigen::Triplet<double, int64_t>> triplets;
  for (Eigen::Index row = 0; row < rows; ++row) {
    for (int j = 0; j < n; ++j) {
      if (rng.Uniform() < density) triplets.emplace_back(row, j, rng.Normal());
    }
  }
  SparseRows features(rows, n);
  features.setFromTriplets(triplets.begin(), triplets.end());
  return features;
}

ParametricRewardSpec DrawReward(Rng& rng, Eigen::Index rows, int n) {
  ParametricRewardSpec reward;
  reward.base = DrawNormal(rng, rows);
  reward.features = DrawFeatures(rng, rows, n, 0.5);
  if (rng.Uniform() < 0.3) {
    reward.coefficient = DrawNormal(rng, rows, 0.3);
    reward.matrix = Eigen::MatrixXd(n, n);
    for (double& entry : reward.matrix.reshaped()) entry = rng.Normal();
  }
  return reward;
}

Vector DrawDistribution(Rng& rng, int size) {
  Vector p(size);
  for (double& entry : p) entry = rng.Uniform() + 1e-3;
  return p / p.sum();
}

ContextNumbers DrawContext(Rng& rng, int n, const RandomProblemOptions& options) {
  ContextNumbers context;
  const int S = Between(rng, options.min_states, options.max_states), A = Between(rng, 1, options.max_actions);
  const Eigen::Index rows = Eigen::Index{S} * A;
  context.mdp = DrawMdp(rng, S, A, options.masks && rng.Uniform() < 0.5, options.termination && rng.Uniform() < 0.5);
  context.discount = 1 - LogUniform(rng, 1 - options.max_discount, 1 - options.min_discount);
  context.temperature = LogUniform(rng, options.min_temperature, options.max_temperature);
  context.reward = DrawReward(rng, rows, n);
  context.weight = UniformBetween(rng, 0.2, 2);
  const double kind = rng.Uniform();
  if (kind < 0.7) {
    context.return_weight = rng.Normal();
    context.leader_reward = DrawReward(rng, rows, n);
    context.leader_discount = rng.Uniform() < 0.5 ? context.discount : UniformBetween(rng, 0, 0.99);
    context.leader_initial = DrawDistribution(rng, S);
  }
  if (kind > 0.3) {
    context.quadratic_weight = rng.Normal();
    context.target = DrawNormal(rng, rows);
    context.state_weights = DrawDistribution(rng, S);
  }
  return context;
}

}  // namespace

Vector DrawNormal(Rng& rng, Eigen::Index size, double scale) {
  Vector v(size);
  for (double& entry : v) entry = scale * rng.Normal();
  return v;
}

TabularMdpSpec DrawMdp(Rng& rng, int num_states, int num_actions, bool masks, bool termination) {
  TabularMdpSpec spec;
  spec.num_states = num_states;
  spec.num_actions = num_actions;
  spec.offsets.push_back(0);
  const size_t rows = static_cast<size_t>(num_states) * static_cast<size_t>(num_actions);
  if (masks) spec.available_actions.assign(rows, 1);
  if (termination) spec.termination_probability = Vector::Zero(static_cast<Eigen::Index>(rows));
  for (size_t row = 0; row < rows; ++row) {
    const double ending = termination && rng.Uniform() < 0.3 ? rng.Uniform() : 0.0;
    if (termination) spec.termination_probability[static_cast<Eigen::Index>(row)] = ending;
    // Action 0 is always available.
    if (masks && row % static_cast<size_t>(num_actions) != 0 && rng.Uniform() < 0.3) spec.available_actions[row] = 0;
    std::vector<std::pair<uint32_t, double>> entries;
    const double density = rng.Uniform();
    for (uint32_t s = 0; s < static_cast<uint32_t>(num_states); ++s) {
      if (rng.Uniform() < density) entries.emplace_back(s, rng.Uniform() + 1e-3);
    }
    if (entries.empty()) entries.emplace_back(static_cast<uint32_t>(rng.Below(static_cast<uint64_t>(num_states))), 1.0);
    double sum = 0;
    for (const auto& [s, weight] : entries) sum += weight;
    for (const auto& [s, weight] : entries) {
      spec.columns.push_back(s);
      spec.probabilities.push_back(weight / sum * (1 - ending));
    }
    spec.offsets.push_back(spec.columns.size());
  }
  spec.initial_distribution = DrawDistribution(rng, num_states);
  return spec;
}

ProblemNumbers DrawProblem(Rng& rng, const RandomProblemOptions& options) {
  ProblemNumbers numbers;
  numbers.num_parameters = Between(rng, 1, options.max_parameters);
  constexpr MapKind kKinds[] = {MapKind::kIdentity, MapKind::kSigmoid, MapKind::kSoftmax, MapKind::kExp,
                                MapKind::kTanh};
  for (int left = numbers.num_parameters; left > 0;) {
    ParameterGroup group;
    group.size = Between(rng, 1, left);
    group.kind = kKinds[rng.Below(5)];
    group.scale = rng.Normal();
    numbers.groups.push_back(group);
    left -= group.size;
  }
  for (int c = Between(rng, 1, options.max_contexts); c > 0; --c) {
    numbers.contexts.push_back(DrawContext(rng, numbers.num_parameters, options));
  }
  if (rng.Uniform() < 0.5) numbers.penalties.squared_l2 = rng.Uniform();
  numbers.sense = rng.Uniform() < 0.5 ? Sense::kMinimize : Sense::kMaximize;
  return numbers;
}

FeasibleBlock DrawBlock(Rng& rng, int size, SetKind kind) {
  const Vector center = DrawNormal(rng, size);
  const auto positive = [&] { return Vector(DrawNormal(rng, size).cwiseAbs().array() + 0.1); };
  switch (kind) {
    case SetKind::kBox:
      return {size, Box{center - positive(), center + positive()}};
    case SetKind::kSimplex:
      return {size, Simplex{0.1 + rng.Uniform()}};
    case SetKind::kBudget:
      return {size, Budget{0.1 + 2 * rng.Uniform()}};
    case SetKind::kBall:
      return {size, Ball{rng.Uniform() < 0.3 ? Vector(Vector::Zero(size)) : center, 0.1 + 2 * rng.Uniform()}};
  }
  std::abort();
}

ProblemNumbers DrawMatching(uint64_t seed, Sense sense) {
  Rng rng(seed);
  ProblemNumbers numbers;
  numbers.num_parameters = 6;
  numbers.sense = sense;
  numbers.penalties.squared_l2 = 1e-3;
  ContextNumbers c;
  c.mdp = DrawMdp(rng, 8, 3, true, true);
  c.discount = 0.9;
  c.temperature = 0.5;
  c.reward.base = Vector::Zero(24);
  c.reward.features = (Eigen::MatrixXd::NullaryExpr(24, 6, [&] { return rng.Normal() / 3; })).sparseView();
  c.quadratic_weight = sense == Sense::kMinimize ? 1.0 / 8 : -1.0 / 8;
  c.target = DrawNormal(rng, 24).cwiseAbs();
  c.state_weights = Vector::Ones(8);
  numbers.contexts.push_back(c);
  return numbers;
}

BilevelProblem Build(const ProblemNumbers& numbers) {
  BilevelProblem problem{.num_parameters = numbers.num_parameters,
                         .map = Must(ParameterMap::Create(numbers.num_parameters, numbers.groups)),
                         .contexts = {},
                         .penalties = numbers.penalties,
                         .feasible_set = Must(FeasibleSet::Create(numbers.num_parameters, {})),
                         .sense = numbers.sense,
                         .aggregation = Aggregation::kWeightedSum};
  for (const ContextNumbers& c : numbers.contexts) {
    auto mdp = std::make_shared<const TabularMdp>(Must(TabularMdp::Create(c.mdp)));
    const Eigen::Index rows = mdp->num_rows();
    Context context{.mdp = mdp,
                    .discount = c.discount,
                    .temperature = c.temperature,
                    .reward = Must(ParametricReward::Create(rows, numbers.num_parameters, c.reward)),
                    .objective = {},
                    .weight = c.weight,
                    .label = ""};
    if (c.return_weight != 0) {
      context.objective.push_back(
          {c.return_weight, LeaderReturn{Must(ParametricReward::Create(rows, numbers.num_parameters, c.leader_reward)),
                                         c.leader_discount, c.leader_initial}});
    }
    if (c.quadratic_weight != 0) {
      context.objective.push_back({c.quadratic_weight, SeparableQuadratic{c.target, c.state_weights}});
    }
    problem.contexts.push_back(std::move(context));
  }
  return problem;
}

RegularizedMdp FollowerOf(const TabularMdp& mdp, Vector reward, double discount, double temperature) {
  RegularizedMdp follower;
  follower.mdp = &mdp;
  follower.reward = std::move(reward);
  follower.discount = discount;
  follower.temperature = temperature;
  return follower;
}

}  // namespace bilevel::testing
