// Results of core -> messages; and the cotangents that Pullback is sent.

#ifndef BILEVEL_SERVER_CONVERT_SOLUTION_H_
#define BILEVEL_SERVER_CONVERT_SOLUTION_H_

#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/solution.pb.h"
#include "bilevel/v1/solver_service.pb.h"
#include "core/hypergradient/hypergradient.h"
#include "core/hypergradient/pullback.h"
#include "core/problem/bilevel_problem.h"
#include "core/solvers/optimize.h"

namespace bilevel::server {

void EncodeTermination(const Termination& termination, v1::Termination* message);
void EncodeCertificate(const Certificate& certificate, v1::Certificate* message);

// Which arrays of a lower level are sent beside V.
struct SolutionArrays {
  bool policy = true;
  bool q = false;
  bool log_policy = false;
};

// error: of the solution; infinite when it was not certified.
void EncodeSolution(const Context& context, const LowerLevelSolution& solution, const LargestError& error,
                    const PolicySystem::Counters& counters, const SolutionArrays& arrays,
                    v1::LowerLevelSolution* message);

// Where to start next time; vectors that are empty stay empty.
void EncodeWarmStart(const WarmStart& start, v1::WarmStart* message);

void EncodeHypergradient(const BilevelProblem& problem, const HypergradientPoint& point, const SolutionArrays& arrays,
                         v1::Hypergradient* message);

// Empty, or one for each context; finite, 0 where the action is unavailable. Relative to `cotangents`.
absl::StatusOr<std::vector<OutputCotangents>> DecodeCotangents(
    const google::protobuf::RepeatedPtrField<v1::Cotangent>& cotangents, const BilevelProblem& problem);

// dense: transitions came as [S, A, S] and their gradient goes back so.
void EncodePullback(const Context& context, const PullbackResult& result, bool dense, v1::ContextGradient* message);

void EncodeStationarity(const Stationarity& stationarity, v1::Stationarity* message);

void EncodeQuasiNewtonState(const QuasiNewtonState& state, v1::QuasiNewtonState* message);

void EncodeSensitivities(const Sensitivities& sensitivities, v1::Sensitivities* message);

void EncodeProgress(const Progress& progress, v1::OptimizeProgress* message);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_SOLUTION_H_
