#include "client/cli/simulator.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/array.h"

namespace bilevel::client {
namespace {

constexpr double kSumTolerance = 1e-6;

absl::StatusOr<std::vector<double>> Sized(const char* field, const v1::Array& array, std::size_t size) {
  absl::StatusOr<std::vector<double>> elements = ToVector(array);
  if (!elements.ok())
    return absl::InvalidArgumentError(absl::StrCat(field, ": ", std::string(elements.status().message())));
  if (elements->size() == size) return elements;
  return absl::InvalidArgumentError(absl::StrCat(field, " has ", elements->size(), " entries; must have ", size));
}

// The first entry whose running sum is above `draw`; the last of positive weight where rounding leaves none.
std::uint32_t Draw(const double* weights, std::uint32_t count, double draw) {
  std::uint32_t last = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (weights[i] <= 0) continue;
    if (draw < weights[i]) return i;
    draw -= weights[i];
    last = i;
  }
  return last;
}

class Simulation final : public TransitionSource {
 public:
  Simulation(std::vector<Simulator> contexts, SimulationOptions options)
      : contexts_(std::move(contexts)), options_(std::move(options)), random_(options_.seed) {}

  absl::StatusOr<std::optional<Transition>> Next() override {
    if (drawn_ == options_.steps) return std::nullopt;
    ++drawn_;
    if (!state_) Begin();
    const Simulator& world = contexts_[context_];
    const std::vector<double>& policy = options_.policies[context_];
    Transition transition{.episode = episode_, .state = *state_, .context = static_cast<std::uint32_t>(context_)};
    transition.action = world.DrawAction(policy, *state_, random_);
    if (options_.tell_behavior) {
      const std::size_t row = std::size_t{*state_} * world.num_actions() + transition.action;
      transition.behavior_log_probability = std::log(policy[row]);
    }
    const std::optional<std::uint32_t> next = world.DrawNext(*state_, transition.action, random_);
    ++length_;
    transition.next_state = next.value_or(0);
    if (!next) {
      transition.kind = StepKind::kTerminated;
    } else if (length_ == options_.max_episode_steps) {
      transition.kind = StepKind::kTruncated;
    }
    state_ = transition.kind == StepKind::kRunning ? next : std::nullopt;
    return transition;
  }

  std::string PlaceOf(std::uint64_t number) const override {
    return absl::StrCat("step ", number, " of the simulation");
  }

 private:
  void Begin() {
    context_ = episode_ % contexts_.size();
    ++episode_;
    length_ = 0;
    state_ = contexts_[context_].DrawStart(random_);
  }

  const std::vector<Simulator> contexts_;
  const SimulationOptions options_;
  Random random_;
  std::uint64_t drawn_ = 0;
  std::uint64_t episode_ = 0;
  std::uint64_t length_ = 0;  // of the episode
  std::size_t context_ = 0;
  std::optional<std::uint32_t> state_;  // nullopt: an episode begins
};

}  // namespace

absl::Status Simulator::AddRows(const v1::Environment& environment) {
  const std::size_t rows = std::size_t{num_states_} * num_actions_;
  std::vector<double> weights;
  if (environment.transitions().has_dense()) {
    absl::StatusOr<std::vector<double>> dense =
        Sized("transitions", environment.transitions().dense(), rows * num_states_);
    if (!dense.ok()) return dense.status();
    for (std::size_t i = 0; i < dense->size(); ++i) {
      if (i % num_states_ == 0) offsets_.push_back(columns_.size());
      if ((*dense)[i] == 0) continue;
      columns_.push_back(static_cast<std::uint32_t>(i % num_states_));
      weights.push_back((*dense)[i]);
    }
    offsets_.push_back(columns_.size());
  } else {
    const v1::SparseMatrix& sparse = environment.transitions().sparse();
    const absl::StatusOr<std::vector<double>> offsets = Sized("transitions.offsets", sparse.offsets(), rows + 1);
    if (!offsets.ok()) return offsets.status();
    absl::StatusOr<std::vector<double>> values = ToVector(sparse.values());
    if (!values.ok()) return values.status();
    const absl::StatusOr<std::vector<double>> columns = Sized("transitions.columns", sparse.columns(), values->size());
    if (!columns.ok()) return columns.status();
    weights = *std::move(values);
    for (const double column : *columns) {
      if (!(column >= 0 && column < num_states_)) {
        return absl::InvalidArgumentError(absl::StrCat("transitions.columns has ", column, "; must be a state"));
      }
      columns_.push_back(static_cast<std::uint32_t>(column));
    }
    double last = 0;
    for (const double offset : *offsets) {
      if (!(offset >= last && offset <= static_cast<double>(weights.size()))) {
        return absl::InvalidArgumentError("transitions.offsets must not decrease, nor pass the number of entries");
      }
      last = offset;
      offsets_.push_back(static_cast<std::uint64_t>(offset));
    }
  }
  for (std::size_t row = 0; row < rows; ++row) {
    double sum = 0.0;
    for (std::uint64_t k = offsets_[row]; k < offsets_[row + 1]; ++k) cumulative_.push_back(sum += weights[k]);
    const double total = sum + (ends_.empty() ? 0.0 : ends_[row]);
    if (std::abs(total - 1) <= kSumTolerance || (!available_.empty() && available_[row] == 0)) continue;
    return absl::InvalidArgumentError(absl::StrCat("transitions: row ", row, " (s=", row / num_actions_,
                                                   ", a=", row % num_actions_, ") sums to ", total, "; must be 1"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Simulator> Simulator::Create(const v1::Environment& environment) {
  if (environment.num_states() < 1 || environment.num_actions() < 1) {
    return absl::InvalidArgumentError("num_states and num_actions must be >= 1");
  }
  if (!environment.has_transitions()) {
    return absl::InvalidArgumentError("transitions are absent; a simulation needs them");
  }
  Simulator simulator;
  simulator.num_states_ = static_cast<std::uint32_t>(environment.num_states());
  simulator.num_actions_ = static_cast<std::uint32_t>(environment.num_actions());
  const std::size_t rows = std::size_t{simulator.num_states_} * simulator.num_actions_;
  const struct {
    const char* field;
    bool given;
    const v1::Array& array;
    std::size_t size;
    std::vector<double>& to;
  } arrays[] = {{"termination_probability", environment.has_termination_probability(),
                 environment.termination_probability(), rows, simulator.ends_},
                {"available_actions", environment.has_available_actions(), environment.available_actions(), rows,
                 simulator.available_},
                {"initial_distribution", environment.has_initial_distribution(), environment.initial_distribution(),
                 simulator.num_states_, simulator.starts_}};
  for (const auto& array : arrays) {
    if (!array.given) continue;
    absl::StatusOr<std::vector<double>> elements = Sized(array.field, array.array, array.size);
    if (!elements.ok()) return elements.status();
    array.to = *std::move(elements);
  }
  if (simulator.starts_.empty()) simulator.starts_.assign(simulator.num_states_, 1.0 / simulator.num_states_);
  if (absl::Status status = simulator.AddRows(environment); !status.ok()) return status;
  return simulator;
}

std::vector<double> Simulator::UniformPolicy() const {
  std::vector<double> policy(std::size_t{num_states_} * num_actions_, 0.0);
  for (std::size_t s = 0; s < num_states_; ++s) {
    double count = 0.0;
    for (std::size_t row = s * num_actions_; row < (s + 1) * num_actions_; ++row) {
      policy[row] = available_.empty() || available_[row] != 0 ? 1.0 : 0.0;
      count += policy[row];
    }
    for (std::size_t row = s * num_actions_; row < (s + 1) * num_actions_; ++row) policy[row] /= std::max(count, 1.0);
  }
  return policy;
}

std::uint32_t Simulator::DrawStart(Random& random) const { return Draw(starts_.data(), num_states_, random.Uniform()); }

std::uint32_t Simulator::DrawAction(const std::vector<double>& policy, std::uint32_t state, Random& random) const {
  return Draw(policy.data() + std::size_t{state} * num_actions_, num_actions_, random.Uniform());
}

std::optional<std::uint32_t> Simulator::DrawNext(std::uint32_t state, std::uint32_t action, Random& random) const {
  const std::size_t row = std::size_t{state} * num_actions_ + action;
  const double draw = random.Uniform();
  for (std::uint64_t k = offsets_[row]; k < offsets_[row + 1]; ++k) {
    if (draw < cumulative_[k]) return columns_[k];
  }
  if (!ends_.empty() && ends_[row] > 0) return std::nullopt;
  // Rounding.
  return offsets_[row] < offsets_[row + 1] ? std::optional(columns_[offsets_[row + 1] - 1]) : std::nullopt;
}

absl::StatusOr<std::unique_ptr<TransitionSource>> Simulate(const v1::Problem& problem,
                                                           const SimulationOptions& options) {
  SimulationOptions filled = options;
  const bool uniform = options.policies.empty();
  std::vector<Simulator> contexts;
  for (int c = 0; c < problem.contexts_size(); ++c) {
    const auto wrong = [c](const std::string& what) {
      return absl::InvalidArgumentError(absl::StrCat("problem.contexts[", c, "].environment.", what));
    };
    if (problem.contexts(c).has_dynamics()) return wrong("dynamics depend on x; the simulator knows fixed worlds");
    absl::StatusOr<Simulator> simulator = Simulator::Create(problem.contexts(c).environment());
    if (!simulator.ok()) return wrong(std::string(simulator.status().message()));
    if (uniform) filled.policies.push_back(simulator->UniformPolicy());
    contexts.push_back(*std::move(simulator));
    const std::size_t rows = std::size_t{contexts.back().num_states()} * contexts.back().num_actions();
    if (filled.policies.size() <= static_cast<std::size_t>(c) || filled.policies[c].size() != rows) {
      return wrong(absl::StrCat("policy has not ", rows, " entries, one for each state and action"));
    }
  }
  if (contexts.empty()) return absl::InvalidArgumentError("problem.contexts is empty");
  return std::make_unique<Simulation>(std::move(contexts), std::move(filled));
}

}  // namespace bilevel::client
