#include "tests/server/malformed/cases.h"

#include "client/problems/two_state.h"

namespace bilevel::server::malformed {

v1::Array Indices(std::initializer_list<uint32_t> elements) {
  v1::Array array;
  for (const uint32_t element : elements) array.mutable_indices()->add_list(element);
  return array;
}

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

}  // namespace bilevel::server::malformed
