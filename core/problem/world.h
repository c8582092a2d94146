// One context's environment and its linear systems, as x moves.

#ifndef BILEVEL_CORE_PROBLEM_WORLD_H_
#define BILEVEL_CORE_PROBLEM_WORLD_H_

#include <optional>

#include "core/mdp/policy_system.h"
#include "core/problem/bilevel_problem.h"

namespace bilevel {

// The follower's problem of one context at x; theta = map.Apply(x), slope = its reward's Slope(x). Where dynamics
// depend on x, `moved` holds the environment that the result points at; else it stays empty and the result points at
// the context's own.
RegularizedMdp FollowerAt(const BilevelProblem& problem, size_t context, const Vector& x, const Vector& theta,
                          const Vector& slope, std::optional<TabularMdp>& moved);

class World {
 public:
  // problem must outlive this.
  World(const BilevelProblem& problem, size_t context, PolicySystem::Kind kind,
        const ParallelFor& parallel_for = RunInOrder);

  // The systems point at the environment.
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // As FollowerAt; the environment lives here and holds until the next At.
  RegularizedMdp At(const Vector& x, const Vector& theta);

  // Of the reward, at the last At.
  const Vector& slope() const { return slope_; }

  // The environment of the last At.
  const TabularMdp& mdp() const { return moved_.has_value() ? *moved_ : *problem_.contexts[context_].mdp; }

  // Of mdp(); a policy set before the last At belongs to the environment before it.
  PolicySystem& system() { return system_; }

 private:
  const BilevelProblem& problem_;
  size_t context_;
  ParallelFor parallel_for_;
  std::optional<TabularMdp> moved_;
  Vector slope_;
  PolicySystem system_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_WORLD_H_
