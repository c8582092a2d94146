#include "tests/support/learned_critic.h"

#include "core/streaming/replay.h"
#include "core/streaming/soft_q_learner.h"

namespace bilevel::testing {
namespace {

constexpr StepSchedule kSteps{.power = 0.9, .scale = 30};

struct Step {
  int64_t row;
  int next;  // Simulator::kEnded: none
};

class Pupil {
 public:
  explicit Pupil(const WatchedFollower& follower)
      : follower_(follower),
        actions_(follower.mdp().num_actions()),
        reward_(follower.Reward()),
        cost_(follower.LeaderReward()),
        soft_q_(follower.mdp().num_states(), actions_, follower.problem().contexts[0].discount,
                follower.problem().contexts[0].temperature, reward_,
                follower.problem().contexts[0].reward.GradientFeatures(), {kSteps, kSteps}),
        leader_(follower.mdp().num_states(), actions_, 1, kSteps) {
    for (Eigen::Index row = 0; row < follower.mdp().num_rows(); ++row) {
      available_.push_back(follower.mdp().available(row) ? 1 : 0);
    }
  }

  void Learn(const Step& step) {
    const bool ended = step.next == Simulator::kEnded;
    const Feature state{static_cast<uint32_t>(step.row / actions_), 1};
    const Feature next{static_cast<uint32_t>(ended ? 0 : step.next), 1};
    const auto action = static_cast<int>(step.row % actions_);
    const size_t first = static_cast<size_t>(next.index) * static_cast<size_t>(actions_);
    soft_q_.Learn({{&state, 1}, action, step.row, {&next, 1}, std::span(available_).subspan(first, actions_), ended});
    double target = cost_[step.row];
    for (int b = 0; b < actions_ && !ended; ++b) {
      const double pi = follower_.pi()[Eigen::Index{step.next} * actions_ + b];
      target += follower_.leader_discount() * pi * leader_.Value({&next, 1}, b)[0];
    }
    leader_.Update({&state, 1}, action, Vector::Constant(1, target));
  }

  LearnedCritic Answer() const {
    const TabularMdp& mdp = follower_.mdp();
    const RowMatrix advantage = CenteredScore(mdp, follower_.pi(), leader_.weights());
    return {CenteredScore(mdp, follower_.pi(), soft_q_.gradient().weights()),
            SumOverActions(mdp, follower_.pi().cwiseProduct(leader_.weights().col(0))), advantage.col(0)};
  }

 private:
  const WatchedFollower& follower_;
  int actions_;
  Vector reward_, cost_;
  SoftQLearner soft_q_;
  LinearCritic leader_;
  std::vector<uint8_t> available_;
};

}  // namespace

LearnedCritic LearnCritic(const WatchedFollower& follower, const std::vector<Trajectory>& trajectories, int replays,
                          Rng& rng) {
  Pupil pupil(follower);
  Replay<Step> seen(1'000'000);
  for (const Trajectory& trajectory : trajectories) {
    for (size_t t = 0; t < trajectory.rows.size(); ++t) {
      const bool last = t + 1 == trajectory.rows.size();
      const int next =
          last ? trajectory.final_state : static_cast<int>(trajectory.rows[t + 1] / follower.mdp().num_actions());
      const Step step{trajectory.rows[t], next};
      pupil.Learn(step);
      seen.Add(step);
      for (int i = 0; i < replays; ++i) pupil.Learn(seen.Draw(rng));
    }
  }
  return pupil.Answer();
}

}  // namespace bilevel::testing
