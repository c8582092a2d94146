#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "client/array.h"
#include "client/problems/four_rooms.h"
#include "client/problems/policy_matching.h"
#include "client/problems/two_state.h"
#include "core/base/field_error.h"
#include "core/hypergradient/hypergradient.h"
#include "server/convert/array.h"
#include "server/convert/environment.h"
#include "server/convert/error.h"
#include "server/convert/options.h"
#include "server/convert/problem.h"
#include "server/convert/solution.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"
#include "tests/server/loopback.h"
#include "tests/server/requests.h"

namespace bilevel::server {
namespace {

using client::MakeArray;

const Limits kLimits;

// Everything that a problem does at x.
v1::Hypergradient AnswerAt(const v1::Problem& message, const Vector& x) {
  const BilevelProblem problem = DecodeProblem(message, Purpose::kGradient, kLimits).value();
  HypergradientEvaluator evaluator(problem, {});
  v1::Hypergradient point;
  EncodeHypergradient(problem, evaluator.EvaluateCertified(x, {}).value(),
                      {.policy = true, .q = true, .log_policy = true}, &point);
  EncodeWarmStart(evaluator.warm_start(), point.mutable_warm_start());
  return point;
}

TEST(Array, RealsSurviveTheRoundTripBitForBit) {
  const double inf = std::numeric_limits<double>::infinity();
  const Vector sent = (Vector(6) << 0.1, -0.0, 5e-324, 1.7e308, inf, -inf).finished();
  v1::Array message;
  EncodeReals(sent, {2, 3}, &message);
  const Vector received = DecodeReals(message, {2, 3}, Finite::kNotRequired).value();
  for (int i = 0; i < 6; ++i) EXPECT_EQ(std::bit_cast<uint64_t>(received[i]), std::bit_cast<uint64_t>(sent[i]));
}

TEST(Array, SinglePrecisionIsWidened) {
  const float sent[] = {0.1f, -2.5f};
  v1::Array message;
  message.set_dtype(v1::DTYPE_F32);
  message.set_raw(sent, sizeof(sent));
  const Vector received = DecodeReals(message, {2}).value();
  EXPECT_EQ(received[0], static_cast<double>(0.1f));
  EXPECT_EQ(received[1], -2.5);
}

TEST(Array, IndicesOfEitherWidthAndFormMeanTheSame) {
  v1::Array readable;
  for (const uint32_t i : {0u, 7u, 4'000'000'000u}) readable.mutable_indices()->add_list(i);
  const std::vector<uint64_t> expected = {0, 7, 4'000'000'000};
  EXPECT_EQ(DecodeIndexList<uint64_t>(readable).value(), expected);
  EXPECT_EQ(DecodeIndexList<uint64_t>(MakeArray(std::vector<uint32_t>{0, 7, 4'000'000'000})).value(), expected);
  EXPECT_EQ(DecodeIndexList<uint64_t>(MakeArray(expected)).value(), expected);
  EXPECT_EQ(DecodeIndexList<uint32_t>(MakeArray(expected)).value(), std::vector<uint32_t>({0, 7, 4'000'000'000}));
}

TEST(Array, AnArrayWithoutDataIsEmpty) {
  EXPECT_EQ(CountElements(v1::Array()).value(), 0);
  EXPECT_EQ(DecodeReals(v1::Array(), {0}).value().size(), 0);
}

TEST(Problem, RawAndReadableFormsMeanTheSame) {
  for (const v1::Problem& raw : {client::TwoState(), client::PolicyMatching(3).problem, client::FourRooms()}) {
    v1::Problem readable = raw;
    client::MakeReadable(readable);
    ASSERT_NE(raw.SerializeAsString(), readable.SerializeAsString());
    const Vector x = Vector::LinSpaced(raw.num_parameters(), -1, 1);
    EXPECT_EQ(AnswerAt(raw, x).SerializeAsString(), AnswerAt(readable, x).SerializeAsString());
  }
}

TEST(Problem, DenseAndSparseTransitionsMeanTheSame) {
  v1::Problem dense = client::TwoState();
  v1::Problem sparse = dense;
  v1::SparseMatrix& matrix =
      *sparse.mutable_contexts(0)->mutable_environment()->mutable_transitions()->mutable_sparse();
  matrix.set_rows(4);
  matrix.set_cols(2);
  *matrix.mutable_offsets() = MakeArray(std::vector<uint64_t>{0, 1, 2, 3, 4});
  *matrix.mutable_columns() = MakeArray(std::vector<uint32_t>{0, 1, 0, 1});
  *matrix.mutable_values() = Reals({1, 1, 1, 1});
  const v1::Hypergradient of_dense = AnswerAt(dense, Vector::Ones(1)), of_sparse = AnswerAt(sparse, Vector::Ones(1));
  EXPECT_EQ(of_dense.objective(), of_sparse.objective());
  EXPECT_EQ(of_dense.gradient().raw(), of_sparse.gradient().raw());
  EXPECT_EQ(DecodeEnvironment(dense.contexts(0).environment(), kLimits)->num_entries(), 8u) << "dense stores zeros";
}

TEST(Problem, ContextsWithEqualEnvironmentsShareThem) {
  v1::Problem message = client::TwoState();
  *message.add_contexts() = message.contexts(0);
  *message.add_contexts() = message.contexts(0);
  *message.mutable_contexts(2)->mutable_environment()->mutable_initial_distribution() = Reals({0.5, 0.5});
  const BilevelProblem problem = DecodeProblem(message, Purpose::kGradient, kLimits).value();
  EXPECT_EQ(problem.contexts[0].mdp, problem.contexts[1].mdp);
  EXPECT_NE(problem.contexts[0].mdp, problem.contexts[2].mdp);
}

TEST(Problem, TransitionRewardsAreFoldedIntoTheBase) {
  v1::Problem message = client::TwoState();
  v1::Context& context = *message.mutable_contexts(0);
  *context.mutable_environment()->mutable_transitions()->mutable_dense() =
      Reals({0.25, 0.75, 0, 1, 0.5, 0.5, 1, 0}, {2, 2, 2});
  *context.mutable_reward()->mutable_base() = Reals({1, 1, 1, 1});
  *context.mutable_reward()->mutable_transition_rewards() = Reals({4, 8, 5, 6, 2, -2, 3, 9}, {2, 2, 2});
  const BilevelProblem problem = DecodeProblem(message, Purpose::kGradient, kLimits).value();
  const Vector r = problem.contexts[0].reward.Evaluate(Vector::Zero(1), Vector::Zero(1));
  EXPECT_EQ(r, (Vector(4) << 1 + 7, 1 + 6, 1 + 0, 1 + 3).finished());
}

TEST(Problem, SinglePrecisionTransitionsAreRenormalised) {
  v1::Problem message = client::TwoState();
  const float third = 1.0f / 3, rest = 2.0f / 3;
  const float sent[] = {third, rest, 0, 1, 1, 0, rest, third};
  v1::Array& dense = *message.mutable_contexts(0)->mutable_environment()->mutable_transitions()->mutable_dense();
  dense.set_dtype(v1::DTYPE_F32);
  dense.set_raw(sent, sizeof(sent));
  const BilevelProblem problem = DecodeProblem(message, Purpose::kGradient, kLimits).value();
  EXPECT_NEAR(problem.contexts[0].mdp->max_row_sum(), 1, 1e-15);

  v1::Array readable = dense;  // a person may write such numbers too, and says so by the dtype
  for (const float p : sent) readable.mutable_values()->add_list(p);
  *message.mutable_contexts(0)->mutable_environment()->mutable_transitions()->mutable_dense() = readable;
  EXPECT_TRUE(DecodeProblem(message, Purpose::kGradient, kLimits).ok());
  readable.clear_dtype();
  *message.mutable_contexts(0)->mutable_environment()->mutable_transitions()->mutable_dense() = readable;
  EXPECT_FALSE(DecodeProblem(message, Purpose::kGradient, kLimits).ok()) << "as binary64 the sum is off";
}

TEST(Problem, MapsSetsAndPenaltiesArriveAsWritten) {
  v1::Problem message = client::PolicyMatching(1).problem;
  const auto group = [&message](int size, v1::ParameterGroup::Map map, double scale) {
    v1::ParameterGroup& g = *message.add_parameter_groups();
    g.set_size(size);
    g.set_map(map);
    g.set_scale(scale);
  };
  group(10, v1::ParameterGroup::MAP_SOFTMAX, -2);
  group(20, v1::ParameterGroup::MAP_TANH, 3);
  v1::FeasibleBlock& simplex = *message.add_feasible_set();
  simplex.set_size(10);
  simplex.mutable_simplex()->set_total(5);
  v1::FeasibleBlock& box = *message.add_feasible_set();
  box.set_size(10);
  *box.mutable_box()->mutable_upper() = Reals({0.25});
  v1::FeasibleBlock& ball = *message.add_feasible_set();
  ball.set_size(4);
  *ball.mutable_ball()->mutable_center() = Reals({3});
  ball.mutable_ball()->set_radius(2);
  v1::FeasibleBlock& budget = *message.add_feasible_set();
  budget.set_size(5);
  budget.mutable_budget()->set_total(2);
  message.add_feasible_set()->set_size(1);
  message.mutable_feasible_set(4)->mutable_ball();
  message.add_penalties()->set_kind(v1::Penalty::KIND_L1);
  message.set_aggregation(v1::AGGREGATION_WORST_CASE);

  const BilevelProblem problem = DecodeProblem(message, Purpose::kGradient, kLimits).value();
  const Vector x = Vector::Ones(30);
  const Vector theta = problem.map.Apply(x);
  EXPECT_NEAR(theta[0], -0.2, 1e-15);
  EXPECT_NEAR(theta[10], 3 * std::tanh(1.0), 1e-15);
  const Vector projected = problem.feasible_set.Project(x);
  EXPECT_NEAR(projected.head(10).sum(), 5, 1e-14);
  EXPECT_EQ(projected[19], 0.25);
  EXPECT_EQ(projected.segment(20, 4), Vector::Constant(4, 2));  // half way from 1 to the centre
  EXPECT_NEAR(projected.segment(24, 5).sum(), 2, 1e-14);
  EXPECT_EQ(problem.feasible_set.Project(-7 * x).tail(1), -Vector::Ones(1));
  EXPECT_EQ(problem.penalties.l1, 1);
  EXPECT_EQ(problem.penalties.squared_l2, 1e-3);
  EXPECT_EQ(problem.aggregation, Aggregation::kWorstCase);
}

TEST(Problem, AFollowerNeedsNoSenseTermsOrParameters) {
  v1::Problem message = client::TwoState();
  message.clear_sense();
  message.set_num_parameters(0);
  message.mutable_contexts(0)->clear_objective();
  message.mutable_contexts(0)->mutable_reward()->clear_features();
  EXPECT_TRUE(DecodeProblem(message, Purpose::kFollower, kLimits).ok());
}

TEST(Parameters, OnePointOrManyDefaultZeros) {
  const BilevelProblem problem = DecodeProblem(client::PolicyMatching(1).problem, Purpose::kGradient, kLimits).value();
  EXPECT_EQ(DecodePoints(nullptr, problem)->at(0), Vector::Zero(30));
  std::vector<double> sixty(60);
  for (int i = 0; i < 60; ++i) sixty[static_cast<size_t>(i)] = i;
  const auto points = DecodePoints(nullptr, problem).value();
  const v1::Array many = MakeArray(std::span<const double>(sixty), {2, 30});
  EXPECT_EQ(CountPoints(many), 2);
  EXPECT_EQ(DecodePoints(&many, problem)->at(1)[0], 30);
}

TEST(Solution, UnavailableActionsAreNanInQAndMinusInfinityInLogPolicy) {
  v1::Problem message = client::TwoState();
  v1::Array& mask = *message.mutable_contexts(0)->mutable_environment()->mutable_available_actions();
  for (const uint32_t flag : {1u, 0u, 1u, 1u}) mask.mutable_indices()->add_list(flag);
  const BilevelProblem problem = DecodeProblem(message, Purpose::kGradient, kLimits).value();
  HypergradientEvaluator evaluator(problem, {});
  v1::Hypergradient point;
  EncodeHypergradient(problem, evaluator.EvaluateCertified(Vector::Zero(1), {}).value(),
                      {.policy = true, .q = true, .log_policy = true}, &point);
  const v1::LowerLevelSolution& solution = point.contexts(0);
  const Vector q = DecodeReals(solution.q(), {2, 2}, Finite::kNotRequired).value();
  const Vector log_policy = DecodeReals(solution.log_policy(), {2, 2}, Finite::kNotRequired).value();
  const Vector policy = DecodeReals(solution.policy(), {2, 2}).value();
  EXPECT_TRUE(std::isnan(q[1]));
  EXPECT_TRUE(std::isfinite(q[0]));
  EXPECT_EQ(log_policy[1], -std::numeric_limits<double>::infinity());
  EXPECT_EQ(policy[1], 0);
  EXPECT_EQ(policy[0], 1);
}

TEST(Options, AbsentFieldsKeepCoresDefaults) {
  const LowerLevelOptions options = DecodeLowerLevel({}).value();
  EXPECT_FALSE(options.residual_tolerance.has_value());
  EXPECT_EQ(options.max_sweeps, LowerLevelOptions().max_sweeps);
  EXPECT_EQ(options.adjoint_tolerance, LowerLevelOptions().adjoint_tolerance);
  v1::OptimizeRequest request;
  request.mutable_m_sobirl();
  EXPECT_EQ(DecodeOuter(request)->max_iterations, OuterOptions().max_iterations);
  EXPECT_EQ(DecodeOuter(request)->gradient_tolerance, OuterOptions().gradient_tolerance);
  const auto method = std::get<MSobirlOptions>(DecodeMethod(request).value());
  EXPECT_EQ(method.step_size, MSobirlOptions().step_size);
  EXPECT_EQ(method.sweeps, MSobirlOptions().sweeps);
}

TEST(Options, PairsOfQuasiNewtonTravelAsRows) {
  v1::OptimizeRequest request;
  request.mutable_problem()->set_num_parameters(2);
  v1::QuasiNewtonState& sent = *request.mutable_quasi_newton()->mutable_state();
  *sent.mutable_steps() = Reals({1, 2, 3, 4, 5, 6});
  *sent.mutable_gradient_changes() = Reals({10, 20, 30, 40, 50, 60});
  const auto method = std::get<QuasiNewtonOptions>(DecodeMethod(request).value());
  EXPECT_EQ(method.memory, QuasiNewtonOptions().memory);
  EXPECT_EQ(method.state.steps, (Eigen::MatrixXd{{1, 3, 5}, {2, 4, 6}}));
  EXPECT_EQ(method.state.gradient_changes, 10 * method.state.steps);
  v1::QuasiNewtonState back;
  EncodeQuasiNewtonState(method.state, &back);
  EXPECT_EQ(back.steps().shape_size(), 2);
  EXPECT_EQ(back.steps().shape(0), 3);
  EXPECT_EQ(*DecodeReals(back.steps(), {3, 2}), *DecodeReals(sent.steps(), {3, 2}));
  EXPECT_EQ(*DecodeReals(back.gradient_changes(), {3, 2}), *DecodeReals(sent.gradient_changes(), {3, 2}));
}

TEST(Solution, EveryKindOfStationarityHasItsName) {
  using Kind = Stationarity::Kind;
  const std::pair<Kind, v1::Stationarity::Kind> kinds[] = {
      {Kind::kUnknown, v1::Stationarity::KIND_UNSPECIFIED},
      {Kind::kOptimum, v1::Stationarity::KIND_OPTIMUM},
      {Kind::kSaddle, v1::Stationarity::KIND_SADDLE},
      {Kind::kFlat, v1::Stationarity::KIND_FLAT},
      {Kind::kNotStationary, v1::Stationarity::KIND_NOT_STATIONARY}};
  for (const auto& [kind, name] : kinds) {
    v1::Stationarity message;
    EncodeStationarity({.kind = kind, .smallest = -1, .largest = 2, .direction = Vector::Ones(3), .products = 3},
                       &message);
    EXPECT_EQ(message.kind(), name);
    EXPECT_EQ(message.smallest_curvature(), -1);
    EXPECT_EQ(message.largest_curvature(), 2);
    EXPECT_EQ(*DecodeReals(message.direction(), {3}), Vector::Ones(3));
    EXPECT_EQ(message.products(), 3);
  }
}

TEST(Options, TheLongestDurationIsAccepted) {
  google::protobuf::Duration duration;
  duration.set_seconds(315'576'000'000);
  EXPECT_GT(DecodeDuration(duration).value(), std::chrono::hours(24 * 365 * 30));
}

TEST(Error, FieldErrorsCarryPathAndDescription) {
  const grpc::Status status = ToGrpcStatus(WithField("a", FieldError("b[0]", "is 1; must be 2")));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "a.b[0]: is 1; must be 2");
  const ErrorDetails details = DetailsOf(status);
  EXPECT_EQ(details.info.reason(), reasons::kInvalidField);
  EXPECT_EQ(details.info.domain(), "bilevel");
  ASSERT_EQ(details.bad_request.field_violations_size(), 1);
  EXPECT_EQ(details.bad_request.field_violations(0).field(), "a.b[0]");
  EXPECT_EQ(details.bad_request.field_violations(0).description(), "is 1; must be 2");
}

TEST(Error, RefusalsCarryQuotaAndRetryDelay) {
  const grpc::Status status =
      ToGrpcStatus(MakeRefusal(absl::StatusCode::kResourceExhausted, {.reason = reasons::kQueueFull,
                                                                      .subject = "queue_length",
                                                                      .description = "too many",
                                                                      .retry_delay = std::chrono::milliseconds(1500)}));
  v1::rpc::Status message;
  ASSERT_TRUE(message.ParseFromString(status.error_details()));
  EXPECT_EQ(message.code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
  const ErrorDetails details = DetailsOf(status);
  EXPECT_EQ(details.info.reason(), reasons::kQueueFull);
  EXPECT_EQ(details.quota.violations(0).subject(), "queue_length");
  EXPECT_TRUE(details.has_retry);
}

TEST(Error, AnythingElseIsOurBug) {
  EXPECT_EQ(DetailsOf(ToGrpcStatus(absl::InternalError("broken"))).info.reason(), reasons::kInternal);
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  // What the code says already needs no reason.
  EXPECT_EQ(DetailsOf(ToGrpcStatus(absl::NotFoundError("who?"))).info.reason(), "");
  EXPECT_EQ(DetailsOf(ToGrpcStatus(absl::FailedPreconditionError("too early"))).info.reason(), "");
}

}  // namespace
}  // namespace bilevel::server
