#include "core/problem/advice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"
#include "core/base/text.h"
#include "core/problem/world.h"

namespace bilevel {
namespace {

// Reward differences of so many temperatures make probabilities of 0 and 1 in double precision within a few steps.
constexpr double kDwarfed = 1e4;
constexpr double kDwarfing = 1e-3;
constexpr double kLongHorizon = 1e4;
// Probabilities so near to 0 or 1 are meant to be that.
constexpr double kCertain = 1e-9;
constexpr size_t kNamed = 5;

// "3 states: 1, 4, 9"; the first few of many.
std::string Name(const char* noun, const std::vector<int>& found) {
  std::string text = absl::StrCat(found.size(), " ", noun, found.size() == 1 ? ": " : "s: ");
  for (size_t i = 0; i < std::min(found.size(), kNamed); ++i) absl::StrAppend(&text, i == 0 ? "" : ", ", found[i]);
  if (found.size() > kNamed) absl::StrAppend(&text, ", ...");
  return text;
}

std::vector<int> Unreached(const TabularMdp& mdp) {
  const int S = mdp.num_states();
  // Where each state leads, as compressed rows.
  std::vector<uint64_t> begin(static_cast<size_t>(S) + 1, 0);
  std::vector<uint32_t> next;
  next.reserve(mdp.num_entries());
  mdp.ForEachEntry([&](Eigen::Index row, uint64_t, uint32_t column, double p) {
    if (!(p > 0)) return;
    next.push_back(column);
    begin[static_cast<size_t>(row / mdp.num_actions()) + 1] = next.size();
  });
  for (size_t s = 1; s < begin.size(); ++s) begin[s] = std::max(begin[s], begin[s - 1]);
  std::vector<bool> reached(static_cast<size_t>(S), false);
  std::vector<uint32_t> open;
  auto reach = [&](uint32_t s) {
    if (reached[s]) return;
    reached[s] = true;
    open.push_back(s);
  };
  for (int s = 0; s < S; ++s) {
    if (mdp.initial_distribution()[s] > 0) reach(static_cast<uint32_t>(s));
  }
  while (!open.empty()) {
    const uint32_t s = open.back();
    open.pop_back();
    for (uint64_t k = begin[s]; k < begin[s + 1]; ++k) reach(next[k]);
  }
  std::vector<int> result;
  for (int s = 0; s < S; ++s) {
    if (!reached[static_cast<size_t>(s)]) result.push_back(s);
  }
  return result;
}

// States with at least two available actions, all of whose rows (s, a) are accepted.
template <typename Accept>
std::vector<int> StatesWhere(const TabularMdp& mdp, Accept accept) {
  const int A = mdp.num_actions();
  std::vector<int> result;
  for (int s = 0; s < mdp.num_states(); ++s) {
    int actions = 0;
    bool all = true;
    for (Eigen::Index row = Eigen::Index{s} * A; row < (s + Eigen::Index{1}) * A; ++row) {
      if (!mdp.available(row)) continue;
      ++actions;
      all = all && accept(row);
    }
    if (all && actions > 1) result.push_back(s);
  }
  return result;
}

// States that no action leaves, by moving or by ending.
std::vector<int> Traps(const TabularMdp& mdp) {
  Vector staying = Vector::Zero(mdp.num_rows());
  mdp.ForEachEntry([&](Eigen::Index row, uint64_t, uint32_t column, double p) {
    if (column == row / mdp.num_actions()) staying[row] += p;
  });
  return StatesWhere(mdp, [&](Eigen::Index row) { return staying[row] > 1 - kCertain; });
}

// States in which every action ends the episode.
std::vector<int> Ends(const TabularMdp& mdp) {
  const Vector going = mdp.ExpectNext(Vector::Ones(mdp.num_states()));
  return StatesWhere(mdp, [&](Eigen::Index row) { return going[row] < kCertain; });
}

// Largest difference between rewards of available pairs.
double SpreadOfRewards(const RegularizedMdp& follower) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (Eigen::Index row = 0; row < follower.reward.size(); ++row) {
    if (!follower.mdp->available(row)) continue;
    low = std::min(low, follower.reward[row]);
    high = std::max(high, follower.reward[row]);
  }
  return high - low;
}

void AdviseContext(const BilevelProblem& problem, size_t c, const Vector& x, const Vector& theta,
                   std::vector<Advice>& advice) {
  const Context& context = problem.contexts[c];
  std::optional<TabularMdp> moved;
  const RegularizedMdp follower = FollowerAt(problem, c, x, theta, problem.contexts[c].reward.Slope(x), moved);
  auto add = [&](const char* field, std::string description) {
    advice.push_back({absl::StrCat("contexts[", c, "].", field), std::move(description)});
  };
  if (const std::vector<int> states = Unreached(*follower.mdp); !states.empty()) {
    add("environment.initial_distribution",
        absl::StrCat("never reaches ", Name("state", states),
                     "; a return from those starts does not depend on what happens there"));
  }
  if (const std::vector<int> states = Traps(*follower.mdp); !states.empty()) {
    add("environment.transitions",
        absl::StrCat("no action leaves ", Name("state", states),
                     "; the follower is paid entropy there for ever. If the episode is over, say so by "
                     "termination_probability"));
  }
  if (const std::vector<int> states = Ends(*follower.mdp); !states.empty()) {
    add("environment.termination_probability",
        absl::StrCat("is 1 for all actions of ", Name("state", states),
                     "; that last step still pays its reward and, with several actions, entropy. Leave one action "
                     "available to avoid it"));
  }
  const double spread = SpreadOfRewards(follower), tau = context.temperature;
  const double horizon = 1 / (1 - context.discount);
  if (spread > kDwarfed * tau) {
    add("temperature", absl::StrCat("is ", ToText(tau), " and rewards differ by up to ", ToText(spread),
                                    "; the policy is close to deterministic, and gradients through it close to 0"));
  } else if (spread > 0 && spread * horizon < kDwarfing * tau) {
    add("temperature", absl::StrCat("is ", ToText(tau), " and rewards differ by ", ToText(spread),
                                    " at most; the policy is close to uniform, whatever the rewards"));
  }
  if (context.discount == 0) {
    add("discount", "is 0; the follower looks at the next reward alone");
  } else if (horizon >= kLongHorizon) {
    add("discount", absl::StrCat("is ", ToText(context.discount), ", a horizon of ", ToText(std::round(horizon)),
                                 " steps; solves may be slow, and values are that many rewards large"));
  }
  if (context.weight == 0) add("weight", "is 0; this follower has no say");
}

// Parameters that move neither a reward, the follower's or the leader's, nor dynamics.
std::vector<int> Idle(const BilevelProblem& problem) {
  ParameterGradient moved(problem.num_parameters);
  for (const Context& context : problem.contexts) {
    context.reward.AddInfluence(moved);
    if (context.dynamics.has_value()) context.dynamics->AddInfluence(moved.theta);
    for (const ObjectiveTerm& term : context.objective) {
      if (const auto* leader = std::get_if<LeaderReturn>(&term.measure)) leader->reward.AddInfluence(moved);
    }
  }
  // A softmax spreads what moves one entry of its group over all.
  const Vector influence = problem.map.SpreadInfluence(moved.theta) + moved.x;
  std::vector<int> result;
  for (int j = 0; j < problem.num_parameters; ++j) {
    if (influence[j] == 0) result.push_back(j);
  }
  return result;
}

}  // namespace

std::vector<Advice> Advise(const BilevelProblem& problem, const Vector& x) {
  std::vector<Advice> advice;
  const Vector theta = problem.map.Apply(x);
  for (size_t c = 0; c < problem.contexts.size(); ++c) AdviseContext(problem, c, x, theta, advice);
  if (const std::vector<int> parameters = Idle(problem); !parameters.empty()) {
    advice.push_back({"num_parameters", absl::StrCat("nothing depends on ", Name("parameter", parameters))});
  }
  return advice;
}

}  // namespace bilevel
