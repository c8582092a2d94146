// The outer loop of a session over loopback: where x goes, however transitions come; steps asked for one by one; steps
// as they are watched.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <future>
#include <thread>

#include "core/hypergradient/hypergradient.h"
#include "server/convert/array.h"
#include "tests/server/session_fixture.h"

namespace bilevel::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// x in [-1, 1]^2.
void Bound(v1::Problem& problem) {
  v1::FeasibleBlock& block = *problem.add_feasible_set();
  block.set_size(2);
  SetReals({-1, -1}, block.mutable_box()->mutable_lower());
  SetReals({1, 1}, block.mutable_box()->mutable_upper());
}

class OuterLoopTest : public SessionFixture {
 protected:
  v1::CreateSessionRequest LoopRequest(int writers = 1) {
    v1::CreateSessionRequest request = Request(writers);
    Bound(*request.mutable_problem());
    v1::OuterLoop& loop = *request.mutable_outer_loop();
    loop.mutable_sobirl();
    loop.mutable_estimator()->set_redraws(4);
    return request;
  }

  grpc::Status Take(const std::string& name, double number, v1::OuterStep* step) {
    grpc::ClientContext context;
    v1::StepSessionRequest request;
    request.set_name(name);
    request.set_number(number);
    return stub_->StepSession(&context, request, step);
  }

  // All that is told after `after`, and how it ends.
  std::vector<v1::WatchStepsResponse> Watch(const std::string& name, double after, grpc::Status* status) {
    grpc::ClientContext context;
    v1::WatchStepsRequest request;
    request.set_name(name);
    request.set_after_number(after);
    const auto stream = stub_->WatchSteps(&context, request);
    std::vector<v1::WatchStepsResponse> told;
    v1::WatchStepsResponse response;
    while (stream->Read(&response)) told.push_back(response);
    *status = stream->Finish();
    return told;
  }

  std::string Refused(const v1::CreateSessionRequest& request) {
    v1::Session session;
    const grpc::Status status = Create(request, &session);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  }
};

TEST_F(OuterLoopTest, TakesTheSamePathFromAnyBatchesOfAnyWriters) {
  const std::vector<server::Step> steps = Explore(20'000);
  std::string first;
  for (const int writers : {1, 2}) {
    const std::string name = MustCreate(LoopRequest(writers));
    const auto dealt = Deal(steps, static_cast<size_t>(writers));
    std::vector<std::thread> threads;
    for (int w = 0; w < writers; ++w) {
      threads.emplace_back([&, w] {
        Write(name, absl::StrCat("w", w), dealt[static_cast<size_t>(w)], static_cast<uint64_t>(w), 5,
              writers == 1 ? 333 : 0);
      });
    }
    for (std::thread& thread : threads) thread.join();
    WaitUntilMerged(name, 20'000);
    v1::Session session = Get(name);
    EXPECT_EQ(session.outer_loop().steps(), 20);
    EXPECT_EQ(session.parameters_version(), 21);
    EXPECT_EQ(Policy(name).parameters_version(), 21);
    const std::string path = session.outer_loop().SerializeAsString() + Policy(name).SerializeAsString();
    if (first.empty()) first = path;
    EXPECT_EQ(path, first);
  }
}

TEST_F(OuterLoopTest, EndsWhereTheWorldsGradientEnds) {
  v1::CreateSessionRequest request = LoopRequest();
  request.mutable_outer_loop()->set_gradient_tolerance(0.05);
  const std::string name = MustCreate(request);
  Write(name, "w0", Explore(60'000), 1, 0, 1000);
  WaitUntilMerged(name, 60'000);
  const v1::Session session = Get(name);
  ASSERT_TRUE(session.outer_loop().has_termination()) << session.DebugString();
  EXPECT_EQ(session.outer_loop().termination().reason(), v1::Termination::REASON_CONVERGED);
  v1::Problem known = World(true);
  Bound(known);
  const BilevelProblem world = *DecodeProblem(known, Purpose::kGradient, Limits());
  const auto norm = [&](const Vector& x) {
    return world.ProjectedGradientNorm(x, HypergradientEvaluator(world, {}).Evaluate(x, {})->gradient);
  };
  EXPECT_LE(norm(*DecodeReals(session.parameters(), {2})), 0.1);
  EXPECT_GT(norm(Vector{{0.5, -0.3}}), 0.2);
}

// Recursive momentum, with weights cut where they leave 1.
TEST_F(OuterLoopTest, TellsOfMomentum) {
  v1::CreateSessionRequest request = LoopRequest();
  request.set_trajectory_capacity(5000);
  v1::OuterLoop& loop = *request.mutable_outer_loop();
  loop.mutable_stoc_sobirl_storm()->set_weight_cap(1);
  loop.mutable_stoc_sobirl_storm()->mutable_averaging()->set_first(0.5);
  loop.mutable_estimator()->set_estimator(v1::ESTIMATOR_REWARD_TO_GO);
  const std::string name = MustCreate(request);
  Write(name, "w0", Explore(3000), 1, 0, 1000);
  WaitUntilMerged(name, 3000);
  grpc::ClientContext context;
  v1::WatchStepsRequest watch;
  watch.set_name(name);
  const auto stream = stub_->WatchSteps(&context, watch);
  v1::WatchStepsResponse told;
  for (int k = 1; k <= 3; ++k) {
    ASSERT_TRUE(stream->Read(&told));
    const v1::OuterStep& step = told.step();
    const Vector direction = *DecodeReals(step.direction(), {2});
    const Vector estimate = *DecodeReals(step.estimate().gradient(), {2});
    if (k == 1) {
      EXPECT_EQ(step.averaging(), 1);
      EXPECT_EQ(direction, estimate);
      EXPECT_EQ(step.weight_sample_size(), 0);
    } else {
      EXPECT_LT(step.averaging(), 1);
      EXPECT_NE(direction, estimate);
      EXPECT_GT(step.weight_sample_size(), 2);
      EXPECT_GT(step.capped_share(), 0);
      EXPECT_LT(step.capped_share(), 1);
      EXPECT_GT(DecodeReals(step.weight_bias(), {2})->norm(), 0);
    }
  }
  context.TryCancel();
}

TEST_F(OuterLoopTest, TakesStepsOneByOne) {
  v1::CreateSessionRequest request = LoopRequest();
  request.mutable_outer_loop()->set_on_request(true);
  request.mutable_outer_loop()->set_max_steps(2);
  const std::string name = MustCreate(request);
  v1::OuterStep step, again;
  grpc::Status status = Take(name, 0, &step);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("not learned from any transition"));
  EXPECT_THAT(Get(name).outer_loop().waiting(), HasSubstr("not learned from any transition"));
  Write(name, "w0", Explore(1500), 1, 0, 256);
  WaitUntilMerged(name, 1500);
  EXPECT_EQ(Get(name).parameters_version(), 1);
  ASSERT_TRUE(Take(name, 1, &step).ok());
  EXPECT_EQ(step.number(), 1);
  EXPECT_EQ(step.merged(), 1500);
  EXPECT_EQ(Get(name).outer_loop().waiting(), "");
  const v1::GetPolicyResponse policy = Policy(name);
  EXPECT_EQ(policy.parameters_version(), 2);
  EXPECT_EQ(policy.version(), 2);  // the first was due at 1000
  // x moves along the direction, and the same question has the same answer.
  const Vector from = *DecodeReals(step.parameters(), {2}), along = *DecodeReals(step.direction(), {2});
  const Vector to = (from + step.step_size() * along).cwiseMax(-1).cwiseMin(1);
  EXPECT_LE((*DecodeReals(policy.parameters(), {2}) - to).norm(), 1e-12);
  ASSERT_TRUE(Take(name, 1, &again).ok());
  EXPECT_EQ(again.SerializeAsString(), step.SerializeAsString());
  EXPECT_THAT(Take(name, 3, &again).error_message(), HasSubstr("number is 3; the next step is 2"));
  EXPECT_THAT(Take(name, 0.5, &again).error_message(), HasSubstr("number: is 0.5; must be a whole number"));
  ASSERT_TRUE(Take(name, 2, &again).ok());
  status = Take(name, 0, &again);
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr("has stopped"), HasSubstr("max_steps = 2")));
  EXPECT_EQ(Get(name).outer_loop().termination().reason(), v1::Termination::REASON_ITERATION_LIMIT);
  EXPECT_EQ(Get(name).parameters_version(), 2);
}

TEST_F(OuterLoopTest, TellsStepsToThoseWhoWatchUntilItStops) {
  v1::CreateSessionRequest request = LoopRequest();
  request.mutable_outer_loop()->set_max_steps(5);
  const std::string name = MustCreate(request);
  std::vector<v1::WatchStepsResponse> told;
  grpc::Status end;
  std::thread watcher([&] { told = Watch(name, 0, &end); });
  Write(name, "w0", Explore(10'000), 1, 0, 256);
  watcher.join();
  EXPECT_TRUE(end.ok()) << end.error_message();
  ASSERT_EQ(told.size(), 6u);
  for (int k = 0; k < 5; ++k) {
    EXPECT_EQ(told[static_cast<size_t>(k)].step().number(), k + 1);
    EXPECT_EQ(told[static_cast<size_t>(k)].step().merged(), 1000 * (k + 1));
  }
  EXPECT_EQ(told[5].stopped().termination().reason(), v1::Termination::REASON_ITERATION_LIMIT);
  EXPECT_EQ(told[5].stopped().last().SerializeAsString(), told[4].step().SerializeAsString());
  told = Watch(name, 3, &end);
  ASSERT_EQ(told.size(), 3u);
  EXPECT_EQ(told[0].step().number(), 4);
  // Another x, and it goes on with what comes.
  WaitUntilMerged(name, 10'000);
  v1::SetParametersRequest move;
  move.set_name(name);
  SetReals({7, 0.5}, move.mutable_parameters());
  grpc::ClientContext context;
  v1::Session session;
  ASSERT_TRUE(stub_->SetParameters(&context, move, &session).ok());
  EXPECT_EQ(*DecodeReals(session.parameters(), {2}), (Vector{{1, 0.5}}));  // projected
  EXPECT_FALSE(Get(name).outer_loop().has_termination());
}

TEST_F(OuterLoopTest, WatchingEndsWithTheSession) {
  const std::string name = MustCreate(LoopRequest());
  grpc::Status end;
  Write(name, "w0", Explore(1000), 1, 0, 256);
  WaitUntilMerged(name, 1000);
  std::promise<void> watching;
  std::thread watcher([&] {
    grpc::ClientContext context;
    v1::WatchStepsRequest request;
    request.set_name(name);
    const auto stream = stub_->WatchSteps(&context, request);
    v1::WatchStepsResponse response;
    EXPECT_TRUE(stream->Read(&response));
    watching.set_value();
    EXPECT_FALSE(stream->Read(&response));
    end = stream->Finish();
  });
  watching.get_future().wait();
  Delete(name);
  watcher.join();
  EXPECT_EQ(end.error_code(), grpc::StatusCode::ABORTED);
  Watch(name, 0, &end);
  EXPECT_EQ(end.error_code(), grpc::StatusCode::NOT_FOUND);
  const std::string still = MustCreate(Request());
  Watch(still, 0, &end);
  EXPECT_EQ(end.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  Watch("nobody", 0, &end);
  EXPECT_THAT(end.error_message(), HasSubstr("name: is \"nobody\""));
  v1::OuterStep step;
  EXPECT_THAT(Take(still, 0, &step).error_message(), HasSubstr("no outer_loop"));
  EXPECT_FALSE(Get(still).has_outer_loop());
}

TEST_F(OuterLoopTest, NewsOfPoliciesBringTheStep) {
  const std::string name = MustCreate(LoopRequest());
  grpc::ClientContext context;
  auto stream = Open(context, name, "w0");
  ASSERT_TRUE(stream->Write(Batch(Explore(1000), 1, 1000)));
  v1::TrainResponse response;
  while (stream->Read(&response) && !response.has_policy()) {
  }
  EXPECT_EQ(response.policy().step().number(), 1);
  EXPECT_EQ(response.policy().parameters_version(), 2);
  EXPECT_EQ(response.policy().step().parameters_version(), 1);
  EXPECT_GT(response.policy().step().estimate().standard_error().ByteSizeLong(), 0u);
  stream->WritesDone();
}

TEST_F(OuterLoopTest, RefusesBadOptionsByName) {
  const auto refused = [&](auto spoil) {
    v1::CreateSessionRequest request = LoopRequest();
    spoil(request, *request.mutable_outer_loop());
    return Refused(request);
  };
  using R = v1::CreateSessionRequest;
  using L = v1::OuterLoop;
  EXPECT_THAT(refused([](R&, L& l) { l.clear_sobirl(); }), HasSubstr("outer_loop.method: is absent"));
  EXPECT_THAT(refused([](R&, L& l) { l.mutable_estimator()->set_redraws(1); }),
              HasSubstr("outer_loop.estimator.redraws: is 1"));
  EXPECT_THAT(refused([](R&, L& l) { l.set_first_step(0); }), HasSubstr("outer_loop.first_step: is 0"));
  EXPECT_THAT(refused([](R&, L& l) { l.mutable_steps()->set_power(2); }), HasSubstr("outer_loop.steps.power: is 2"));
  EXPECT_THAT(refused([](R&, L& l) { l.set_gradient_tolerance(-1); }),
              HasSubstr("outer_loop.gradient_tolerance: is -1"));
  EXPECT_THAT(refused([](R&, L& l) { l.set_confidence(std::nan("")); }), HasSubstr("outer_loop.confidence: is nan"));
  EXPECT_THAT(refused([](R&, L& l) { l.set_max_steps(0); }), HasSubstr("outer_loop.max_steps: is 0"));
  EXPECT_THAT(refused([](R&, L& l) { l.set_lower_level_tolerance(0); }),
              HasSubstr("outer_loop.lower_level_tolerance: is 0"));
  EXPECT_THAT(refused([](R&, L& l) { l.mutable_stoc_sobirl_storm(); }),
              HasSubstr("outer_loop.estimator: must be one from trajectories"));
  EXPECT_THAT(refused([](R&, L& l) { l.mutable_stoc_sobirl_storm()->mutable_averaging()->set_first(2); }),
              HasSubstr("outer_loop.stoc_sobirl_storm.averaging.first: is 2"));
  EXPECT_THAT(refused([](R&, L& l) { l.mutable_stoc_sobirl_storm()->set_weight_cap(0.5); }),
              HasSubstr("outer_loop.stoc_sobirl_storm.weight_cap: is 0.5; must be >= 1"));
  EXPECT_THAT(refused([](R& r, L& l) {
                r.set_follower(v1::FOLLOWER_OBSERVED);
                l.mutable_stoc_sobirl_storm();
                l.mutable_estimator()->set_estimator(v1::ESTIMATOR_RETURN);
              }),
              HasSubstr("outer_loop.stoc_sobirl_storm: is given for an OBSERVED follower"));
  EXPECT_THAT(refused([](R&, L& l) { l.mutable_estimator()->set_estimator(v1::ESTIMATOR_PREFERENCE_FIT); }),
              HasSubstr("outer_loop.estimator: looks at preferences, which no order ties to transitions"));
  const auto prefers = [&](int capacity) {
    return refused([capacity](R& r, L& l) {
      r.set_preference_capacity(capacity);
      l.set_on_request(true);
      l.mutable_estimator()->set_estimator(v1::ESTIMATOR_PREFERENCE_FIT);
    });
  };
  EXPECT_THAT(prefers(0), HasSubstr("outer_loop.estimator.estimator: needs preferences; preference_capacity is 0"));
  EXPECT_THAT(prefers(10),
              HasSubstr("outer_loop.estimator.estimator: estimators from preferences need SENSE_MINIMIZE"));
  EXPECT_THAT(refused([](R&, L& l) { l.mutable_estimator()->set_estimator(v1::ESTIMATOR_RETURN); }),
              HasSubstr("outer_loop.estimator.estimator: needs trajectories; trajectory_capacity is 0"));
  EXPECT_THAT(refused([](R& r, L& l) {
                r.set_trajectory_capacity(1000);
                l.mutable_estimator()->set_estimator(v1::ESTIMATOR_RETURN);
                l.mutable_estimator()->set_critic(v1::CRITIC_LEARNED);
              }),
              HasSubstr("outer_loop.estimator.estimator: CRITIC_LEARNED needs"));
  EXPECT_THAT(refused([](R& r, L&) { r.mutable_count(); }), HasSubstr("outer_loop: is given with count"));
  EXPECT_THAT(refused([](R& r, L&) { r.mutable_problem()->mutable_contexts(0)->clear_objective(); }),
              HasSubstr("problem"));
}

}  // namespace
}  // namespace bilevel::server
