#include "tests/support/drifting_stream.h"

namespace bilevel::testing {

TabularMdpSpec WithSlip(const TabularMdpSpec& mdp, double slip) {
  const int S = mdp.num_states, A = mdp.num_actions;
  Eigen::MatrixXd P = Eigen::MatrixXd::Zero(Eigen::Index{S} * A, S);
  for (Eigen::Index row = 0; row < P.rows(); ++row) {
    for (uint64_t i = mdp.offsets[static_cast<size_t>(row)]; i < mdp.offsets[static_cast<size_t>(row) + 1]; ++i) {
      P(row, mdp.columns[i]) = mdp.probabilities[i];
    }
  }
  TabularMdpSpec slippery = mdp;
  slippery.offsets = {0};
  slippery.columns.clear();
  slippery.probabilities.clear();
  for (Eigen::Index row = 0; row < P.rows(); ++row) {
    const Eigen::Index first = row - row % A;
    for (int next = 0; next < S; ++next) {
      const double p = (1 - slip) * P(row, next) + slip * P.col(next).segment(first, A).mean();
      if (p == 0) continue;
      slippery.columns.push_back(static_cast<uint32_t>(next));
      slippery.probabilities.push_back(p);
    }
    slippery.offsets.push_back(slippery.columns.size());
    if (mdp.termination_probability.size() == 0) continue;
    slippery.termination_probability[row] =
        (1 - slip) * mdp.termination_probability[row] + slip * mdp.termination_probability.segment(first, A).mean();
  }
  return slippery;
}

DriftingStream::DriftingStream(const TabularMdp& mdp, Vector pi, uint64_t seed)
    : num_actions_(mdp.num_actions()), simulator_(mdp), pi_(std::move(pi)), rng_(seed) {}

Transition DriftingStream::Next() {
  const bool begins = state_ == Simulator::kEnded;
  if (begins) {
    state_ = simulator_.DrawStart(rng_);
    ++episode_;
  }
  const int action = simulator_.DrawAction(pi_, state_, rng_);
  const int next = simulator_.DrawNext(int64_t{state_} * num_actions_ + action, rng_);
  const bool ended = next == Simulator::kEnded, cut = !ended && rng_.Below(20) == 0;
  const Transition step{.episode = episode_,
                        .state = state_,
                        .action = action,
                        .next_state = ended ? 0 : next,
                        .kind = ended ? StepKind::kTerminated
                                : cut ? StepKind::kTruncated
                                      : StepKind::kRunning,
                        .begins = begins};
  state_ = cut ? Simulator::kEnded : next;
  return step;
}

}  // namespace bilevel::testing
