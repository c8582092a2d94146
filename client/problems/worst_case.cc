#include "client/problems/worst_case.h"

#include <array>
#include <cstdint>

#include "client/array.h"
#include "client/problems/sparse_rows.h"

namespace bilevel::client {
namespace {

constexpr double kHalfBudget = 0.5;

struct Place {
  const char* name;
  double fare;
  double paid_at_zero;  // the leader's part of the fare is paid_at_zero + slope * x
  double slope;
};
constexpr std::array<Place, 3> kPlaces = {
    {{"near village", 1.5, kHalfBudget, 1.0}, {"far village", 2.0, kHalfBudget, -1.0}, {"town", 1.0, 0.0, 0.0}}};

// [state, action]: states home and clinic, actions go and put off.
using Table = std::array<double, 4>;

v1::Environment MakeEnvironment() {
  v1::Environment environment;
  environment.set_num_states(2);
  environment.set_num_actions(2);
  SparseRows transitions(4, 2);
  transitions.Add(0, 1, 1.0);  // go
  transitions.Add(1, 0, 1.0);  // put off
  *environment.mutable_transitions() = transitions.ToMatrix();
  *environment.mutable_termination_probability() = MakeArray(Table{0, 0, 1, 0}, {2, 2});
  *environment.mutable_available_actions() = MakeArray(std::array<std::uint8_t, 4>{1, 1, 1, 0}, {2, 2});
  *environment.mutable_initial_distribution() = MakeArray(std::array<double, 2>{1, 0}, {2});
  return environment;
}

}  // namespace

v1::Problem WorstCase(const WorstCaseOptions& options) {
  v1::Problem problem;
  problem.set_num_parameters(1);
  problem.set_sense(v1::SENSE_MAXIMIZE);
  problem.set_aggregation(options.aggregation);
  v1::FeasibleBlock& budget = *problem.add_feasible_set();
  budget.set_size(1);
  *budget.mutable_box()->mutable_lower() = MakeArray(std::array<double, 1>{-kHalfBudget});
  *budget.mutable_box()->mutable_upper() = MakeArray(std::array<double, 1>{kHalfBudget});
  for (const Place& place : kPlaces) {
    v1::Context& context = *problem.add_contexts();
    context.set_label(place.name);
    context.set_discount(0.8);
    context.set_temperature(0.25);
    *context.mutable_environment() = MakeEnvironment();
    v1::Reward& patient = *context.mutable_reward();
    *patient.mutable_base() = MakeArray(Table{place.paid_at_zero - place.fare, 0, 1, 0}, {2, 2});
    *patient.mutable_features()->mutable_dense() = MakeArray(Table{place.slope, 0, 0, 0}, {2, 2, 1});
    *context.add_objective()->mutable_leader_return()->mutable_reward()->mutable_base() =
        MakeArray(Table{0, 0, 1, 0}, {2, 2});
  }
  return problem;
}

}  // namespace bilevel::client
