// Garbage for every field: each request is refused with the documented code, the path, the value and the rule; the
// server answers afterwards, and its memory is where it was.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/array.h"
#include "client/problems/two_state.h"
#include "tests/server/loopback.h"
#include "tests/server/requests.h"

namespace bilevel::server {
namespace {

using client::MakeArray;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr grpc::StatusCode kExhausted = grpc::StatusCode::RESOURCE_EXHAUSTED;

using Call = std::function<grpc::Status(v1::SolverService::Stub&)>;

struct Case {
  std::string name;
  Call call;
  grpc::StatusCode code;
  std::string path;   // of BadRequest, or subject of QuotaFailure
  std::string value;  // in the description
  std::string rule;   // in the description
};

v1::Array Indices(std::initializer_list<uint32_t> elements) {
  v1::Array array;
  for (const uint32_t element : elements) array.mutable_indices()->add_list(element);
  return array;
}

// The two-state problem with compressed transitions.
v1::Problem SparseProblem() {
  v1::Problem problem = client::TwoState();
  v1::SparseMatrix sparse;
  sparse.set_rows(4);
  sparse.set_cols(2);
  *sparse.mutable_offsets() = MakeArray(std::vector<uint64_t>{0, 1, 2, 3, 4});
  *sparse.mutable_columns() = MakeArray(std::vector<uint32_t>{0, 1, 0, 1});
  *sparse.mutable_values() = Reals({1, 1, 1, 1});
  *problem.mutable_contexts(0)->mutable_environment()->mutable_transitions()->mutable_sparse() = sparse;
  return problem;
}

Call Evaluate(const std::function<void(v1::EvaluateHypergradientRequest&)>& spoil) {
  return [spoil](v1::SolverService::Stub& stub) {
    v1::EvaluateHypergradientRequest request;
    *request.mutable_problem() = SparseProblem();
    spoil(request);
    grpc::ClientContext context;
    SetDeadline(context, std::chrono::seconds(20));
    v1::EvaluateHypergradientResponse response;
    return stub.EvaluateHypergradient(&context, request, &response);
  };
}

Call OfProblem(const std::function<void(v1::Problem&)>& spoil) {
  return Evaluate([spoil](v1::EvaluateHypergradientRequest& request) { spoil(*request.mutable_problem()); });
}

Call OfContext(const std::function<void(v1::Context&)>& spoil) {
  return OfProblem([spoil](v1::Problem& problem) { spoil(*problem.mutable_contexts(0)); });
}

Call OfEnvironment(const std::function<void(v1::Environment&)>& spoil) {
  return OfContext([spoil](v1::Context& context) { spoil(*context.mutable_environment()); });
}

// A map of 2 x 3 cells to begin with.
Call OfGrid(const std::function<void(v1::GridLayout&)>& spoil) {
  return OfEnvironment([spoil](v1::Environment& environment) {
    v1::GridLayout& grid = *environment.mutable_grid();
    grid.set_rows(2);
    grid.set_cols(3);
    *grid.mutable_cells() = Indices({0, 5});
    spoil(grid);
  });
}

Call OfSparse(const std::function<void(v1::SparseMatrix&)>& spoil) {
  return OfEnvironment(
      [spoil](v1::Environment& environment) { spoil(*environment.mutable_transitions()->mutable_sparse()); });
}

Call OfReward(const std::function<void(v1::Reward&)>& spoil) {
  return OfContext([spoil](v1::Context& context) { spoil(*context.mutable_reward()); });
}

Call OfLeader(const std::function<void(v1::LeaderReturn&)>& spoil) {
  return OfContext([spoil](v1::Context& context) { spoil(*context.mutable_objective(0)->mutable_leader_return()); });
}

Call Solve(const std::function<void(v1::SolveLowerLevelRequest&)>& spoil) {
  return [spoil](v1::SolverService::Stub& stub) {
    v1::SolveLowerLevelRequest request;
    *request.mutable_problem() = SparseProblem();
    spoil(request);
    grpc::ClientContext context;
    v1::SolveLowerLevelResponse response;
    return stub.SolveLowerLevel(&context, request, &response);
  };
}

Call PullBack(const std::function<void(v1::PullbackRequest&)>& spoil) {
  return [spoil](v1::SolverService::Stub& stub) {
    v1::PullbackRequest request;
    *request.mutable_problem() = SparseProblem();
    spoil(request);
    grpc::ClientContext context;
    v1::PullbackResponse response;
    return stub.Pullback(&context, request, &response);
  };
}

Call Check(const std::function<void(v1::CheckGradientRequest&)>& spoil) {
  return [spoil](v1::SolverService::Stub& stub) {
    v1::CheckGradientRequest request;
    *request.mutable_problem() = SparseProblem();
    spoil(request);
    grpc::ClientContext context;
    v1::CheckGradientResponse response;
    return stub.CheckGradient(&context, request, &response);
  };
}

Call Optimise(const std::function<void(v1::OptimizeRequest&)>& spoil) {
  return [spoil](v1::SolverService::Stub& stub) {
    v1::OptimizeRequest request;
    *request.mutable_problem() = SparseProblem();
    request.mutable_projected_gradient();
    spoil(request);
    grpc::ClientContext context;
    v1::OptimizeEvent event;
    const auto reader = stub.Optimize(&context, request);
    while (reader->Read(&event)) {
    }
    return reader->Finish();
  };
}

std::vector<Case> EnvironmentCases() {
  const std::string env = "problem.contexts[0].environment.", p = env + "transitions", sparse = p + ".sparse.";
  return {
      {"no contexts", OfProblem([](auto& m) { m.clear_contexts(); }), kInvalid, "problem.contexts", "empty",
       "at least one"},
      {"no environment", OfContext([](auto& m) { m.clear_environment(); }), kInvalid, "problem.contexts[0].environment",
       "absent", "required"},
      {"no name", OfContext([](auto& m) { m.set_environment_name("rooms"); }), kInvalid,
       "problem.contexts[0].environment_name", "is \"rooms\"", "64 hex digits"},
      {"second context's name", OfProblem([](auto& m) {
         *m.add_contexts() = m.contexts(0);
         m.mutable_contexts(1)->set_environment_name(absl::StrCat("environments/", std::string(64, 'F')));
       }),
       kInvalid, "problem.contexts[1].environment_name", "FFFF", "0-9 and a-f"},
      {"no states", OfEnvironment([](auto& m) { m.set_num_states(0); }), kInvalid, env + "num_states", "is 0", ">= 1"},
      {"negative states", OfEnvironment([](auto& m) { m.set_num_states(-3); }), kInvalid, env + "num_states", "is -3",
       ">= 1"},
      {"no actions", OfEnvironment([](auto& m) { m.set_num_actions(0); }), kInvalid, env + "num_actions", "is 0",
       ">= 1"},
      {"states above the limit", OfEnvironment([](auto& m) { m.set_num_states(2'000'000'000); }), kExhausted, "states",
       "2000000000", "max_states"},
      {"states not those of the arrays", OfEnvironment([](auto& m) { m.set_num_states(1'000'000); }), kInvalid,
       sparse + "rows", "is 4", "must be 2000000"},
      {"overflowing sizes", OfEnvironment([](auto& m) {
         m.set_num_states(9'999'999);
         m.set_num_actions(2'147'483'647);
       }),
       kInvalid, sparse + "rows", "is 4", "must be"},
      {"no transitions", OfEnvironment([](auto& m) { m.clear_transitions(); }), kInvalid, p, "neither", "required"},
      {"columns of the matrix", OfSparse([](auto& m) { m.set_cols(3); }), kInvalid, sparse + "cols", "is 3",
       "must be 2"},
      {"offsets too short", OfSparse([](auto& m) {
         *m.mutable_offsets() = Indices({0, 1, 4});
       }),
       kInvalid, sparse + "offsets", "has 3", "must have [5]"},
      {"offsets not from zero", OfSparse([](auto& m) {
         *m.mutable_offsets() = Indices({1, 1, 2, 3, 4});
       }),
       kInvalid, sparse + "offsets", "starts at 1", "must start at 0"},
      {"offsets fall", OfSparse([](auto& m) {
         *m.mutable_offsets() = Indices({0, 3, 2, 3, 4});
       }),
       kInvalid, sparse + "offsets", "falls from 3 to 2", "never decrease"},
      {"offsets beyond the entries", OfSparse([](auto& m) {
         *m.mutable_offsets() = Indices({0, 1, 2, 3, 5});
       }),
       kInvalid, sparse + "offsets", "ends at 5", "4"},
      {"offsets overflow", OfSparse([](auto& m) {
         *m.mutable_offsets() = MakeArray(std::vector<uint64_t>{0, ~0ull, 2, 3, 4});
       }),
       kInvalid, sparse + "offsets", "18446744073709551615", "never decrease"},
      {"offsets of a wrong type", OfSparse([](auto& m) { m.mutable_offsets()->set_dtype(v1::DTYPE_F64); }), kInvalid,
       sparse + "offsets.dtype", "DTYPE_F64", "DTYPE_U64 or DTYPE_U32"},
      {"offsets as reals", OfSparse([](auto& m) {
         *m.mutable_offsets() = v1::Array();
         for (int i = 0; i < 5; ++i) m.mutable_offsets()->mutable_values()->add_list(i);
       }),
       kInvalid, sparse + "offsets.values", "is set", "`indices`"},
      {"raw without a type", OfSparse([](auto& m) { m.mutable_values()->clear_dtype(); }), kInvalid,
       sparse + "values.dtype", "DTYPE_UNSPECIFIED", "named types"},
      {"an unknown type", OfSparse([](auto& m) { m.mutable_values()->set_dtype(static_cast<v1::DType>(77)); }),
       kInvalid, sparse + "values.dtype", "is 77", "named types"},
      {"half an element", OfSparse([](auto& m) { m.mutable_values()->mutable_raw()->resize(31); }), kInvalid,
       sparse + "values.raw", "31 bytes", "multiple of 8"},
      {"columns and values differ in number", OfSparse([](auto& m) {
         *m.mutable_columns() = Indices({0, 1, 0});
       }),
       kInvalid, sparse + "columns", "has 3", "must have [4]"},
      {"column out of range", OfSparse([](auto& m) {
         *m.mutable_columns() = Indices({0, 1, 0, 2});
       }),
       kInvalid, sparse + "columns", "column 2", "below num_states = 2"},
      {"column beyond 32 bits", OfSparse([](auto& m) {
         *m.mutable_columns() = MakeArray(std::vector<uint64_t>{0, 1, 0, 1ull << 32});
       }),
       kInvalid, sparse + "columns", "4294967296", "below 2^32"},
      {"column twice", OfSparse([](auto& m) {
         *m.mutable_offsets() = Indices({0, 2, 2, 3, 4});
         *m.mutable_columns() = Indices({0, 0, 0, 1});
       }),
       kInvalid, sparse + "columns", "column 0 after 0", "strictly increasing"},
      {"row sum off", OfSparse([](auto& m) {
         *m.mutable_values() = Reals({1, 1, 1, 0.98});
       }),
       kInvalid, p, "row 3 (s=1, a=1) sums to 0.98", "must be 1 +- 1e-09"},
      {"probability negative", OfSparse([](auto& m) {
         *m.mutable_values() = Reals({1, 1, -0.5, 1});
       }),
       kInvalid, p, "-0.5", "[0, 1]"},
      {"probability not a number", OfSparse([](auto& m) {
         *m.mutable_values() = Reals({1, kNan, 1, 1});
       }),
       kInvalid, sparse + "values", "entry 1 is nan", "finite"},
      {"probability infinite", OfSparse([](auto& m) {
         *m.mutable_values() = Reals({1, 1, 1, kInf});
       }),
       kInvalid, sparse + "values", "entry 3 is inf", "finite"},
      {"dense of a wrong shape", OfEnvironment([](auto& m) {
         *m.mutable_transitions()->mutable_dense() = Reals({1, 0, 0, 1, 1, 0, 0, 1}, {4, 1, 2, 1});
       }),
       kInvalid, p + ".dense.shape", "ends in 1", "4 rows of 2"},
      {"dense of negative extents", OfEnvironment([](auto& m) {
         *m.mutable_transitions()->mutable_dense() = Reals({1, 0, 0, 1, 1, 0, 0, 1}, {-2, -2, 2});
       }),
       kInvalid, p + ".dense.shape", "extent -2", ">= 0"},
      {"dense too short", OfEnvironment([](auto& m) {
         *m.mutable_transitions()->mutable_dense() = Reals({1, 0, 0});
       }),
       kInvalid, p + ".dense", "has 3", "4 rows of 2"},
      {"termination out of range", OfEnvironment([](auto& m) {
         *m.mutable_termination_probability() = Reals({0, 0, 1.5, 0});
       }),
       kInvalid, env + "termination_probability", "row 2 (s=1, a=0) is 1.5", "[0, 1]"},
      {"termination against the row sum", OfEnvironment([](auto& m) {
         *m.mutable_termination_probability() = Reals({0, 0.1, 0, 0});
       }),
       kInvalid, p, "termination_probability 0.1", "must be 1"},
      {"termination of a wrong shape", OfEnvironment([](auto& m) {
         *m.mutable_termination_probability() = Reals({0, 0, 0, 0}, {4});
       }),
       kInvalid, env + "termination_probability.shape", "[4]", "[2, 2]"},
      {"no action available", OfEnvironment([](auto& m) {
         *m.mutable_available_actions() = Indices({1, 1, 0, 0});
       }),
       kInvalid, env + "available_actions", "state 1", "every state needs one"},
      {"mask of twos", OfEnvironment([](auto& m) {
         *m.mutable_available_actions() = Indices({1, 2, 1, 1});
       }),
       kInvalid, env + "available_actions", "entry 1 is 2", "0 or 1"},
      {"mask of a wrong type", OfEnvironment([](auto& m) {
         *m.mutable_available_actions() = MakeArray(std::vector<uint32_t>{1, 1, 1, 1});
       }),
       kInvalid, env + "available_actions.dtype", "DTYPE_U32", "DTYPE_U8"},
      {"start sums to less than one", OfEnvironment([](auto& m) {
         *m.mutable_initial_distribution() = Reals({0.5, 0.4});
       }),
       kInvalid, env + "initial_distribution", "sums to 0.9", "must sum to 1"},
      {"start negative", OfEnvironment([](auto& m) {
         *m.mutable_initial_distribution() = Reals({1.5, -0.5});
       }),
       kInvalid, env + "initial_distribution", "-0.5", ">= 0"},
      {"start too long", OfEnvironment([](auto& m) {
         *m.mutable_initial_distribution() = Reals({0.5, 0.5, 0});
       }),
       kInvalid, env + "initial_distribution", "has 3", "must have [2]"},
      {"grid without rows", OfEnvironment([](auto& m) { m.mutable_grid()->set_cols(2); }), kInvalid, env + "grid.rows",
       "is 0", "[1, 10000]"},
      {"grid without cells", OfGrid([](auto& m) { m.clear_cells(); }), kInvalid, env + "grid.cells", "has 0",
       "must have [2]"},
      {"grid cell outside", OfGrid([](auto& m) {
         *m.mutable_cells() = Indices({0, 6});
       }),
       kInvalid, env + "grid.cells", "hold 6", "rows * cols = 6"},
      {"second context's grid", OfProblem([](auto& m) {
         *m.add_contexts() = m.contexts(0);
         m.mutable_contexts(1)->mutable_environment()->mutable_grid()->set_rows(-1);
       }),
       kInvalid, "problem.contexts[1].environment.grid.rows", "is -1", "[1, 10000]"},
      {"grid cell twice", OfGrid([](auto& m) {
         *m.mutable_cells() = Indices({3, 3});
       }),
       kInvalid, env + "grid.cells", "hold 3 twice", "no two states"},
      {"grid moves too short", OfGrid([](auto& m) {
         *m.mutable_moves() = Reals({1, 0});
       }),
       kInvalid, env + "grid.moves", "has 2", "must have [2, 2]"},
      {"grid moves not a number", OfGrid([](auto& m) {
         *m.mutable_moves() = Reals({1, 0, kNan, 0});
       }),
       kInvalid, env + "grid.moves", "entry 2 is nan", "finite"},
  };
}

std::vector<Case> ContextCases() {
  const std::string context = "problem.contexts[0].", reward = context + "reward.",
                    leader = context + "objective[0].leader_return.";
  return {
      {"discount absent", OfContext([](auto& m) { m.clear_discount(); }), kInvalid, context + "discount", "absent",
       "[0, 1)"},
      {"discount one", OfContext([](auto& m) { m.set_discount(1); }), kInvalid, context + "discount", "is 1", "[0, 1)"},
      {"discount negative", OfContext([](auto& m) { m.set_discount(-0.1); }), kInvalid, context + "discount", "-0.1",
       "[0, 1)"},
      {"discount not a number", OfContext([](auto& m) { m.set_discount(kNan); }), kInvalid, context + "discount", "nan",
       "[0, 1)"},
      {"temperature absent", OfContext([](auto& m) { m.clear_temperature(); }), kInvalid, context + "temperature",
       "absent", "> 0"},
      {"temperature zero", OfContext([](auto& m) { m.set_temperature(0); }), kInvalid, context + "temperature", "is 0",
       "> 0"},
      {"temperature infinite", OfContext([](auto& m) { m.set_temperature(kInf); }), kInvalid, context + "temperature",
       "inf", "> 0"},
      {"weight negative", OfContext([](auto& m) { m.set_weight(-1); }), kInvalid, context + "weight", "is -1", ">= 0"},
      {"no positive weight", OfContext([](auto& m) { m.set_weight(0); }), kInvalid, "problem.contexts",
       "no positive weight", "at least one"},
      {"label too long", OfContext([](auto& m) { m.set_label(std::string(257, 'a')); }), kInvalid, context + "label",
       "257 bytes", "at most 256"},
      {"base too short", OfReward([](auto& m) {
         *m.mutable_base() = Reals({1, 2, 3});
       }),
       kInvalid, reward + "base", "has 3", "[2, 2] = 4"},
      {"base without data", OfReward([](auto& m) { m.mutable_base(); }), kInvalid, reward + "base", "has 0",
       "[2, 2] = 4"},
      {"base not a number", OfReward([](auto& m) {
         *m.mutable_base() = Reals({1, 2, kNan, 3});
       }),
       kInvalid, reward + "base", "entry 2 is nan", "finite"},
      {"base of integers", OfReward([](auto& m) {
         *m.mutable_base() = Indices({1, 2, 3, 4});
       }),
       kInvalid, reward + "base.indices", "is set", "`values`"},
      {"base of a wrong type", OfReward([](auto& m) {
         *m.mutable_base() = MakeArray(std::vector<uint64_t>{1, 2, 3, 4});
       }),
       kInvalid, reward + "base.dtype", "DTYPE_U64", "DTYPE_F64 or DTYPE_F32"},
      {"features infinite", OfReward([](auto& m) {
         *m.mutable_features()->mutable_dense() = Reals({0, 0, -kInf, 1});
       }),
       kInvalid, reward + "features.dense", "-inf", "finite"},
      {"features too wide", OfReward([](auto& m) {
         *m.mutable_features()->mutable_dense() = Reals({0, 0, 1, 1}, {2, 1, 2});
       }),
       kInvalid, reward + "features.dense.shape", "ends in 2", "4 rows of 1"},
      {"features column out of range", OfReward([](auto& m) {
         auto& s = *m.mutable_features()->mutable_sparse();
         s.set_rows(4);
         s.set_cols(1);
         *s.mutable_offsets() = Indices({0, 0, 0, 1, 1});
         *s.mutable_columns() = Indices({1});
         *s.mutable_values() = Reals({1});
       }),
       kInvalid, reward + "features.sparse.columns", "column 1", "below 1"},
      {"quadratic without a matrix", OfReward([](auto& m) {
         *m.mutable_quadratic()->mutable_coefficient() = Reals({1, 1, 1, 1});
       }),
       kInvalid, reward + "quadratic.matrix", "has 0", "[1, 1]"},
      {"quadratic infinite", OfReward([](auto& m) {
         *m.mutable_quadratic()->mutable_coefficient() = Reals({1, 1, 1, kInf});
         *m.mutable_quadratic()->mutable_matrix() = Reals({1});
       }),
       kInvalid, reward + "quadratic.coefficient", "entry 3 is inf", "finite"},
      {"transition rewards too few", OfReward([](auto& m) {
         *m.mutable_transition_rewards() = Reals({1, 2});
       }),
       kInvalid, reward + "transition_rewards", "has 2", "one for each stored transition, 4"},
      {"transition rewards not numbers", OfReward([](auto& m) {
         *m.mutable_transition_rewards() = Reals({1, 2, 3, kNan});
       }),
       kInvalid, reward + "transition_rewards", "entry 3 is nan", "finite"},
      {"no terms", OfContext([](auto& m) { m.clear_objective(); }), kInvalid, context + "objective", "empty",
       "needs a term"},
      {"an empty term", OfContext([](auto& m) { m.mutable_objective(0)->clear_leader_return(); }), kInvalid,
       context + "objective[0]", "no term", "required"},
      {"term weight infinite", OfContext([](auto& m) { m.mutable_objective(0)->set_weight(kInf); }), kInvalid,
       context + "objective[0].weight", "inf", "finite"},
      {"leader without reward", OfLeader([](auto& m) { m.clear_reward(); }), kInvalid, leader + "reward", "absent",
       "required"},
      {"leader's discount one", OfLeader([](auto& m) { m.set_discount(1); }), kInvalid, leader + "discount", "is 1",
       "[0, 1)"},
      {"leader's start off", OfLeader([](auto& m) {
         *m.mutable_initial_distribution() = Reals({1, 1});
       }),
       kInvalid, leader + "initial_distribution", "sums to 2", "sum to 1"},
      {"leader's base infinite", OfLeader([](auto& m) {
         *m.mutable_reward()->mutable_base() = Reals({0, kInf, 0, 0});
       }),
       kInvalid, leader + "reward.base", "entry 1 is inf", "finite"},
      {"target too long", OfContext([](auto& m) {
         *m.mutable_objective(0)->mutable_separable()->mutable_target() = Reals({1, 1, 1, 1, 1});
       }),
       kInvalid, context + "objective[0].separable.target", "has 5", "[2, 2]"},
      {"state weights negative", OfContext([](auto& m) {
         *m.mutable_objective(0)->mutable_separable()->mutable_state_weights() = Reals({1, -2});
       }),
       kInvalid, context + "objective[0].separable.state_weights", "entry 1 is -2", ">= 0"},
  };
}

std::vector<Case> TermCases() {
  const std::string term = "problem.contexts[0].objective[0].";
  const auto of_term = [](const std::function<void(v1::ObjectiveTerm&)>& spoil) {
    return OfContext([spoil](v1::Context& context) { spoil(*context.mutable_objective(0)); });
  };
  const auto matching = [&](const std::function<void(v1::FeatureMatching&)>& spoil) {
    return of_term([spoil](v1::ObjectiveTerm& m) {
      *m.mutable_feature_matching()->mutable_features()->mutable_dense() = Reals({1, 2, 3, 4});
      *m.mutable_feature_matching()->mutable_target() = Reals({1});
      spoil(*m.mutable_feature_matching());
    });
  };
  const auto separable = [&](v1::Separable::Kind kind, const std::vector<double>& target) {
    return of_term([kind, target](v1::ObjectiveTerm& m) {
      m.mutable_separable()->set_kind(kind);
      if (!target.empty()) *m.mutable_separable()->mutable_target() = Reals(target);
    });
  };
  const auto counts = [&](const std::vector<double>& values) {
    return of_term([values](v1::ObjectiveTerm& m) { *m.mutable_demonstrations()->mutable_counts() = Reals(values); });
  };
  return {
      {"no features to match", matching([](auto& m) { m.clear_target(); }), kInvalid, term + "feature_matching.target",
       "is empty", "one entry"},
      {"features for another target", matching([](auto& m) {
         *m.mutable_target() = Reals({1, 2});
       }),
       kInvalid, term + "feature_matching.features.dense", "has 4", "4 rows of 2"},
      {"feature not a number", matching([](auto& m) {
         *m.mutable_features()->mutable_dense() = Reals({1, 2, kNan, 4});
       }),
       kInvalid, term + "feature_matching.features.dense", "nan", "finite"},
      {"feature discount one", matching([](auto& m) { m.set_discount(1); }), kInvalid,
       term + "feature_matching.discount", "is 1", "[0, 1)"},
      {"no demonstrations", of_term([](auto& m) { m.mutable_demonstrations(); }), kInvalid,
       term + "demonstrations.counts", "absent", "required"},
      {"count negative", counts({1, -1, 0, 0}), kInvalid, term + "demonstrations.counts", "entry 1 is -1", ">= 0"},
      {"counts all zero", counts({0, 0, 0, 0}), kInvalid, term + "demonstrations.counts", "all 0", "at least one"},
      {"unknown kind of separable term", separable(static_cast<v1::Separable::Kind>(9), {}), kInvalid,
       term + "separable.kind", "is 9", "KIND_REVERSE_KL"},
      {"divergence from nothing", separable(v1::Separable::KIND_FORWARD_KL, {}), kInvalid, term + "separable.target",
       "absent", "required"},
      {"divergence from no distribution", separable(v1::Separable::KIND_FORWARD_KL, {0.5, 0.6, 0.5, 0.5}), kInvalid,
       term + "separable.target", "sums to 1.1 in state 0", "1 +- 1e-09"},
      {"divergence that is infinite", separable(v1::Separable::KIND_REVERSE_KL, {0.5, 0.5, 0, 1}), kInvalid,
       term + "separable.target", "entry 2 (s=1, a=0) is 0", "> 0"},
      {"entropy with a target", separable(v1::Separable::KIND_ENTROPY, {0.5, 0.5, 0, 1}), kInvalid,
       term + "separable.target", "present", "has none"},
      {"start of the follower's value", of_term([](auto& m) {
         *m.mutable_follower_value()->mutable_initial_distribution() = Reals({0.5, 0.4});
       }),
       kInvalid, term + "follower_value.initial_distribution", "sums to 0.9", "1 +- "},
  };
}

std::vector<Case> DynamicsCases() {
  const std::string path = "problem.contexts[0].dynamics.";
  // One share of one softmax group, which is always 1.
  const auto dynamics = [](const std::function<void(v1::Problem&, v1::Dynamics&)>& spoil) {
    return OfProblem([spoil](v1::Problem& m) {
      m.clear_parameter_groups();
      v1::ParameterGroup& group = *m.add_parameter_groups();
      group.set_size(1);
      group.set_map(v1::ParameterGroup::MAP_SOFTMAX);
      spoil(m, *m.mutable_contexts(0)->mutable_dynamics());
    });
  };
  const auto transitions = [&](const std::vector<double>& values) {
    return dynamics([values](auto&, auto& d) { *d.mutable_transition_features()->mutable_dense() = Reals(values); });
  };
  return {
      {"features of too few transitions", transitions({1, 1, 1}), kInvalid, path + "transition_features.dense", "has 3",
       "4 rows of 1"},
      {"transition feature negative", transitions({1, -1, 1, 1}), kInvalid, path + "transition_features",
       "row 1 (s=0, a=1, next state 1), column 0 is -1", ">= 0"},
      {"initial feature negative", dynamics([](auto&, auto& d) {
         *d.mutable_initial_features()->mutable_dense() = Reals({1.5, -0.5});
       }),
       kInvalid, path + "initial_features", "row 1 (s=1), column 0 is -0.5", ">= 0"},
      {"transition features that sum to too much", transitions({2, 1, 1, 1}), kInvalid, path + "transition_features",
       "row 0 (s=0, a=0) sums to 2", "must be 1"},
      {"dynamics by what is no share", dynamics([](auto& m, auto& d) {
         m.mutable_parameter_groups(0)->set_map(v1::ParameterGroup::MAP_EXP);
         *d.mutable_transition_features()->mutable_dense() = Reals({1, 1, 1, 1});
       }),
       kInvalid, path + "transition_features", "belongs to no MAP_SOFTMAX", "only those keep probabilities"},
      {"dynamics by half of a group", dynamics([](auto& m, auto& d) {
         m.set_num_parameters(2);
         m.mutable_parameter_groups(0)->set_size(2);
         m.mutable_contexts(0)->clear_reward();
         m.mutable_contexts(0)->clear_objective();
         m.mutable_contexts(0)->add_objective()->mutable_follower_value();
         *d.mutable_transition_features()->mutable_dense() = Reals({1, 0, 1, 1, 1, 1, 1, 1});
       }),
       kInvalid, path + "transition_features", "row 0 (s=0, a=0) has sums between 0 and 1", "must be equal"},
      {"half of a large group", dynamics([](auto& m, auto& d) {
         m.set_num_parameters(2);
         m.mutable_parameter_groups(0)->set_size(2);
         m.mutable_parameter_groups(0)->set_scale(1e9);
         m.mutable_contexts(0)->clear_reward();
         m.mutable_contexts(0)->clear_objective();
         m.mutable_contexts(0)->add_objective()->mutable_follower_value();
         *d.mutable_transition_features()->mutable_dense() = Reals({1e-9, 0, 1e-9, 0, 1e-9, 0, 1e-9, 0});
       }),
       kInvalid, path + "transition_features", "row 0 (s=0, a=0) has sums between 0 and 1e-09", "must be equal"},
      {"dynamics without parameters", Solve([](auto& m) {
         m.mutable_problem()->set_num_parameters(0);
         m.mutable_problem()->clear_parameter_groups();
         v1::Context& context = *m.mutable_problem()->mutable_contexts(0);
         context.clear_reward();
         context.clear_objective();
         *context.mutable_dynamics()->mutable_initial_features()->mutable_dense() = Reals({});
       }),
       kInvalid, path + "initial_features", "sums to 0", "must be 1"},
      {"initial features that sum to too little", dynamics([](auto&, auto& d) {
         *d.mutable_initial_features()->mutable_dense() = Reals({0.5, 0.4});
       }),
       kInvalid, path + "initial_features", "sums to 0.9", "must be 1"},
      {"initial feature infinite", dynamics([](auto&, auto& d) {
         *d.mutable_initial_features()->mutable_dense() = Reals({0.5, kInf});
       }),
       kInvalid, path + "initial_features.dense", "inf", "finite"},
  };
}

std::vector<Case> ProblemCases() {
  const auto group = [](int size, int map, double scale) {
    return OfProblem([=](v1::Problem& m) {
      auto& g = *m.add_parameter_groups();
      g.set_size(size);
      g.set_map(static_cast<v1::ParameterGroup::Map>(map));
      g.set_scale(scale);
    });
  };
  const auto block = [](int size, const std::function<void(v1::FeasibleBlock&)>& set) {
    return OfProblem([=](v1::Problem& m) {
      auto& b = *m.add_feasible_set();
      b.set_size(size);
      set(b);
    });
  };
  return {
      {"negative parameters", OfProblem([](auto& m) { m.set_num_parameters(-1); }), kInvalid, "problem.num_parameters",
       "is -1", ">= 1"},
      {"no parameters for a gradient", OfProblem([](auto& m) { m.set_num_parameters(0); }), kInvalid,
       "problem.num_parameters", "is 0", ">= 1 where a gradient"},
      {"far too many parameters", OfProblem([](auto& m) { m.set_num_parameters(2'147'483'647); }), kExhausted,
       "message_bytes", "3.4", "max_message_bytes"},
      {"group of no size", group(0, 1, 1), kInvalid, "problem.parameter_groups[0].size", "is 0", ">= 1"},
      {"groups too large", group(2, 1, 1), kInvalid, "problem.parameter_groups", "sum to 2", "num_parameters = 1"},
      {"group without a map", group(1, 0, 1), kInvalid, "problem.parameter_groups[0].map", "is unspecified",
       "MAP_IDENTITY"},
      {"group of an unknown map", group(1, 99, 1), kInvalid, "problem.parameter_groups[0].map", "is 99",
       "MAP_IDENTITY"},
      {"group of infinite scale", group(1, 2, kInf), kInvalid, "problem.parameter_groups[0].scale", "inf", "finite"},
      {"penalty of no kind", OfProblem([](auto& m) { m.add_penalties(); }), kInvalid, "problem.penalties[0].kind",
       "is unspecified", "KIND_L1"},
      {"penalty negative", OfProblem([](auto& m) {
         m.add_penalties()->set_kind(v1::Penalty::KIND_L1);
         m.mutable_penalties(0)->set_weight(-1);
       }),
       kInvalid, "problem.penalties[0].weight", "is -1", ">= 0"},
      {"block of no size", block(0, [](auto&) {}), kInvalid, "problem.feasible_set[0].size", "is 0", ">= 1"},
      {"block too large", block(2'000'000'000, [](auto& m) { m.mutable_box(); }), kInvalid, "problem.feasible_set",
       "2000000000", "num_parameters = 1"},
      {"box upside down",
       block(1,
             [](auto& m) {
               *m.mutable_box()->mutable_lower() = Reals({2});
               *m.mutable_box()->mutable_upper() = Reals({1});
             }),
       kInvalid, "problem.feasible_set[0].box.lower", "is 2", "<= upper = 1"},
      {"box not a number", block(1, [](auto& m) { *m.mutable_box()->mutable_upper() = Reals({kNan}); }), kInvalid,
       "problem.feasible_set[0].box.upper", "nan", "+infinity"},
      {"simplex of nothing", block(1, [](auto& m) { m.mutable_simplex()->set_total(0); }), kInvalid,
       "problem.feasible_set[0].simplex.total", "is 0", "> 0"},
      {"simplex of everything", block(1, [](auto& m) { m.mutable_simplex()->set_total(kInf); }), kInvalid,
       "problem.feasible_set[0].simplex.total", "is inf", "finite"},
      {"ball around nowhere", block(1, [](auto& m) { *m.mutable_ball()->mutable_center() = Reals({kInf}); }), kInvalid,
       "problem.feasible_set[0].ball.center", "entry 0 is inf", "finite"},
      {"ball with too many centres",
       block(1,
             [](auto& m) {
               *m.mutable_ball()->mutable_center() = Reals({1, 2});
             }),
       kInvalid, "problem.feasible_set[0].ball.center", "has 2", "[1] = 1"},
      {"ball of no radius", block(1, [](auto& m) { m.mutable_ball()->set_radius(0); }), kInvalid,
       "problem.feasible_set[0].ball.radius", "is 0", "> 0"},
      {"ball of no number", block(1, [](auto& m) { m.mutable_ball()->set_radius(kNan); }), kInvalid,
       "problem.feasible_set[0].ball.radius", "is nan", "finite"},
      {"budget in debt", block(1, [](auto& m) { m.mutable_budget()->set_total(-2); }), kInvalid,
       "problem.feasible_set[0].budget.total", "is -2", "> 0"},
      {"no sense", OfProblem([](auto& m) { m.clear_sense(); }), kInvalid, "problem.sense", "unspecified",
       "SENSE_MINIMIZE"},
      {"unknown sense", OfProblem([](auto& m) { m.set_sense(static_cast<v1::Sense>(9)); }), kInvalid, "problem.sense",
       "is 9", "SENSE_MINIMIZE"},
      {"unknown aggregation", OfProblem([](auto& m) { m.set_aggregation(static_cast<v1::Aggregation>(9)); }), kInvalid,
       "problem.aggregation", "is 9", "AGGREGATION_WORST_CASE"},
      {"no problem", Evaluate([](auto& m) { m.clear_problem(); }), kInvalid, "problem.num_parameters", "is 0", ">= 1"},
  };
}

std::vector<Case> RequestCases() {
  const auto exp_map = [](v1::EvaluateHypergradientRequest& m) {
    auto& g = *m.mutable_problem()->add_parameter_groups();
    g.set_size(1);
    g.set_map(v1::ParameterGroup::MAP_EXP);
    *m.mutable_parameters() = Reals({800});
  };
  const auto cotangent = [](v1::PullbackRequest& m, bool masked, v1::Array policy) {
    if (masked)
      *m.mutable_problem()->mutable_contexts(0)->mutable_environment()->mutable_available_actions() =
          Indices({1, 0, 1, 1});
    *m.add_cotangents()->mutable_policy() = std::move(policy);
  };
  const auto pairs = [](v1::OptimizeRequest& m, v1::Array steps, v1::Array changes) {
    v1::QuasiNewtonState& state = *m.mutable_quasi_newton()->mutable_state();
    *state.mutable_steps() = std::move(steps);
    *state.mutable_gradient_changes() = std::move(changes);
  };
  return {
      {"x too long", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals({1, 2});
       }),
       kInvalid, "parameters", "has 2", "[1] = 1"},
      {"x not a number", Evaluate([](auto& m) { *m.mutable_parameters() = Reals({kNan}); }), kInvalid, "parameters",
       "entry 0 is nan", "finite"},
      {"theta overflows", Evaluate(exp_map), kInvalid, "parameters", "800", "theta must be finite"},
      {"no points", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals({}, {0, 1});
       }),
       kInvalid, "parameters.shape", "0 points", "k >= 1"},
      {"points too wide", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals({1, 2}, {1, 2});
       }),
       kInvalid, "parameters.shape", "[1, 2]", "[1, 1]"},
      {"negative number of points", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals({1}, {-1, 1});
       }),
       kInvalid, "parameters.shape", "-1 points", "k >= 1"},
      {"more points announced than sent", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals({1}, {2'000'000'000, 1});
       }),
       kInvalid, "parameters", "2000000000", ""},
      {"more points than one answer holds", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals(std::vector<double>(100'000), {100'000, 1});
       }),
       kExhausted, "message_bytes", "e+0", "fewer points"},
      {"tolerance zero", Evaluate([](auto& m) { m.mutable_lower_level()->set_residual_tolerance(0); }), kInvalid,
       "lower_level.residual_tolerance", "is 0", "> 0"},
      {"tolerance below double precision",
       Evaluate([](auto& m) { m.mutable_lower_level()->set_residual_tolerance(1e-300); }), kInvalid,
       "lower_level.residual_tolerance", "1e-300", "double precision"},
      {"no sweeps", Evaluate([](auto& m) { m.mutable_lower_level()->set_max_sweeps(0); }), kInvalid,
       "lower_level.max_sweeps", "is 0", ">= 1"},
      {"unknown lower-level method",
       Evaluate([](auto& m) { m.mutable_lower_level()->set_method(static_cast<v1::LowerLevelMethod>(50)); }), kInvalid,
       "lower_level.method", "is 50", "LOWER_LEVEL_METHOD_SWEEPS"},
      {"adjoint tolerance too large", Evaluate([](auto& m) { m.mutable_lower_level()->set_adjoint_tolerance(0.5); }),
       kInvalid, "lower_level.adjoint_tolerance", "0.5", "[1e-15, 0.1]"},
      {"time limit zero", Evaluate([](auto& m) { m.mutable_time_limit(); }), kInvalid, "time_limit", "is 0 s", "> 0"},
      {"time limit negative", Evaluate([](auto& m) { m.mutable_time_limit()->set_seconds(-5); }), kInvalid,
       "time_limit", "-5 s", "> 0"},
      {"time limit of mixed signs", Evaluate([](auto& m) {
         m.mutable_time_limit()->set_seconds(5);
         m.mutable_time_limit()->set_nanos(-1);
       }),
       kInvalid, "time_limit", "-1 ns", "valid duration"},
      {"warm start for too many contexts", Evaluate([](auto& m) {
         m.mutable_warm_start()->add_contexts();
         m.mutable_warm_start()->add_contexts();
       }),
       kInvalid, "warm_start.contexts", "has 2", "each context, 1"},
      {"warm start too short",
       Evaluate([](auto& m) { *m.mutable_warm_start()->add_contexts()->mutable_value() = Reals({1}); }), kInvalid,
       "warm_start.contexts[0].value", "has 1", "[2] = 2"},
      {"warm start infinite", Evaluate([](auto& m) {
         *m.mutable_warm_start()->add_contexts()->mutable_adjoint() = Reals({1, kInf});
       }),
       kInvalid, "warm_start.contexts[0].adjoint", "entry 1 is inf", "finite"},
      {"many small terms that need much memory", Evaluate([](auto& m) {
         constexpr int kActions = 20'000;
         auto& context = *m.mutable_problem()->mutable_contexts(0);
         auto& e = *context.mutable_environment();
         e.Clear();
         e.set_num_states(1);
         e.set_num_actions(kActions);
         *e.mutable_transitions()->mutable_dense() = Reals(std::vector<double>(kActions, 1.0));
         context.clear_reward();
         context.clear_objective();
         for (int i = 0; i < 2000; ++i) context.add_objective()->mutable_separable();
       }),
       kExhausted, "memory_budget", "MiB", "--memory_budget"},
      {"a direct method for too many states", Solve([](auto& m) {
         auto& e = *m.mutable_problem()->mutable_contexts(0)->mutable_environment();
         m.mutable_problem()->mutable_contexts(0)->clear_reward();
         const int states = 100'000;
         e.Clear();
         e.set_num_states(states);
         e.set_num_actions(1);
         auto& s = *e.mutable_transitions()->mutable_sparse();
         s.set_rows(states);
         s.set_cols(states);
         *s.mutable_offsets() = MakeArray(std::vector<uint32_t>(states + 1));
         *s.mutable_columns() = MakeArray(std::vector<uint32_t>());
         *s.mutable_values() = Reals({});
         m.mutable_lower_level()->set_method(v1::LOWER_LEVEL_METHOD_NEWTON_DIRECT);
       }),
       kInvalid, "lower_level.method", "100000 states", "limited to 2000"},
      {"too many parameters to hold", Solve([](auto& m) { m.mutable_problem()->set_num_parameters(2'147'483'647); }),
       kExhausted, "memory_budget", "MiB", "--memory_budget"},
      {"validate_only of a bad request", Solve([](auto& m) {
         m.set_validate_only(true);
         m.mutable_problem()->mutable_contexts(0)->set_discount(2);
       }),
       kInvalid, "problem.contexts[0].discount", "is 2", "[0, 1)"},
      {"follower without contexts", Solve([](auto& m) { m.mutable_problem()->clear_contexts(); }), kInvalid,
       "problem.contexts", "empty", "at least one"},
      {"cotangents for too many contexts", PullBack([](auto& m) {
         m.add_cotangents();
         m.add_cotangents();
       }),
       kInvalid, "cotangents", "has 2", "each context, 1"},
      {"cotangent too short", PullBack([&](auto& m) {
         cotangent(m, false, Reals({1, 2}));
       }),
       kInvalid, "cotangents[0].policy", "has 2", "[2, 2]"},
      {"cotangent not a number", PullBack([](auto& m) {
         *m.add_cotangents()->mutable_value() = Reals({1, kNan});
       }),
       kInvalid, "cotangents[0].value", "entry 1 is nan", "finite"},
      {"cotangent of an unavailable action", PullBack([&](auto& m) {
         cotangent(m, true, Reals({1, 2, 3, 4}));
       }),
       kInvalid, "cotangents[0].policy", "entry 1 (s=0, a=1) is 2", "must be 0"},
      {"step of differences", Check([](auto& m) { m.set_step(2); }), kInvalid, "step", "is 2", "[1e-8, 1]"},
      {"step not a number", Check([](auto& m) { m.set_step(kNan); }), kInvalid, "step", "nan", "[1e-8, 1]"},
      {"directions negative", Check([](auto& m) { m.set_directions(-1); }), kInvalid, "directions", "is -1", "10000"},
      {"directions too many", Check([](auto& m) { m.set_directions(10'001); }), kInvalid, "directions", "10001",
       "10000"},
      {"no method", Optimise([](auto& m) { m.clear_method(); }), kInvalid, "method", "absent", "m_sobirl"},
      {"step size zero", Optimise([](auto& m) { m.mutable_m_sobirl()->set_step_size(0); }), kInvalid,
       "m_sobirl.step_size", "is 0", "> 0"},
      {"sweeps zero", Optimise([](auto& m) { m.mutable_m_sobirl()->set_sweeps(0); }), kInvalid, "m_sobirl.sweeps",
       "is 0", ">= 1"},
      {"zeta negative", Optimise([](auto& m) { m.mutable_m_sobirl()->set_zeta(-1); }), kInvalid, "m_sobirl.zeta",
       "is -1", "> 0"},
      {"zeta that must diverge", Optimise([](auto& m) { m.mutable_m_sobirl()->set_zeta(1e6); }), kInvalid,
       "m_sobirl.zeta", "1e+06", "lambda_max"},
      {"unknown adjoint step", Optimise([](auto& m) {
         m.mutable_m_sobirl()->set_adjoint_step(static_cast<v1::MSobirlOptions::AdjointStep>(8));
       }),
       kInvalid, "m_sobirl.adjoint_step", "is 8", "ADJOINT_STEP_L1"},
      {"fixed step infinite", Optimise([](auto& m) { m.mutable_projected_gradient()->set_step_size(kInf); }), kInvalid,
       "projected_gradient.step_size", "inf", "> 0"},
      {"no memory", Optimise([](auto& m) { m.mutable_quasi_newton()->set_memory(0); }), kInvalid, "quasi_newton.memory",
       "is 0", "[1, 100]"},
      {"too much memory", Optimise([](auto& m) { m.mutable_quasi_newton()->set_memory(2'000'000'000); }), kInvalid,
       "quasi_newton.memory", "2000000000", "[1, 100]"},
      {"more pairs than memory", Optimise([&](auto& m) {
         pairs(m, Reals({1, 1}), Reals({1, 1}));
         m.mutable_quasi_newton()->set_memory(1);
       }),
       kInvalid, "quasi_newton.state.steps", "has 2", "memory = 1"},
      {"pairs of unequal number", Optimise([&](auto& m) {
         pairs(m, Reals({1, 1}), Reals({1}));
       }),
       kInvalid, "quasi_newton.state.gradient_changes", "[1, 1]", "[2, 1]"},
      {"pair of another problem", Optimise([&](auto& m) {
         pairs(m, Reals({1, 1}, {1, 2}), Reals({1, 1}, {1, 2}));
       }),
       kInvalid, "quasi_newton.state.steps.shape", "[1, 2]", "[2, 1]"},
      {"pair not a number", Optimise([&](auto& m) { pairs(m, Reals({1}), Reals({kNan})); }), kInvalid,
       "quasi_newton.state.gradient_changes", "entry 0 is nan", "finite"},
      {"no products", Optimise([](auto& m) { m.mutable_truncated_newton()->set_max_products(0); }), kInvalid,
       "truncated_newton.max_products", "is 0", "[1, 1000]"},
      {"too many products", Optimise([](auto& m) { m.mutable_truncated_newton()->set_max_products(2'000'000'000); }),
       kInvalid, "truncated_newton.max_products", "2000000000", "[1, 1000]"},
      {"pair that curves down", Optimise([&](auto& m) { pairs(m, Reals({1}), Reals({-2})); }), kInvalid,
       "quasi_newton.state.gradient_changes", "is -2", "> 1e-10"},
      {"no islands", Optimise([](auto& m) { m.mutable_portfolio()->set_islands(0); }), kInvalid, "portfolio.islands",
       "is 0", "[1, 256]"},
      {"too few evaluations a round", Optimise([](auto& m) { m.mutable_portfolio()->set_evaluations_per_round(9); }),
       kInvalid, "portfolio.evaluations_per_round", "is 9", "[10, 1000000]"},
      {"no patience", Optimise([](auto& m) { m.mutable_portfolio()->set_patience(0); }), kInvalid, "portfolio.patience",
       "is 0", "[1, 1000000]"},
      {"too many optima", Optimise([](auto& m) { m.mutable_portfolio()->set_max_optima(257); }), kInvalid,
       "portfolio.max_optima", "is 257", "[0, 256]"},
      {"gradient tolerance negative", Optimise([](auto& m) { m.set_gradient_tolerance(-1); }), kInvalid,
       "gradient_tolerance", "is -1", ">= 0"},
      {"iterations negative", Optimise([](auto& m) { m.set_max_iterations(-1); }), kInvalid, "max_iterations", "is -1",
       ">= 0"},
      {"evaluations zero", Optimise([](auto& m) { m.set_max_evaluations(0); }), kInvalid, "max_evaluations", "is 0",
       ">= 1"},
      {"progress negative", Optimise([](auto& m) { m.set_progress_every(-1); }), kInvalid, "progress_every", "is -1",
       ">= 0"},
      {"start not a number", Optimise([](auto& m) { *m.mutable_parameters() = Reals({kNan}); }), kInvalid, "parameters",
       "nan", "finite"},
  };
}

void ExpectRefused(const Case& c, const grpc::Status& status) {
  SCOPED_TRACE(c.name + ": " + status.error_message());
  EXPECT_EQ(status.error_code(), c.code);
  const ErrorDetails details = DetailsOf(status);
  EXPECT_EQ(details.info.domain(), "bilevel");
  std::string path, description;
  if (c.code == kInvalid) {
    EXPECT_EQ(details.info.reason(), "INVALID_FIELD");
    ASSERT_EQ(details.bad_request.field_violations_size(), 1);
    path = details.bad_request.field_violations(0).field();
    description = details.bad_request.field_violations(0).description();
    EXPECT_EQ(status.error_message(), path + ": " + description);
  } else {
    ASSERT_EQ(details.quota.violations_size(), 1);
    path = details.quota.violations(0).subject();
    description = details.quota.violations(0).description();
    EXPECT_FALSE(details.has_retry) << "waiting does not help";
  }
  EXPECT_EQ(path, c.path);
  EXPECT_NE(description.find(c.value), std::string::npos) << "names the value " << c.value;
  EXPECT_NE(description.find(c.rule), std::string::npos) << "names the rule " << c.rule;
}

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

std::vector<Case> AllCases() {
  std::vector<Case> all;
  for (const auto& cases :
       {EnvironmentCases(), ContextCases(), TermCases(), DynamicsCases(), ProblemCases(), RequestCases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

TEST(MalformedRequests, EachIsRefusedWithPathValueAndRuleAndTheServerLivesOnInTheSameMemory) {
  ServerOptions options = LoopbackOptions();
  options.dispatcher.memory_budget = 64 << 20;
  Loopback loopback(options);
  const std::vector<Case> cases = AllCases();
  EXPECT_GE(cases.size(), 60u);
  for (const Case& c : cases) ExpectRefused(c, c.call(loopback.stub()));

  const double before = ResidentBytes();
  for (int round = 0; round < 3; ++round) {
    for (const Case& c : cases) c.call(loopback.stub());
  }
  const grpc::Status good = Evaluate([](auto&) {})(loopback.stub());
  EXPECT_TRUE(good.ok()) << good.error_message();
  const double growth = ResidentBytes() - before;
  RecordProperty("resident_growth_bytes", std::to_string(growth));
#if !defined(__SANITIZE_ADDRESS__)  // its quarantine keeps what was freed
  EXPECT_LT(growth, 4e6);
#endif
}

// Numbers that are legal but leave the range of doubles on the way.
TEST(MalformedRequests, OverflowInsideASolveIsAnOutcomeNotACrash) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = SparseProblem();
  v1::Context& context = *request.mutable_problem()->mutable_contexts(0);
  *context.mutable_reward()->mutable_base() = Reals({1e308, -1e308, 1e308, 1.7e308});
  context.set_discount(0.999);
  *request.mutable_parameters() = Reals({1e300});
  grpc::ClientContext client;
  SetDeadline(client, std::chrono::seconds(20));
  v1::EvaluateHypergradientResponse response;
  const grpc::Status status = loopback.stub().EvaluateHypergradient(&client, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.termination().reason(), v1::Termination::REASON_DIVERGED);
}

}  // namespace
}  // namespace bilevel::server
