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

// A distribution over the available actions of each state, none of them 0.
Vector DrawPolicy(Rng& rng, const TabularMdpSpec& mdp) {
  Vector policy = Vector::Zero(Eigen::Index{mdp.num_states} * mdp.num_actions);
  for (int s = 0; s < mdp.num_states; ++s) {
    auto row = policy.segment(Eigen::Index{s} * mdp.num_actions, mdp.num_actions);
    for (int a = 0; a < mdp.num_actions; ++a) {
      const auto at = static_cast<size_t>(s * mdp.num_actions + a);
      if (mdp.available_actions.empty() || mdp.available_actions[at] != 0) row[a] = rng.Uniform() + 1e-3;
    }
    row /= row.sum();
  }
  return policy;
}

void DrawMoreTerms(Rng& rng, Eigen::Index rows, ContextNumbers& context) {
  const int S = context.mdp.num_states;
  if (rng.Uniform() < 0.3) {
    constexpr Separable::Kind kKinds[] = {Separable::Kind::kForwardKl, Separable::Kind::kReverseKl,
                                          Separable::Kind::kEntropy};
    context.divergence_weight = rng.Normal();
    context.divergence = kKinds[rng.Below(3)];
    context.divergence_target = DrawPolicy(rng, context.mdp);
    if (context.state_weights.size() == 0) context.state_weights = DrawDistribution(rng, S);
  }
  if (rng.Uniform() < 0.3) {
    const int k = Between(rng, 1, 3);
    context.matching_weight = rng.Normal();
    context.matching_features = DrawFeatures(rng, rows, k, 0.5);
    context.matching_target = DrawNormal(rng, k);
    context.matching_discount = UniformBetween(rng, 0, 0.95);
    if (rng.Uniform() < 0.5) context.matching_initial = DrawDistribution(rng, S);
  }
  if (rng.Uniform() < 0.3) {
    context.demonstration_weight = rng.Normal();
    context.counts = 10 * DrawPolicy(rng, context.mdp);
  }
  if (rng.Uniform() < 0.3) {
    context.value_weight = rng.Normal();
    if (rng.Uniform() < 0.5) context.value_initial = DrawDistribution(rng, S);
  }
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
    if (rng.Uniform() < 0.5) context.leader_discount = UniformBetween(rng, 0, 0.99);
    if (rng.Uniform() < 0.5) context.leader_initial = DrawDistribution(rng, S);
  }
  if (kind > 0.3) {
    context.quadratic_weight = rng.Normal();
    context.target = DrawNormal(rng, rows);
    context.state_weights = DrawDistribution(rng, S);
  }
  DrawMoreTerms(rng, rows, context);
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

ParametricDynamicsSpec DrawDynamics(Rng& rng, const TabularMdpSpec& mdp, const std::vector<ParameterGroup>& groups) {
  // Parameters and scales of the groups that can carry probabilities.
  std::vector<std::pair<int, int>> usable;  // first, size
  std::vector<double> scales;
  int n = 0;
  for (const ParameterGroup& group : groups) {
    if (group.kind == MapKind::kSoftmax && group.scale > 0.01) {
      usable.emplace_back(n, group.size);
      scales.push_back(group.scale);
    }
    n += group.size;
  }
  ParametricDynamicsSpec spec;
  if (usable.empty()) return spec;
  // Shares of one distribution of mass `total` over `support` rows, for each theta of one or two groups.
  const auto spread = [&](Eigen::Index first_row, int support, double total,
                          std::vector<Eigen::Triplet<double, int64_t>>& triplets) {
    const size_t used = usable.size() > 1 && rng.Uniform() < 0.5 ? 2 : 1;
    const size_t begin = rng.Below(usable.size() - used + 1);
    for (size_t g = begin; g < begin + used; ++g) {
      for (int j = 0; j < usable[g].second; ++j) {
        const Vector p = DrawDistribution(rng, support) * (total / static_cast<double>(used) / scales[g]);
        for (int i = 0; i < support; ++i) triplets.emplace_back(first_row + i, usable[g].first + j, p[i]);
      }
    }
  };
  std::vector<Eigen::Triplet<double, int64_t>> triplets;
  for (size_t row = 0; row + 1 < mdp.offsets.size(); ++row) {
    if (rng.Uniform() < 0.3) continue;
    const auto at = static_cast<Eigen::Index>(row);
    const double ending = mdp.termination_probability.size() == 0 ? 0.0 : mdp.termination_probability[at];
    spread(static_cast<Eigen::Index>(mdp.offsets[row]), static_cast<int>(mdp.offsets[row + 1] - mdp.offsets[row]),
           1 - ending, triplets);
  }
  spec.transitions = SparseRows(static_cast<Eigen::Index>(mdp.columns.size()), n);
  spec.transitions.setFromTriplets(triplets.begin(), triplets.end());
  if (rng.Uniform() < 0.5) {
    triplets.clear();
    spread(0, mdp.num_states, 1, triplets);
    spec.initial = SparseRows(mdp.num_states, n);
    spec.initial.setFromTriplets(triplets.begin(), triplets.end());
  }
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
    ContextNumbers& context = numbers.contexts.back();
    if (options.dynamics && rng.Uniform() < 0.5) context.dynamics = DrawDynamics(rng, context.mdp, numbers.groups);
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
                    .label = "",
                    .dynamics = {}};
    const auto add = [&context](double weight, auto measure) {
      if (weight != 0) context.objective.push_back({weight, std::move(measure)});
    };
    add(c.return_weight, LeaderReturn{Must(ParametricReward::Create(rows, numbers.num_parameters, c.leader_reward)),
                                      c.leader_discount, c.leader_initial});
    add(c.quadratic_weight, Separable{Separable::Kind::kSquaredDistance, c.target, c.state_weights});
    add(c.divergence_weight, Separable{c.divergence, c.divergence_target, c.state_weights});
    add(c.matching_weight,
        FeatureMatching{c.matching_features, c.matching_target, c.matching_discount, c.matching_initial});
    if (c.demonstration_weight != 0) add(c.demonstration_weight, Demonstrations{c.counts / c.counts.sum()});
    add(c.value_weight, FollowerValue{c.value_initial});
    if (c.dynamics.transitions.rows() != 0 || c.dynamics.initial.rows() != 0) {
      context.dynamics = Must(ParametricDynamics::Create(*mdp, problem.map, c.dynamics));
    }
    problem.contexts.push_back(std::move(context));
  }
  return problem;
}

std::vector<BilevelProblem> DrawConstrainedMatchings(uint64_t seed) {
  Rng rng(seed);
  std::vector<BilevelProblem> problems(5, Build(DrawMatching(seed)));
  problems[1].penalties.l1 = 0.01;
  problems[2].feasible_set =
      *FeasibleSet::Create(6, {DrawBlock(rng, 3, SetKind::kBall), DrawBlock(rng, 3, SetKind::kBudget)});
  problems[3].feasible_set = *FeasibleSet::Create(
      6, {DrawBlock(rng, 2, SetKind::kBox), DrawBlock(rng, 2, SetKind::kSimplex), {2, Ball{Vector::Zero(2), 0.3}}});
  problems[3].penalties.l1 = 0.005;
  problems[4].feasible_set = *FeasibleSet::Create(6, {DrawBlock(rng, 6, SetKind::kBall)});
  problems[4].penalties.l1 = 0.01;
  return problems;
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
