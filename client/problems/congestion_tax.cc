#include "client/problems/congestion_tax.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "client/array.h"
#include "client/problems/sparse_rows.h"

namespace bilevel::client {
namespace {

constexpr int kQuarters = kCongestionTaxQuarters;
constexpr std::array<int, 2> kWorkBegins = {2, 4};  // of each shift
constexpr std::array<double, 2> kShare = {0.6, 0.4};
constexpr int kShifts = kWorkBegins.size();
constexpr int kWork = kShifts * kQuarters;
constexpr int kStates = kWork + 1;
constexpr int kActions = 3;
constexpr std::size_t kPairs = std::size_t{kStates} * kActions;
constexpr int kCentre = 0;
constexpr int kRing = 1;
constexpr int kWait = 2;
constexpr double kCentreTime = 0.5;
constexpr double kRingTime = 1.5;
constexpr double kEarly = 0.5;  // a quarter
constexpr double kLate = 1.0;

int Row(int shift, int quarter, int action) { return (shift * kQuarters + quarter) * kActions + action; }

double ScheduleCost(int shift, int quarter) {
  const int late = quarter - kWorkBegins[shift];
  return late > 0 ? kLate * late : -kEarly * late;
}

v1::Environment MakeEnvironment() {
  SparseRows transitions(kStates * kActions, kStates);
  std::vector<double> termination(kPairs, 0.0);
  std::vector<std::uint8_t> available(kPairs, 1);
  std::vector<double> start(kStates, 0.0);
  for (int shift = 0; shift < kShifts; ++shift) {
    start[static_cast<std::size_t>(shift) * kQuarters] = kShare[shift];
    for (int quarter = 0; quarter < kQuarters; ++quarter) {
      transitions.Add(Row(shift, quarter, kCentre), kWork, 1.0);
      transitions.Add(Row(shift, quarter, kRing), kWork, 1.0);
      if (quarter + 1 < kQuarters) {
        transitions.Add(Row(shift, quarter, kWait), shift * kQuarters + quarter + 1, 1.0);
      } else {
        available[Row(shift, quarter, kWait)] = 0;
      }
    }
  }
  // One action is left at work, so that the last step pays no entropy.
  constexpr std::size_t kAtWork = std::size_t{kWork} * kActions;
  termination[kAtWork] = 1.0;
  available[kAtWork + 1] = available[kAtWork + 2] = 0;

  v1::Environment environment;
  environment.set_num_states(kStates);
  environment.set_num_actions(kActions);
  *environment.mutable_transitions() = transitions.ToMatrix();
  *environment.mutable_termination_probability() = MakeArray(termination, {kStates, kActions});
  *environment.mutable_available_actions() = MakeArray(available, {kStates, kActions});
  *environment.mutable_initial_distribution() = MakeArray(start, {kStates});
  return environment;
}

std::vector<double> TravelRewards() {
  std::vector<double> rewards(kPairs, 0.0);
  for (int shift = 0; shift < kShifts; ++shift) {
    for (int quarter = 0; quarter < kQuarters; ++quarter) {
      rewards[Row(shift, quarter, kCentre)] = -kCentreTime - ScheduleCost(shift, quarter);
      rewards[Row(shift, quarter, kRing)] = -kRingTime - ScheduleCost(shift, quarter);
    }
  }
  return rewards;
}

// `value` where the centre is taken in quarter t, in column t.
v1::Matrix OnTheCentre(double value) {
  SparseRows features(kStates * kActions, kQuarters);
  for (int shift = 0; shift < kShifts; ++shift) {
    for (int quarter = 0; quarter < kQuarters; ++quarter) features.Add(Row(shift, quarter, kCentre), quarter, value);
  }
  return features.ToMatrix();
}

}  // namespace

v1::Problem CongestionTax() {
  v1::Problem problem;
  problem.set_num_parameters(kQuarters);
  problem.set_sense(v1::SENSE_MAXIMIZE);
  v1::FeasibleBlock& tolls = *problem.add_feasible_set();
  tolls.set_size(kQuarters);
  *tolls.mutable_box()->mutable_lower() = MakeArray(std::array<double, 1>{0.0});

  v1::Context& context = *problem.add_contexts();
  context.set_label("commuters");
  context.set_discount(0.99);
  context.set_temperature(0.3);
  *context.mutable_environment() = MakeEnvironment();
  *context.mutable_reward()->mutable_base() = MakeArray(TravelRewards(), {kStates, kActions});
  *context.mutable_reward()->mutable_features() = OnTheCentre(-1.0);

  context.add_objective()->mutable_follower_value();
  *context.add_objective()->mutable_leader_return()->mutable_reward()->mutable_features() = OnTheCentre(1.0);
  v1::ObjectiveTerm& harm = *context.add_objective();
  harm.set_weight(-kCongestionTaxHarm);  // the term's own factor is 1/2
  *harm.mutable_feature_matching()->mutable_features() = OnTheCentre(1.0);
  *harm.mutable_feature_matching()->mutable_target() = MakeArray(std::array<double, kQuarters>{});
  return problem;
}

}  // namespace bilevel::client
