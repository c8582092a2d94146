#include "core/streaming/writer_queue.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/base/rng.h"
#include "core/streaming/merge_order.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bilevel::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::shared_ptr<const TransitionRules> Rules() {
  return std::make_shared<const TransitionRules>(TransitionRules{{{5, 3, {}}, {5, 3, {}}}, 8});
}

// One long episode; leader_reward is its number, so that order can be seen.
std::vector<Transition> Walk(int count, uint64_t episode, Rng& rng) {
  std::vector<Transition> steps;
  int state = 0;
  for (int i = 0; i < count; ++i) {
    Transition step{.episode = episode,
                    .state = state,
                    .action = static_cast<int>(rng.Below(3)),
                    .next_state = static_cast<int>(rng.Below(5)),
                    .leader_reward = static_cast<double>(i)};
    state = step.next_state;
    steps.push_back(step);
  }
  return steps;
}

TransitionBlock Block(std::span<const Transition> steps, std::span<const double> features = {}) {
  return {{steps.begin(), steps.end()}, {features.begin(), features.end()}};
}

// What the queue holds next, at most `most`, behind what was popped before.
size_t PopInto(WriterQueue& queue, size_t most, TransitionBlock& popped) {
  const BlockSlice slice = queue.Pop(most);
  if (slice.count == 0) return 0;
  const TransitionBlock& block = *slice.block;
  const size_t width = block.features.size() / block.steps.size();
  const auto at = [](const auto& list, size_t i) { return list.begin() + static_cast<int64_t>(i); };
  const size_t end = slice.begin + slice.count;
  popped.steps.insert(popped.steps.end(), at(block.steps, slice.begin), at(block.steps, end));
  popped.features.insert(popped.features.end(), at(block.features, slice.begin * width),
                         at(block.features, end * width));
  return slice.count;
}

TEST(WriterQueue, TakesABatchOnceHoweverOftenItComes) {
  Rng rng(1);
  const std::vector<Transition> walk = Walk(1000, 7, rng);
  WriterQueue queue(Rules(), 10'000);
  while (queue.accepted() < walk.size()) {
    // From anywhere at or before the next number, any length.
    const uint64_t first = 1 + rng.Below(queue.accepted() + 1);
    const uint64_t length = std::min<uint64_t>(rng.Below(60), walk.size() + 1 - first);
    ASSERT_TRUE(queue.Offer(first, Block(std::span(walk).subspan(first - 1, length)), 1).ok());
  }
  TransitionBlock popped;
  while (const size_t count = PopInto(queue, 1 + rng.Below(30), popped)) EXPECT_LE(count, 30);
  ASSERT_EQ(popped.steps.size(), walk.size());
  for (size_t i = 0; i < walk.size(); ++i) {
    EXPECT_EQ(popped.steps[i].leader_reward, walk[i].leader_reward);
    EXPECT_EQ(popped.steps[i].begins, i == 0);
  }
  EXPECT_EQ(queue.merged(), 1000);
}

TEST(WriterQueue, RefusesWholeBatchesAndGoesOnAsIfTheyHadNotCome) {
  Rng rng(2);
  const std::vector<Transition> walk = Walk(20, 1, rng);
  const auto broken = [&](auto change) {
    WriterQueue queue(Rules(), 100);
    EXPECT_TRUE(queue.Offer(1, Block(std::span(walk).first(5)), 1).ok());
    std::vector<Transition> batch(walk.begin() + 3, walk.begin() + 10);  // two are known
    change(batch[4]);
    const absl::Status status = queue.Offer(4, Block(batch), 1);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(queue.accepted(), 5);
    EXPECT_TRUE(queue.Offer(6, Block(std::span(walk).subspan(5)), 1).ok());
    EXPECT_EQ(queue.accepted(), 20);
    return std::string(status.message());
  };
  EXPECT_THAT(broken([](Transition& t) { t.state = 5; }), HasSubstr("[4].state: is 5; must be in [0, 4]"));
  EXPECT_THAT(broken([](Transition& t) { t.action = -1; }), HasSubstr("[4].action: is -1"));
  EXPECT_THAT(broken([](Transition& t) { t.next_state = 99; }), HasSubstr("[4].next_state: is 99"));
  EXPECT_THAT(broken([](Transition& t) { t.context = 2; }), HasSubstr("[4].context: is 2"));
  EXPECT_THAT(broken([](Transition& t) { t.context = 1; }), HasSubstr("began in context 0"));
  EXPECT_THAT(broken([](Transition& t) { t.state = (t.state + 1) % 5; }), HasSubstr("episode 1 stands in state"));
  EXPECT_THAT(broken([](Transition& t) { t.leader_reward = HUGE_VAL; }), HasSubstr("leader_reward: is inf"));
  EXPECT_THAT(broken([](Transition& t) { t.parameters_version = 2; }), HasSubstr("the newest version of x is 1"));
  EXPECT_THAT(broken([](Transition& t) { t.behavior_log_probability = 0.5; }), HasSubstr("must be finite and <= 0"));
}

TEST(WriterQueue, RefusesGapsAndWhatIsBeyondItsCredit) {
  Rng rng(3);
  const std::vector<Transition> walk = Walk(50, 1, rng);
  WriterQueue queue(Rules(), 10);
  EXPECT_EQ(queue.credit(), 10);
  EXPECT_EQ(queue.Offer(0, Block(walk), 1).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status gap = queue.Offer(3, Block(std::span(walk).subspan(2, 3)), 1);
  EXPECT_EQ(gap.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(gap.message()), AllOf(HasSubstr("a gap"), HasSubstr("send 1 first")));
  const absl::Status much = queue.Offer(1, Block(std::span(walk).first(11)), 1);
  EXPECT_EQ(much.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(much.message()), HasSubstr("credit_until = 10"));
  EXPECT_TRUE(queue.Offer(1, Block(std::span(walk).first(10)), 1).ok());
  EXPECT_FALSE(queue.Offer(11, Block(std::span(walk).subspan(10, 1)), 1).ok());
  EXPECT_EQ(queue.Pop(1).count, 1);
  EXPECT_EQ(queue.credit(), 11);
  EXPECT_TRUE(queue.Offer(11, Block(std::span(walk).subspan(10, 1)), 1).ok());
}

TEST(WriterQueue, FollowsInterleavedEpisodesAndBoundsHowManyAreOpen) {
  WriterQueue queue(Rules(), 1000);
  std::vector<Transition> starts;
  for (uint64_t e = 0; e < 8; ++e) starts.push_back({.episode = e, .state = 0, .next_state = static_cast<int>(e % 5)});
  EXPECT_TRUE(queue.Offer(1, Block(starts), 1).ok());
  EXPECT_EQ(queue.open_episodes(), 8);
  const Transition one_more[] = {{.episode = 8}};
  EXPECT_EQ(queue.Offer(9, Block(one_more), 1).code(), absl::StatusCode::kResourceExhausted);
  // In one batch: episode 3 ends, 8 begins, 3 begins anew elsewhere.
  const Transition turn[] = {{.episode = 3, .state = 3, .next_state = 99, .kind = StepKind::kTerminated},
                             {.episode = 8, .state = 4, .next_state = 1, .kind = StepKind::kTruncated},
                             {.episode = 3, .state = 2, .next_state = 2}};
  const absl::Status taken = queue.Offer(9, Block(turn), 1);
  EXPECT_TRUE(taken.ok()) << taken;
  EXPECT_EQ(queue.open_episodes(), 8);
}

TEST(WriterQueue, KeepsFeaturesWithTheirTransitions) {
  const auto rules = std::make_shared<const TransitionRules>(TransitionRules{{{5, 3, {}}}, 8, 2});
  WriterQueue queue(rules, 1000);
  Rng rng(5);
  const std::vector<Transition> walk = Walk(5000, 1, rng);
  std::vector<double> numbers;
  for (int i = 0; i < 4 * 5000; ++i) numbers.push_back(i);
  TransitionBlock popped;
  while (popped.steps.size() < walk.size()) {
    const size_t from = queue.accepted(), again = std::min<size_t>(from, rng.Below(5));
    const size_t count =
        std::min<size_t>({rng.Below(rng.Below(2) == 0 ? 20 : 700), walk.size() - from, queue.credit() - from}) + again;
    const auto steps = std::span(walk).subspan(from - again, count);
    ASSERT_TRUE(
        queue.Offer(from - again + 1, Block(steps, std::span(numbers).subspan(4 * (from - again), 4 * count)), 1).ok());
    PopInto(queue, rng.Below(700), popped);
  }
  EXPECT_EQ(popped.features, numbers);
}

// An episode's state is as it was before a batch that was refused, however often the batch came back to it.
TEST(WriterQueue, TakesBackWhatARefusedBatchDidToEpisodes) {
  WriterQueue queue(Rules(), 100);
  const Transition start[] = {{.episode = 1, .state = 0, .next_state = 1}, {.episode = 2, .state = 0, .next_state = 2}};
  ASSERT_TRUE(queue.Offer(1, Block(start), 1).ok());
  const Transition bad[] = {{.episode = 1, .state = 1, .next_state = 3},
                            {.episode = 2, .state = 2, .next_state = 4, .kind = StepKind::kTruncated},
                            {.episode = 1, .state = 3, .next_state = 0, .kind = StepKind::kTerminated},
                            {.episode = 3, .state = 0, .next_state = 1},
                            {.episode = 1, .state = 4, .next_state = 4},
                            {.episode = 9, .state = 7}};
  EXPECT_FALSE(queue.Offer(3, Block(bad), 1).ok());
  EXPECT_EQ(queue.open_episodes(), 2);
  const Transition good[] = {{.episode = 2, .state = 2, .next_state = 0}, {.episode = 1, .state = 1, .next_state = 0}};
  EXPECT_TRUE(queue.Offer(3, Block(good), 1).ok());
}

TEST(WriterQueue, HoldsNothingOfWhatWasKnown) {
  WriterQueue queue(Rules(), 10'000);
  Rng rng(6);
  const std::vector<Transition> walk = Walk(3000, 1, rng);
  ASSERT_TRUE(queue.Offer(1, Block(std::span(walk).first(2000)), 1).ok());
  for (size_t end = 2001; end <= 3000; ++end) ASSERT_TRUE(queue.Offer(1, Block(std::span(walk).first(end)), 1).ok());
  EXPECT_EQ(queue.Pop(5000).block->steps.size(), 2000);
  size_t held = 0;
  while (true) {
    const BlockSlice slice = queue.Pop(5000);
    if (slice.count == 0) break;
    held += slice.block->steps.capacity();
  }
  EXPECT_LT(held, 4000);
}

TEST(WriterQueue, FinishesWhereItSays) {
  Rng rng(4);
  const std::vector<Transition> walk = Walk(10, 1, rng);
  WriterQueue queue(Rules(), 100);
  EXPECT_TRUE(queue.Offer(1, Block(std::span(walk).first(5)), 1).ok());
  EXPECT_FALSE(queue.Finish(6).ok());
  EXPECT_FALSE(queue.finished());
  EXPECT_TRUE(queue.Finish(5).ok());
  EXPECT_TRUE(queue.Offer(1, Block(std::span(walk).first(5)), 1).ok());  // duplicates
  EXPECT_EQ(queue.Offer(6, Block(std::span(walk).subspan(5)), 1).code(), absl::StatusCode::kFailedPrecondition);
}

// One walk dealt out in rounds to one, two, three or four writers, each sending at random moments in random batches,
// comes out as it was.
TEST(MergeOrder, DependsOnNeitherBatchesNorTiming) {
  constexpr int kRound = 16;
  for (size_t writers = 1; writers <= 4; ++writers) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      Rng rng(seed);
      std::vector<Transition> stream;
      for (int i = 0; i < 1003; ++i) {
        stream.push_back({.episode = static_cast<uint64_t>(i),
                          .state = 1,
                          .leader_reward = static_cast<double>(i),
                          .kind = StepKind::kTruncated});
      }
      std::vector<std::vector<Transition>> dealt(writers);
      for (size_t i = 0; i < stream.size(); ++i) dealt[i / kRound % writers].push_back(stream[i]);
      std::vector<WriterQueue> queues(writers, WriterQueue(Rules(), 40));
      MergeOrder order(kRound);
      std::vector<Transition> merged;
      const auto drain = [&] {
        while (true) {
          const BlockSlice slice = order.Next(queues, 1 + rng.Below(50)).slice;
          if (slice.count == 0) return;
          const auto begin = slice.block->steps.begin() + static_cast<int64_t>(slice.begin);
          merged.insert(merged.end(), begin, begin + static_cast<int64_t>(slice.count));
        }
      };
      while (merged.size() < stream.size()) {
        const size_t w = rng.Below(writers);
        WriterQueue& queue = queues[w];
        const uint64_t room = std::min<uint64_t>(queue.credit(), dealt[w].size()) - queue.accepted();
        const uint64_t length = rng.Below(room + 1);
        ASSERT_TRUE(
            queue.Offer(queue.accepted() + 1, Block(std::span(dealt[w]).subspan(queue.accepted(), length)), 1).ok());
        if (queue.accepted() == dealt[w].size() && !queue.finished()) {
          ASSERT_TRUE(queue.Finish(queue.accepted()).ok());
        }
        if (rng.Below(2) == 0) drain();
      }
      for (size_t i = 0; i < stream.size(); ++i) ASSERT_EQ(merged[i].leader_reward, static_cast<double>(i));
      EXPECT_EQ(order.rounds(), stream.size() / (kRound * writers));
    }
  }
}

}  // namespace
}  // namespace bilevel::testing
