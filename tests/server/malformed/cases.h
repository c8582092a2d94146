// Requests that are spoilt in one field each, and what is said of them.

#ifndef BILEVEL_TESTS_SERVER_MALFORMED_CASES_H_
#define BILEVEL_TESTS_SERVER_MALFORMED_CASES_H_

#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include "client/array.h"
#include "tests/server/loopback.h"
#include "tests/server/requests.h"

namespace bilevel::server::malformed {

using client::MakeArray;

inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline constexpr grpc::StatusCode kExhausted = grpc::StatusCode::RESOURCE_EXHAUSTED;

using Call = std::function<grpc::Status(v1::SolverService::Stub&)>;

struct Case {
  std::string name;
  Call call;
  grpc::StatusCode code;
  std::string path;   // of BadRequest, or subject of QuotaFailure
  std::string value;  // in the description
  std::string rule;   // in the description
};

// One for each message and field that can be wrong.
std::vector<Case> EnvironmentCases();
std::vector<Case> ContextCases();
std::vector<Case> TermCases();
std::vector<Case> DynamicsCases();
std::vector<Case> ProblemCases();
std::vector<Case> RequestCases();

v1::Array Indices(std::initializer_list<uint32_t> elements);

// The two-state problem with compressed transitions.
v1::Problem SparseProblem();

// Calls with that problem and nothing wrong, but for what `spoil` makes of the request, or of that part of it.
Call Evaluate(const std::function<void(v1::EvaluateHypergradientRequest&)>& spoil);
Call OfProblem(const std::function<void(v1::Problem&)>& spoil);
Call OfContext(const std::function<void(v1::Context&)>& spoil);
Call OfEnvironment(const std::function<void(v1::Environment&)>& spoil);
Call OfGrid(const std::function<void(v1::GridLayout&)>& spoil);  // a map of 2 x 3 cells to begin with
Call OfSparse(const std::function<void(v1::SparseMatrix&)>& spoil);
Call OfReward(const std::function<void(v1::Reward&)>& spoil);
Call OfLeader(const std::function<void(v1::LeaderReturn&)>& spoil);
Call Solve(const std::function<void(v1::SolveLowerLevelRequest&)>& spoil);
Call PullBack(const std::function<void(v1::PullbackRequest&)>& spoil);
Call Check(const std::function<void(v1::CheckGradientRequest&)>& spoil);
Call Optimise(const std::function<void(v1::OptimizeRequest&)>& spoil);

}  // namespace bilevel::server::malformed

#endif  // BILEVEL_TESTS_SERVER_MALFORMED_CASES_H_
