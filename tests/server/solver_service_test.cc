#include "server/solver_service.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "client/array.h"
#include "client/problems/four_rooms.h"
#include "client/problems/policy_matching.h"
#include "client/problems/two_state.h"
#include "server/reasons.h"
#include "tests/server/loopback.h"
#include "tests/server/requests.h"

namespace bilevel::server {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

double Number(const v1::Array& array, size_t at = 0) { return client::ToVector(array).value().at(at); }

// An Optimize call that has begun to run.
class RunningOptimize {
 public:
  explicit RunningOptimize(v1::SolverService::Stub& stub, const v1::OptimizeRequest& request = EndlessRequest())
      : reader_(stub.Optimize(&context_, request)) {
    EXPECT_TRUE(reader_->Read(&event_));
  }
  ~RunningOptimize() {
    context_.TryCancel();
    Finish();
  }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() {
    if (finished_) return grpc::Status::OK;
    finished_ = true;
    while (reader_->Read(&event_)) {
    }
    return reader_->Finish();
  }
  const v1::OptimizeEvent& event() const { return event_; }

 private:
  grpc::ClientContext context_;
  v1::OptimizeEvent event_;
  std::unique_ptr<grpc::ClientReader<v1::OptimizeEvent>> reader_;
  bool finished_ = false;
};

grpc::Status Evaluate(Loopback& loopback, const v1::EvaluateHypergradientRequest& request,
                      v1::EvaluateHypergradientResponse* response, milliseconds deadline = seconds(20)) {
  grpc::ClientContext context;
  SetDeadline(context, deadline);
  return loopback.stub().EvaluateHypergradient(&context, request, response);
}

bool WaitFor(const std::function<bool()>& condition, milliseconds limit = seconds(5)) {
  const auto end = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

TEST(SolverService, TwoStatesAreAsByHand) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::TwoState();
  request.set_return_policies(true);
  request.set_return_warm_start(true);
  v1::EvaluateHypergradientResponse response;
  const grpc::Status status = Evaluate(loopback, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.points_size(), 1);
  const v1::Hypergradient& point = response.points(0);
  EXPECT_NEAR(point.objective(), 0.5, 1e-12);
  EXPECT_NEAR(Number(point.gradient()), -0.25, 1e-12);
  EXPECT_LT(point.certificate().error_bound(), 1e-9);
  EXPECT_EQ(point.termination().reason(), v1::Termination::REASON_CONVERGED);
  EXPECT_NEAR(Number(point.contexts(0).value()), std::log(2.0), 1e-12);
  EXPECT_NEAR(Number(point.contexts(0).policy()), 0.5, 1e-12);
  EXPECT_EQ(point.contexts(0).label(), "two states");
  EXPECT_EQ(point.warm_start().contexts_size(), 1);
  const v1::RunInfo& info = response.run_info();
  EXPECT_GT(info.elapsed_seconds(), 0);
  EXPECT_FALSE(info.server_version().empty());
  EXPECT_FALSE(info.host().empty());
  EXPECT_GT(info.start_time().seconds(), 1'600'000'000);
}

TEST(SolverService, RewardsAndIncentivesComeBackOnRequest) {
  Loopback loopback;
  v1::SolveLowerLevelRequest request;
  *request.mutable_problem() = client::TwoState();
  *request.mutable_problem()->mutable_contexts(0)->mutable_reward()->mutable_base() =
      client::MakeArray(std::vector<double>{1, 2, 3, 4});
  *request.mutable_parameters() = client::MakeArray(std::vector<double>{0.25});
  request.set_return_reward(true);
  v1::SolveLowerLevelResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(loopback.stub().SolveLowerLevel(&context, request, &response).ok());
  EXPECT_EQ(client::ToVector(response.contexts(0).reward()).value(), (std::vector<double>{1, 2, 3.25, 4.25}));
  EXPECT_EQ(client::ToVector(response.contexts(0).incentive()).value(), (std::vector<double>{0, 0, 0.25, 0.25}));
}

TEST(SolverService, FourRoomsIsAsPublished) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::FourRooms();
  v1::EvaluateHypergradientResponse response;
  ASSERT_TRUE(Evaluate(loopback, request, &response).ok());
  EXPECT_NEAR(response.points(0).objective(), 0.288158, 1e-6);
}

TEST(SolverService, ManyPointsComeBackInOrderWithoutPoliciesUnlessAskedFor) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::TwoState();
  *request.mutable_parameters() = client::MakeArray(std::vector<double>{0, 1, -1}, {3, 1});
  v1::EvaluateHypergradientResponse response;
  ASSERT_TRUE(Evaluate(loopback, request, &response).ok());
  ASSERT_EQ(response.points_size(), 3);
  for (int i = 0; i < 3; ++i) {
    const double x = i == 0 ? 0 : (i == 1 ? 1 : -1);
    EXPECT_EQ(Number(response.points(i).parameters()), x);
    EXPECT_NEAR(response.points(i).objective(), (1 - x) / (1 + std::exp(-x)), 1e-12);
    EXPECT_FALSE(response.points(i).contexts(0).has_policy());
    EXPECT_FALSE(response.points(i).has_warm_start());
  }
}

// In runs of eight, each from the start, on as many threads as there are.
TEST(SolverService, RunsOfPointsAreTheSameOnOneThreadAndOnThree) {
  constexpr int kPoints = 37;
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::TwoState();
  std::vector<double> points(kPoints);
  for (size_t i = 0; i < points.size(); ++i) points[i] = 0.1 * static_cast<double>(i) - 2;
  *request.mutable_parameters() = client::MakeArray(points, {kPoints, 1});
  request.set_return_policies(true);
  request.set_return_warm_start(true);
  std::vector<std::string> bytes;
  for (const int threads : {1, 3}) {
    Loopback loopback(LoopbackOptions(threads));
    v1::EvaluateHypergradientResponse response;
    ASSERT_TRUE(Evaluate(loopback, request, &response).ok());
    ASSERT_EQ(response.points_size(), kPoints);
    for (int i = 0; i < kPoints; ++i) {
      const double x = points[static_cast<size_t>(i)];
      EXPECT_EQ(Number(response.points(i).parameters()), x);
      EXPECT_NEAR(response.points(i).objective(), (1 - x) / (1 + std::exp(-x)), 1e-12);
      EXPECT_TRUE(response.points(i).has_warm_start());
    }
    response.clear_run_info();
    bytes.push_back(response.SerializeAsString());
  }
  EXPECT_EQ(bytes[0], bytes[1]);
}

// Of all points the first decides whether a tolerance can be reached at all.
TEST(SolverService, LaterRunsOfPointsReachAsFarAsTheyCan) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::TwoState();
  request.mutable_lower_level()->set_residual_tolerance(2e-15);
  *request.mutable_parameters() = client::MakeArray(std::vector<double>{50}, {1, 1});
  v1::EvaluateHypergradientResponse response;
  EXPECT_EQ(Evaluate(loopback, request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  std::vector<double> points(16, 0);
  std::fill(points.begin() + 8, points.end(), 50);
  *request.mutable_parameters() = client::MakeArray(points, {16, 1});
  const grpc::Status status = Evaluate(loopback, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.points_size(), 16);
}

// A ring: one action stays, the other goes on. Large enough for contexts to go at the same time.
v1::Environment Ring() {
  constexpr uint32_t kStates = 700;
  v1::Environment environment;
  environment.set_num_states(kStates);
  environment.set_num_actions(2);
  v1::SparseMatrix& rows = *environment.mutable_transitions()->mutable_sparse();
  rows.set_rows(2 * kStates);
  rows.set_cols(kStates);
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> columns;
  for (uint32_t s = 0; s < kStates; ++s) {
    for (const uint32_t next : {s, (s + 1) % kStates}) {
      columns.push_back(next);
      offsets.push_back(columns.size());
    }
  }
  *rows.mutable_offsets() = client::MakeArray(std::span<const uint64_t>(offsets));
  *rows.mutable_columns() = client::MakeArray(std::span<const uint32_t>(columns));
  *rows.mutable_values() = client::MakeArray(std::vector<double>(columns.size(), 1.0));
  return environment;
}

TEST(SolverService, ContextsThatGoTogetherAnswerAsEachAlone) {
  constexpr int kContexts = 4;
  Loopback loopback(LoopbackOptions(3));
  v1::PullbackRequest all;
  all.mutable_problem()->set_num_parameters(1);
  all.set_return_warm_start(true);
  for (int c = 0; c < kContexts; ++c) {
    v1::Context& context = *all.mutable_problem()->add_contexts();
    *context.mutable_environment() = Ring();
    context.set_discount(0.8 + 0.05 * c);
    context.set_temperature(0.1 * (c + 1));
    std::vector<double> reward(1400);
    for (size_t i = 0; i < reward.size(); ++i) reward[i] = std::sin(static_cast<double>(i) + c);
    *context.mutable_reward()->mutable_base() = client::MakeArray(reward, {700, 2});
    *all.add_cotangents()->mutable_value() = client::MakeArray(std::vector<double>(700, 1.0 / 700), {700});
  }
  v1::PullbackResponse together;
  grpc::ClientContext context;
  const grpc::Status status = loopback.stub().Pullback(&context, all, &together);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(together.contexts_size(), kContexts);
  ASSERT_EQ(together.gradients_size(), kContexts);
  for (int c = 0; c < kContexts; ++c) {
    v1::PullbackRequest one = all;
    one.mutable_problem()->clear_contexts();
    *one.mutable_problem()->add_contexts() = all.problem().contexts(c);
    one.clear_cotangents();
    *one.add_cotangents() = all.cotangents(c);
    v1::PullbackResponse alone;
    grpc::ClientContext its;
    ASSERT_TRUE(loopback.stub().Pullback(&its, one, &alone).ok());
    EXPECT_EQ(together.contexts(c).SerializeAsString(), alone.contexts(0).SerializeAsString());
    EXPECT_EQ(together.gradients(c).SerializeAsString(), alone.gradients(0).SerializeAsString());
    // F is the mean of V: dF/dr has the mass 1 / (1 - discount).
    const std::vector<double> shares = client::ToVector(together.gradients(c).reward()).value();
    EXPECT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), 1 / (1 - all.problem().contexts(c).discount()),
                1e-8);
  }
}

TEST(SolverService, PullbackOfTheValueIsTheOccupancyAndComesBackInTheFormOfTheRequest) {
  Loopback loopback;
  v1::PullbackRequest request;
  *request.mutable_problem() = client::TwoState();
  // F = V(0): dF/dr is the follower's discounted occupancy, of mass 1 / (1 - discount) = 2.
  *request.add_cotangents()->mutable_value() = client::MakeArray(std::vector<double>{1, 0}, {2});
  request.set_return_transition_gradient(true);
  grpc::ClientContext context;
  v1::PullbackResponse response;
  const grpc::Status status = loopback.stub().Pullback(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const std::vector<double> reward = client::ToVector(response.gradients(0).reward()).value();
  EXPECT_NEAR(reward[0] + reward[1] + reward[2] + reward[3], 2, 1e-12);
  EXPECT_NEAR(reward[0], 0.75, 1e-12);
  const v1::Array& transitions = response.gradients(0).transitions();
  EXPECT_EQ(std::vector<int>(transitions.shape().begin(), transitions.shape().end()), std::vector<int>({2, 2, 2}));
  EXPECT_NEAR(Number(transitions, 0), 0.5 * 0.75 * std::log(2.0), 1e-12) << "discount * occupancy * V";
  EXPECT_TRUE(response.contexts(0).has_q());
}

TEST(SolverService, PullbackWithoutCotangentsIsTheForwardPass) {
  Loopback loopback;
  v1::PullbackRequest request;
  *request.mutable_problem() = client::TwoState();
  request.set_return_warm_start(true);
  grpc::ClientContext context;
  v1::PullbackResponse response;
  ASSERT_TRUE(loopback.stub().Pullback(&context, request, &response).ok());
  EXPECT_EQ(response.gradients_size(), 0);
  EXPECT_NEAR(Number(response.contexts(0).value()), std::log(2.0), 1e-12);
  EXPECT_EQ(response.warm_start().contexts(0).value().raw().size(), 16u);
}

TEST(SolverService, CheckGradientAgrees) {
  Loopback loopback;
  v1::CheckGradientRequest request;
  *request.mutable_problem() = client::PolicyMatching(2).problem;
  request.set_directions(5);
  request.set_seed(7);
  grpc::ClientContext context;
  v1::CheckGradientResponse response;
  ASSERT_TRUE(loopback.stub().CheckGradient(&context, request, &response).ok());
  EXPECT_LT(response.relative_error_l2(), 1e-6);
  EXPECT_EQ(client::ToVector(response.numeric())->size(), 5u);
  EXPECT_EQ(response.seed(), 7u);
  EXPECT_EQ(response.termination().reason(), v1::Termination::REASON_CONVERGED);
}

TEST(SolverService, OptimizeFindsTheOptimumAndEndsWithTheResult) {
  Loopback loopback;
  v1::OptimizeRequest request;
  *request.mutable_problem() = client::TwoState();
  request.mutable_projected_gradient();
  request.set_gradient_tolerance(1e-9);
  request.set_progress_every(1);
  request.set_return_policies(true);
  request.set_return_warm_start(true);
  RunningOptimize run(loopback.stub(), request);
  EXPECT_TRUE(run.event().has_progress());
  const grpc::Status status = run.Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_TRUE(run.event().has_result()) << "the last event is the result";
  const v1::OptimizeResult& result = run.event().result();
  EXPECT_NEAR(result.best().objective(), client::kTwoStateOptimum, 1e-9);
  EXPECT_NEAR(Number(result.best().parameters()), -client::kTwoStateOptimum, 1e-6);
  EXPECT_EQ(result.termination().reason(), v1::Termination::REASON_CONVERGED);
  EXPECT_EQ(result.method(), "projected_gradient");
  EXPECT_TRUE(result.best().contexts(0).has_policy());
  EXPECT_TRUE(result.best().has_warm_start());
}

TEST(SolverService, ListMethodsNamesMethodsAndLimits) {
  Loopback loopback;
  grpc::ClientContext context;
  v1::ListMethodsResponse response;
  ASSERT_TRUE(loopback.stub().ListMethods(&context, {}, &response).ok());
  EXPECT_EQ(response.methods_size(), 5);
  EXPECT_EQ(response.limits().message_bytes(), 4 << 20);
  EXPECT_EQ(response.limits().threads(), 2);
  EXPECT_FALSE(response.server_version().empty());
}

TEST(SolverService, TheEstimateCountsThePairsOfQuasiNewton) {
  Loopback loopback;
  const auto bytes = [&](int memory) {
    v1::OptimizeRequest request;
    *request.mutable_problem() = client::FourRooms();
    request.mutable_quasi_newton()->set_memory(memory);
    request.set_validate_only(true);
    RunningOptimize run(loopback.stub(), request);
    EXPECT_TRUE(run.event().has_estimate());
    const double result = run.event().estimate().bytes();
    EXPECT_TRUE(run.Finish().ok());
    return result;
  };
  EXPECT_NEAR(bytes(100) - bytes(1), 5 * 99 * 16 * 105, 100);
}

TEST(SolverService, TheEstimateCountsTheHessianOfTruncatedNewton) {
  Loopback loopback;
  const auto bytes = [&](const std::function<void(v1::OptimizeRequest&)>& choose) {
    v1::OptimizeRequest request;
    *request.mutable_problem() = client::FourRooms();
    choose(request);
    request.set_validate_only(true);
    RunningOptimize run(loopback.stub(), request);
    EXPECT_TRUE(run.event().has_estimate());
    const double result = run.event().estimate().bytes();
    EXPECT_TRUE(run.Finish().ok());
    return result;
  };
  const double gradient = bytes([](auto& m) { m.mutable_projected_gradient(); });
  const double few = bytes([](auto& m) { m.mutable_truncated_newton()->set_max_products(1); });
  const double many = bytes([](auto& m) { m.mutable_truncated_newton()->set_max_products(1000); });
  EXPECT_GT(few - gradient, 3 * 8.0 * 104 * 104);  // P^pi and its factors
  EXPECT_NEAR(many - few, 999 * 8 * 105, 100);
}

TEST(SolverService, ValidateOnlyAnswersWithAnEstimateAlone) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::FourRooms();
  request.set_validate_only(true);
  v1::EvaluateHypergradientResponse response;
  ASSERT_TRUE(Evaluate(loopback, request, &response).ok());
  EXPECT_EQ(response.points_size(), 0);
  EXPECT_GT(response.estimate().bytes(), 8.0 * 104 * 104);
  EXPECT_LT(response.estimate().bytes(), 64e6);
  EXPECT_GT(response.estimate().seconds(), 1e-5);
  EXPECT_LT(response.estimate().seconds(), kShortSeconds) << "Four-Rooms belongs in the short lane";

  v1::OptimizeRequest optimize = EndlessRequest();
  optimize.set_validate_only(true);
  RunningOptimize run(loopback.stub(), optimize);
  EXPECT_TRUE(run.event().has_estimate());
}

TEST(SolverService, SameRequestSameBytesAtAnyNumberOfThreads) {
  v1::EvaluateHypergradientRequest evaluate;
  *evaluate.mutable_problem() = client::FourRooms();
  evaluate.set_return_policies(true);
  evaluate.set_return_warm_start(true);
  v1::OptimizeRequest optimize = EndlessRequest();
  optimize.mutable_m_sobirl()->set_step_size(0.1);
  optimize.set_max_iterations(50);
  std::string first;
  for (const int threads : {1, 4}) {
    Loopback loopback(LoopbackOptions(threads));
    std::vector<std::string> answers(4);
    std::vector<std::thread> clients;
    for (std::string& answer : answers) {
      clients.emplace_back([&] {
        v1::EvaluateHypergradientResponse response;
        EXPECT_TRUE(Evaluate(loopback, evaluate, &response).ok());
        response.clear_run_info();
        RunningOptimize run(loopback.stub(), optimize);
        EXPECT_TRUE(run.Finish().ok());
        v1::OptimizeResult result = run.event().result();
        result.clear_run_info();
        answer = response.SerializeAsString() + result.SerializeAsString();
      });
    }
    for (std::thread& client : clients) client.join();
    if (first.empty()) first = answers[0];
    for (const std::string& answer : answers) EXPECT_EQ(answer, first) << threads << " threads";
  }
}

TEST(SolverService, ACancelledOptimizeFreesItsWorkerWithin100Milliseconds) {
  Loopback loopback(LoopbackOptions(1));
  RunningOptimize first(loopback.stub());
  first.Cancel();
  const auto cancelled = Clock::now();
  RunningOptimize second(loopback.stub());  // needs the only long worker
  EXPECT_LT(Clock::now() - cancelled, milliseconds(100));
  EXPECT_EQ(first.Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(SolverService, ADeadlineIsMetWithTheBestPointSoFar) {
  Loopback loopback;
  grpc::ClientContext context;
  SetDeadline(context, milliseconds(500));
  const auto reader = loopback.stub().Optimize(&context, EndlessRequest());
  v1::OptimizeEvent event;
  while (reader->Read(&event)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  ASSERT_TRUE(event.has_result());
  EXPECT_EQ(event.result().termination().reason(), v1::Termination::REASON_TIME_LIMIT);
  EXPECT_TRUE(event.result().best().has_gradient());
}

TEST(SolverService, TheTimeLimitOfTheRequestCountsToo) {
  Loopback loopback;
  v1::OptimizeRequest request = EndlessRequest();
  request.mutable_time_limit()->set_nanos(50'000'000);
  const auto begin = Clock::now();
  RunningOptimize run(loopback.stub(), request);
  ASSERT_TRUE(run.Finish().ok());
  EXPECT_LT(Clock::now() - begin, milliseconds(500));
  EXPECT_EQ(run.event().result().termination().reason(), v1::Termination::REASON_TIME_LIMIT);
}

TEST(SolverService, PointsBeyondTheTimeLimitDoNotComeBack) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::FourRooms();
  *request.mutable_parameters() = client::MakeArray(std::vector<double>(500 * 105UL), {500, 105});
  request.mutable_time_limit()->set_nanos(30'000'000);
  v1::EvaluateHypergradientResponse response;
  const grpc::Status status = Evaluate(loopback, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_GE(response.points_size(), 1);
  EXPECT_LT(response.points_size(), 500);
  EXPECT_EQ(response.termination().reason(), v1::Termination::REASON_TIME_LIMIT);
}

TEST(SolverService, ShortCallsAreServedWhileAllLongWorkersAreBusy) {
  Loopback loopback(LoopbackOptions(1));
  RunningOptimize busy(loopback.stub());
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::TwoState();
  v1::EvaluateHypergradientResponse response;
  EXPECT_TRUE(Evaluate(loopback, request, &response, seconds(2)).ok());
}

TEST(SolverService, AFullQueueRefusesWithRetryInfo) {
  ServerOptions options = LoopbackOptions(1);
  options.dispatcher.queue_length = 1;
  Loopback loopback(options);
  RunningOptimize running(loopback.stub());
  // Of two more calls one waits, whichever comes first, and the other is refused, which ends the wait of the first.
  std::array<grpc::ClientContext, 2> contexts;
  std::array<grpc::Status, 2> statuses;
  const auto call = [&](size_t i) {
    SetDeadline(contexts[i], seconds(20));
    const auto reader = loopback.stub().Optimize(&contexts[i], EndlessRequest());
    v1::OptimizeEvent event;
    while (reader->Read(&event)) {
    }
    statuses[i] = reader->Finish();
    contexts[1 - i].TryCancel();
  };
  std::thread other(call, 1);
  call(0);
  other.join();
  const size_t refused = statuses[0].error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ? 0 : 1;
  EXPECT_EQ(statuses[1 - refused].error_code(), grpc::StatusCode::CANCELLED) << statuses[1 - refused].error_message();
  const ErrorDetails details = DetailsOf(statuses[refused]);
  EXPECT_EQ(details.info.reason(), reasons::kQueueFull) << statuses[refused].error_message();
  EXPECT_TRUE(details.has_retry);
  ASSERT_EQ(details.quota.violations_size(), 1);
  EXPECT_EQ(details.quota.violations(0).subject(), "queue_length");
}

TEST(SolverService, ACallThatIsCancelledWhileItWaitsFreesItsPlaceAtOnce) {
  ServerOptions options = LoopbackOptions(1);
  options.dispatcher.queue_length = 1;
  // Memory for the call that runs and one that waits.
  options.dispatcher.memory_budget = 2.5 * EstimateCost(EndlessRequest(), {}).value().bytes;
  Loopback loopback(options);
  RunningOptimize running(loopback.stub());
  for (int round = 0; round < 5; ++round) {
    SCOPED_TRACE(round);
    // The client may learn of its deadline a little before the server does.
    EXPECT_TRUE(WaitFor([&] {
      grpc::ClientContext context;
      SetDeadline(context, milliseconds(100));
      v1::OptimizeEvent event;
      const auto reader = loopback.stub().Optimize(&context, EndlessRequest());
      EXPECT_FALSE(reader->Read(&event));
      return reader->Finish().error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
    })) << "must wait, not be refused";
  }
}

TEST(SolverService, MemoryHeldByOthersRefusesForNow) {
  v1::OptimizeRequest request = EndlessRequest();
  ServerOptions options = LoopbackOptions(2);
  options.dispatcher.memory_budget = 1.5 * EstimateCost(request, {}).value().bytes;
  Loopback loopback(options);
  RunningOptimize running(loopback.stub());
  grpc::ClientContext context;
  v1::OptimizeEvent event;
  const auto reader = loopback.stub().Optimize(&context, request);
  EXPECT_FALSE(reader->Read(&event));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(status).info.reason(), reasons::kMemoryBusy);
  EXPECT_EQ(DetailsOf(status).quota.violations(0).subject(), "memory_budget");
  EXPECT_TRUE(DetailsOf(status).has_retry);
}

TEST(SolverService, AMessageAboveTheLimitIsRefused) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::TwoState();
  request.mutable_parameters()->set_raw(std::string(5 << 20, 0));
  v1::EvaluateHypergradientResponse response;
  EXPECT_EQ(Evaluate(loopback, request, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

}  // namespace
}  // namespace bilevel::server
