#include "core/problem/world.h"

namespace bilevel {
namespace {

std::optional<TabularMdp> CopyIfMoving(const Context& context) {
  return context.dynamics.has_value() ? std::optional(*context.mdp) : std::nullopt;
}

}  // namespace

RegularizedMdp FollowerAt(const BilevelProblem& problem, size_t context, const Vector& x, const Vector& theta,
                          const Vector& slope, std::optional<TabularMdp>& moved) {
  const Context& c = problem.contexts[context];
  const Vector theta_rounding = problem.map.BoundRounding(x, theta);
  if (c.dynamics.has_value()) {
    if (!moved.has_value()) moved = *c.mdp;
    c.dynamics->Move(theta, theta_rounding, *moved);
  }
  RegularizedMdp follower;
  follower.mdp = moved.has_value() ? &*moved : c.mdp.get();
  follower.reward = c.reward.EvaluateAt(x, theta, slope);
  follower.reward_rounding = c.reward.BoundRounding(x, theta, theta_rounding);
  follower.discount = c.discount;
  follower.temperature = c.temperature;
  return follower;
}

World::World(const BilevelProblem& problem, size_t context, PolicySystem::Kind kind, const ParallelFor& parallel_for)
    : problem_(problem),
      context_(context),
      parallel_for_(parallel_for),
      moved_(CopyIfMoving(problem.contexts[context])),
      system_(mdp(), kind, parallel_for) {}

RegularizedMdp World::At(const Vector& x, const Vector& theta) {
  slope_ = problem_.contexts[context_].reward.Slope(x);
  RegularizedMdp follower = FollowerAt(problem_, context_, x, theta, slope_, moved_);
  follower.parallel_for = parallel_for_;
  return follower;
}

}  // namespace bilevel
