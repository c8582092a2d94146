#include "server/convert/problem.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/floating_point.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/environment.h"
#include "server/convert/in_field.h"
#include "server/convert/matrix.h"
#include "server/convert/objective.h"
#include "server/convert/reward.h"

namespace bilevel::server {
namespace {

constexpr size_t kLabelBytes = 256;

std::string At(int index) { return absl::StrCat("[", index, "]"); }

absl::Status UnknownEnum(std::string_view field, int value, std::string_view names) {
  const std::string given = value == 0 ? "unspecified" : absl::StrCat(value);
  return FieldError(field, absl::StrCat("is ", given, "; must be one of ", AbslText(names)));
}

absl::StatusOr<ParameterGroup> DecodeGroup(const v1::ParameterGroup& group) {
  ParameterGroup result{.size = group.size(), .scale = group.has_scale() ? group.scale() : 1};
  switch (group.map()) {
    case v1::ParameterGroup::MAP_IDENTITY:
      result.kind = MapKind::kIdentity;
      return result;
    case v1::ParameterGroup::MAP_SIGMOID:
      result.kind = MapKind::kSigmoid;
      return result;
    case v1::ParameterGroup::MAP_SOFTMAX:
      result.kind = MapKind::kSoftmax;
      return result;
    case v1::ParameterGroup::MAP_EXP:
      result.kind = MapKind::kExp;
      return result;
    case v1::ParameterGroup::MAP_TANH:
      result.kind = MapKind::kTanh;
      return result;
    default:
      return UnknownEnum("map", group.map(), "MAP_IDENTITY, MAP_SIGMOID, MAP_SOFTMAX, MAP_EXP, MAP_TANH");
  }
}

absl::StatusOr<ParameterMap> DecodeMap(const v1::Problem& problem) {
  std::vector<ParameterGroup> groups;
  for (int i = 0; i < problem.parameter_groups_size(); ++i) {
    ASSIGN_OR_RETURN(const ParameterGroup group, InField(At(i), DecodeGroup(problem.parameter_groups(i))));
    groups.push_back(group);
  }
  return ParameterMap::Create(problem.num_parameters(), std::move(groups));
}

// [size], or [1] for all.
absl::StatusOr<Vector> DecodeEach(const v1::Array& array, int size, Finite finite) {
  ASSIGN_OR_RETURN(const int64_t count, CountElements(array));
  if (count != 1) return DecodeReals(array, {size}, finite);
  ASSIGN_OR_RETURN(const Vector one, DecodeReals(array, {1}, finite));
  return Vector(Vector::Constant(size, one[0]));
}

absl::StatusOr<Box> DecodeBox(const v1::Box& box, int size) {
  Box result{.lower = Vector::Constant(size, -kInfinity), .upper = Vector::Constant(size, kInfinity)};
  if (box.has_lower()) {
    ASSIGN_OR_RETURN(result.lower, InField("lower", DecodeEach(box.lower(), size, Finite::kNotRequired)));
  }
  if (box.has_upper()) {
    ASSIGN_OR_RETURN(result.upper, InField("upper", DecodeEach(box.upper(), size, Finite::kNotRequired)));
  }
  return result;
}

absl::StatusOr<Ball> DecodeBall(const v1::Ball& ball, int size) {
  Ball result{.center = Vector::Zero(size), .radius = ball.has_radius() ? ball.radius() : 1};
  if (ball.has_center()) {
    ASSIGN_OR_RETURN(result.center, InField("center", DecodeEach(ball.center(), size, Finite::kRequired)));
  }
  return result;
}

// Sizes first: a box without bounds is as large as it says.
absl::Status CheckBlockSizes(const v1::Problem& problem) {
  int64_t total = 0;
  for (int i = 0; i < problem.feasible_set_size(); ++i) {
    const int32_t size = problem.feasible_set(i).size();
    if (size < 1) return FieldError(At(i) + ".size", absl::StrCat("is ", size, "; must be >= 1"));
    total += size;
  }
  if (total != problem.num_parameters()) {
    return FieldError(
        "", absl::StrCat("sizes sum to ", total, "; must sum to num_parameters = ", problem.num_parameters()));
  }
  return absl::OkStatus();
}

absl::StatusOr<FeasibleSet> DecodeFeasibleSet(const v1::Problem& problem) {
  std::vector<FeasibleBlock> blocks;
  if (problem.feasible_set_size() != 0) RETURN_IF_ERROR(CheckBlockSizes(problem));
  for (int i = 0; i < problem.feasible_set_size(); ++i) {
    const v1::FeasibleBlock& block = problem.feasible_set(i);
    blocks.push_back({.size = block.size(), .set = Unconstrained{}});
    if (block.has_box()) {
      ASSIGN_OR_RETURN(blocks.back().set, InField(At(i) + ".box", DecodeBox(block.box(), block.size())));
    } else if (block.has_simplex()) {
      blocks.back().set = Simplex{.total = block.simplex().has_total() ? block.simplex().total() : 1};
    } else if (block.has_ball()) {
      ASSIGN_OR_RETURN(blocks.back().set, InField(At(i) + ".ball", DecodeBall(block.ball(), block.size())));
    } else if (block.has_budget()) {
      blocks.back().set = Budget{.total = block.budget().has_total() ? block.budget().total() : 1};
    }
  }
  return FeasibleSet::Create(problem.num_parameters(), std::move(blocks));
}

absl::StatusOr<Penalties> DecodePenalties(const v1::Problem& problem) {
  Penalties result;
  for (int i = 0; i < problem.penalties_size(); ++i) {
    const v1::Penalty& penalty = problem.penalties(i);
    const double weight = penalty.has_weight() ? penalty.weight() : 1;
    if (!(weight >= 0) || !std::isfinite(weight)) {
      return FieldError(At(i) + ".weight", absl::StrCat("is ", ToText(weight), "; must be finite and >= 0"));
    }
    switch (penalty.kind()) {
      case v1::Penalty::KIND_SQUARED_L2:
        result.squared_l2 += weight;
        break;
      case v1::Penalty::KIND_L1:
        result.l1 += weight;
        break;
      default:
        return UnknownEnum(At(i) + ".kind", penalty.kind(), "KIND_SQUARED_L2, KIND_L1");
    }
  }
  return result;
}

absl::StatusOr<ParametricDynamicsSpec> DecodeDynamics(const v1::Dynamics& dynamics, const TabularMdp& mdp, int n) {
  ParametricDynamicsSpec spec;
  if (dynamics.has_transition_features()) {
    ASSIGN_OR_RETURN(spec.transitions,
                     InField("transition_features", DecodeSparseRows(dynamics.transition_features(),
                                                                     static_cast<int64_t>(mdp.num_entries()), n)));
  }
  if (dynamics.has_initial_features()) {
    ASSIGN_OR_RETURN(spec.initial,
                     InField("initial_features", DecodeSparseRows(dynamics.initial_features(), mdp.num_states(), n)));
  }
  return spec;
}

absl::StatusOr<Context> DecodeContext(const v1::Context& context, const std::shared_ptr<const TabularMdp>& mdp,
                                      const ParameterMap& map) {
  if (!context.has_discount()) return FieldError("discount", "is absent; required, in [0, 1)");
  if (!context.has_temperature()) return FieldError("temperature", "is absent; required, > 0");
  if (context.label().size() > kLabelBytes) {
    return FieldError("label", absl::StrCat("has ", context.label().size(), " bytes; must have at most ", kLabelBytes));
  }
  const int n = map.num_parameters();
  ASSIGN_OR_RETURN(ParametricDynamicsSpec dynamics, InField("dynamics", DecodeDynamics(context.dynamics(), *mdp, n)));
  const TermContext shared{*mdp, dynamics.transitions.rows() == 0 ? nullptr : &dynamics.transitions, n};
  ASSIGN_OR_RETURN(ParametricReward reward,
                   InField("reward", DecodeReward(context.reward(), *mdp, shared.dynamics, n)));
  Context result{.mdp = mdp,
                 .discount = context.discount(),
                 .temperature = context.temperature(),
                 .reward = std::move(reward),
                 .objective = {},
                 .weight = context.has_weight() ? context.weight() : 1,
                 .label = context.label(),
                 .dynamics = {}};
  RETURN_IF_ERROR(CheckContext(result));
  result.objective.reserve(static_cast<size_t>(context.objective_size()));
  for (int i = 0; i < context.objective_size(); ++i) {
    absl::StatusOr<ObjectiveTerm> term = DecodeObjectiveTerm(context.objective(i), shared);
    if (!term.ok()) return WithField("objective" + At(i), term.status());
    result.objective.push_back(*std::move(term));
  }
  if (context.dynamics().has_transition_features() || context.dynamics().has_initial_features()) {
    ASSIGN_OR_RETURN(result.dynamics, InField("dynamics", ParametricDynamics::Create(*mdp, map, std::move(dynamics))));
  }
  return result;
}

// Environments are compared with those of so many contexts before, not with all: that would be quadratic.
constexpr int kLookBack = 16;

// Of a context's environment message; those before it are decoded.
absl::StatusOr<std::shared_ptr<const TabularMdp>> DecodeInline(const v1::Problem& problem, int i,
                                                               const std::vector<Context>& before,
                                                               const Limits& limits) {
  const v1::Environment& environment = problem.contexts(i).environment();
  // The grid is not part of the comparison.
  RETURN_IF_ERROR(CheckGrid(environment));
  for (int j = std::max(0, i - kLookBack); j < i; ++j) {
    const v1::Context& other = problem.contexts(j);
    if (other.has_environment() && SameEnvironment(other.environment(), environment)) {
      return before[static_cast<size_t>(j)].mdp;
    }
  }
  ASSIGN_OR_RETURN(TabularMdp mdp, DecodeEnvironment(environment, limits));
  return std::make_shared<const TabularMdp>(std::move(mdp));
}

absl::StatusOr<std::shared_ptr<const TabularMdp>> DecodeMdp(const v1::Problem& problem, int i,
                                                            const std::vector<Context>& before, const Limits& limits,
                                                            const NamedEnvironments& environments) {
  const v1::Context& context = problem.contexts(i);
  switch (context.environment_source_case()) {
    case v1::Context::kEnvironment:
      return InField("environment", DecodeInline(problem, i, before, limits));
    case v1::Context::kEnvironmentName: {
      const auto named = environments.find(context.environment_name());
      if (named != environments.end()) return named->second;
      return FieldError("environment_name", "is given; this call takes environments inline");
    }
    default:
      return FieldError("environment", "is absent; required, unless environment_name is given");
  }
}

absl::StatusOr<std::vector<Context>> DecodeContexts(const v1::Problem& problem, const ParameterMap& map,
                                                    const Limits& limits, const NamedEnvironments& environments) {
  if (problem.contexts_size() == 0) return FieldError("", "is empty; at least one context is required");
  std::vector<Context> contexts;
  contexts.reserve(static_cast<size_t>(problem.contexts_size()));
  for (int i = 0; i < problem.contexts_size(); ++i) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const TabularMdp> mdp,
                     InField(At(i), DecodeMdp(problem, i, contexts, limits, environments)));
    ASSIGN_OR_RETURN(Context context, InField(At(i), DecodeContext(problem.contexts(i), mdp, map)));
    contexts.push_back(std::move(context));
  }
  return contexts;
}

absl::StatusOr<Sense> DecodeSense(v1::Sense sense) {
  switch (sense) {
    case v1::SENSE_UNSPECIFIED:
      return Sense::kUnspecified;
    case v1::SENSE_MINIMIZE:
      return Sense::kMinimize;
    case v1::SENSE_MAXIMIZE:
      return Sense::kMaximize;
    default:
      return UnknownEnum("sense", sense, "SENSE_MINIMIZE, SENSE_MAXIMIZE");
  }
}

absl::StatusOr<Aggregation> DecodeAggregation(v1::Aggregation aggregation) {
  switch (aggregation) {
    case v1::AGGREGATION_UNSPECIFIED:
    case v1::AGGREGATION_WEIGHTED_SUM:
      return Aggregation::kWeightedSum;
    case v1::AGGREGATION_WORST_CASE:
      return Aggregation::kWorstCase;
    default:
      return UnknownEnum("aggregation", aggregation, "AGGREGATION_WEIGHTED_SUM, AGGREGATION_WORST_CASE");
  }
}

absl::Status CheckTheta(const BilevelProblem& problem, const Vector& x) {
  const Vector theta = problem.map.Apply(x);
  if (theta.allFinite()) return absl::OkStatus();
  Eigen::Index at = 0;
  while (std::isfinite(theta[at])) ++at;
  return FieldError("", absl::StrCat("entry ", at, " is ", ToText(x[at]), ", which its parameter group maps to ",
                                     ToText(theta[at]), "; theta must be finite"));
}

}  // namespace

absl::StatusOr<BilevelProblem> DecodeProblem(const v1::Problem& problem, Purpose purpose, const Limits& limits,
                                             const NamedEnvironments& environments) {
  const int smallest = purpose == Purpose::kGradient ? 1 : 0;
  if (problem.num_parameters() < smallest) {
    return FieldError("num_parameters", absl::StrCat("is ", problem.num_parameters(), "; must be >= ", smallest,
                                                     smallest == 1 ? " where a gradient is asked for" : ""));
  }
  ASSIGN_OR_RETURN(ParameterMap map, InField("parameter_groups", DecodeMap(problem)));
  ASSIGN_OR_RETURN(const Penalties penalties, InField("penalties", DecodePenalties(problem)));
  ASSIGN_OR_RETURN(FeasibleSet feasible_set, InField("feasible_set", DecodeFeasibleSet(problem)));
  ASSIGN_OR_RETURN(const Sense sense, DecodeSense(problem.sense()));
  ASSIGN_OR_RETURN(const Aggregation aggregation, DecodeAggregation(problem.aggregation()));
  absl::StatusOr<std::vector<Context>> contexts = DecodeContexts(problem, map, limits, environments);
  if (!contexts.ok()) return WithField("contexts", contexts.status());
  BilevelProblem result{.num_parameters = problem.num_parameters(),
                        .map = std::move(map),
                        .contexts = *std::move(contexts),
                        .penalties = penalties,
                        .feasible_set = std::move(feasible_set),
                        .sense = sense,
                        .aggregation = aggregation};
  if (purpose == Purpose::kGradient) RETURN_IF_ERROR(CheckObjective(result));
  return result;
}

absl::StatusOr<Vector> DecodeParameters(const v1::Array* parameters, const BilevelProblem& problem) {
  Vector x = Vector::Zero(problem.num_parameters);
  if (parameters != nullptr) {
    ASSIGN_OR_RETURN(x, DecodeReals(*parameters, {problem.num_parameters}));
  }
  RETURN_IF_ERROR(CheckTheta(problem, x));
  return x;
}

absl::StatusOr<std::vector<Vector>> DecodePoints(const v1::Array* parameters, const BilevelProblem& problem) {
  std::vector<Vector> points;
  if (parameters == nullptr || parameters->shape_size() != 2) {
    ASSIGN_OR_RETURN(Vector x, DecodeParameters(parameters, problem));
    points.push_back(std::move(x));
    return points;
  }
  const int64_t k = parameters->shape(0), n = problem.num_parameters;
  if (k < 1) return FieldError("shape", absl::StrCat("has ", k, " points; must be [n] or [k, n] with k >= 1"));
  ASSIGN_OR_RETURN(const Vector all, DecodeReals(*parameters, {k, n}));
  for (int64_t i = 0; i < k; ++i) {
    points.emplace_back(all.segment(i * n, n));
    RETURN_IF_ERROR(InField(absl::StrCat("[", i, "]"), CheckTheta(problem, points.back())));
  }
  return points;
}

int64_t CountPoints(const v1::Array& parameters) {
  if (parameters.shape_size() != 2) return 1;
  // A shape that announces more than was sent is refused when it is decoded.
  const int64_t sent =
      std::max<int64_t>(static_cast<int64_t>(parameters.raw().size()), parameters.values().list_size());
  return std::clamp<int64_t>(parameters.shape(0), 1, std::max<int64_t>(sent, 1));
}

}  // namespace bilevel::server
