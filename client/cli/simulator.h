// Acts in a tabular environment whose transitions are known: states and actions drawn one after the other, the same for
// the same seed on every machine.

#ifndef BILEVEL_CLIENT_CLI_SIMULATOR_H_
#define BILEVEL_CLIENT_CLI_SIMULATOR_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/problem.pb.h"
#include "client/cli/transition_source.h"
#include "client/problems/random.h"

namespace bilevel::client {

class Simulator {
 public:
  // INVALID_ARGUMENT when shapes disagree or a row of transitions is no probability.
  static absl::StatusOr<Simulator> Create(const v1::Environment& environment);

  std::uint32_t num_states() const { return num_states_; }
  std::uint32_t num_actions() const { return num_actions_; }

  // Over the available actions, [S * A].
  std::vector<double> UniformPolicy() const;

  std::uint32_t DrawStart(Random& random) const;
  // policy: [S * A].
  std::uint32_t DrawAction(const std::vector<double>& policy, std::uint32_t state, Random& random) const;
  // nullopt: the episode ended.
  std::optional<std::uint32_t> DrawNext(std::uint32_t state, std::uint32_t action, Random& random) const;

 private:
  Simulator() = default;
  absl::Status AddRows(const v1::Environment& environment);

  std::uint32_t num_states_ = 0;
  std::uint32_t num_actions_ = 0;
  std::vector<std::uint64_t> offsets_;  // [S * A + 1]
  std::vector<std::uint32_t> columns_;
  std::vector<double> cumulative_;  // within each row
  std::vector<double> ends_;        // [S * A], or empty
  std::vector<double> available_;   // [S * A], or empty
  std::vector<double> starts_;      // [S]
};

struct SimulationOptions {
  std::vector<std::vector<double>> policies;  // [S * A] of each context; empty: uniform
  bool tell_behavior = true;                  // sends log-probabilities of actions
  std::uint64_t steps = 0;
  std::uint64_t max_episode_steps = 1000;  // then it is truncated, >= 1
  std::uint64_t seed = 0;
};

// Episodes one after another, in each context of the problem in turn. INVALID_ARGUMENT with the field's path.
absl::StatusOr<std::unique_ptr<TransitionSource>> Simulate(const v1::Problem& problem,
                                                           const SimulationOptions& options);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_SIMULATOR_H_
