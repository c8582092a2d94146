#include "core/streaming/recorded_walks.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/streaming/continuations.h"

namespace bilevel {
namespace {

// Beyond rounding, of log-probabilities.
constexpr double kSamePolicy = 1e-9;

const RecordedWalk* FindComplete(const RecordedTrajectory& trajectory, WalkKind kind) {
  for (const RecordedWalk& walk : trajectory.walks) {
    if (walk.kind == kind && walk.complete()) return &walk;
  }
  return nullptr;
}

// Adds sign times what the walk counts.
void AddWalk(const RecordedWalk& walk, const SparseRows& features, const Vector& log_pi, double sign,
             WalkedScore& walked) {
  double log_weight = 0;
  for (size_t k = 0; k < walk.steps.size(); ++k) {
    const RecordedStep& step = walk.steps[k];
    if (k > 0 || walk.kind == WalkKind::kFromState) {
      const double ratio = log_pi[step.row] - step.behavior_log_probability;
      walked.other_policy = walked.other_policy || std::abs(ratio) > kSamePolicy;
      log_weight += ratio;
    }
    const double weight = sign * std::exp(log_weight);
    for (SparseRows::InnerIterator entry(features, step.row); entry; ++entry) {
      walked.score.score[entry.col()] += weight * entry.value();
    }
  }
  walked.transitions += static_cast<int64_t>(walk.steps.size());
}

}  // namespace

std::optional<WalkedScore> ScoreOfWalks(const RecordedTrajectory& trajectory, const SparseRows& features,
                                        const Vector& log_pi) {
  const RecordedWalk* choice = FindComplete(trajectory, WalkKind::kFromChoice);
  const RecordedWalk* state = FindComplete(trajectory, WalkKind::kFromState);
  if (choice == nullptr || state == nullptr) return std::nullopt;
  WalkedScore walked{{choice->steps.front().row, Vector::Zero(features.cols())}};
  AddWalk(*choice, features, log_pi, 1, walked);
  AddWalk(*state, features, log_pi, -1, walked);
  std::vector<int64_t> rows;
  for (const RecordedStep& step : trajectory.steps) rows.push_back(step.row);
  walked.score = ShareScore(rows, walked.score.row, walked.score.score);
  return walked;
}

bool HasCutWalks(const RecordedTrajectory& trajectory) {
  return std::any_of(trajectory.walks.begin(), trajectory.walks.end(),
                     [](const RecordedWalk& walk) { return walk.end != StepKind::kRunning && !walk.complete(); });
}

}  // namespace bilevel
