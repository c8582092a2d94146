#include "server/convert/reward.h"

#include <utility>
#include <vector>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"
#include "server/convert/matrix.h"

namespace bilevel::server {
namespace {

// [S*A]: 1 where the row of transitions has features.
std::vector<uint8_t> RowsThatMove(const TabularMdp& mdp, const SparseRows& dynamics) {
  std::vector<uint8_t> moves(static_cast<size_t>(mdp.num_rows()), 0);
  mdp.ForEachEntry([&](Eigen::Index row, uint64_t entry, uint32_t, double) {
    const int64_t* offsets = dynamics.outerIndexPtr();
    if (offsets[entry] != offsets[entry + 1]) moves[static_cast<size_t>(row)] = 1;
  });
  return moves;
}

// One entry for each stored transition. The shape is free: [entries] for sparse, [S, A, S] for dense transitions.
absl::Status FoldTransitionRewards(const v1::Array& rewards, const TabularMdp& mdp, const SparseRows* dynamics,
                                   int num_parameters, ParametricRewardSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t count, CountElements(rewards));
  if (static_cast<uint64_t>(count) != mdp.num_entries()) {
    return FieldError(
        "", absl::StrCat("has ", count, " entries; must have one for each stored transition, ", mdp.num_entries()));
  }
  int64_t extent = 1;
  bool wrong_shape = false;
  for (const int32_t e : rewards.shape()) wrong_shape |= e < 0 || __builtin_mul_overflow(extent, e, &extent);
  if (rewards.shape_size() != 0 && (wrong_shape || extent != count)) {
    return FieldError("shape", absl::StrCat("does not stand for ", count, " entries; must be that of the transitions"));
  }
  ASSIGN_OR_RETURN(const std::vector<double> reward, DecodeRealList(rewards, Finite::kRequired));
  if (spec.base.size() == 0) spec.base = Vector::Zero(mdp.num_rows());
  const std::vector<uint8_t> moves = dynamics == nullptr ? std::vector<uint8_t>() : RowsThatMove(mdp, *dynamics);
  std::vector<Eigen::Triplet<double, int64_t>> moving;
  mdp.ForEachEntry([&](Eigen::Index row, uint64_t entry, uint32_t, double p) {
    if (moves.empty() || moves[static_cast<size_t>(row)] == 0) {
      spec.base[row] += p * reward[entry];
      return;
    }
    for (SparseRows::InnerIterator feature(*dynamics, static_cast<Eigen::Index>(entry)); feature; ++feature) {
      moving.emplace_back(row, feature.col(), feature.value() * reward[entry]);
    }
  });
  if (moving.empty()) return absl::OkStatus();
  SparseRows features(mdp.num_rows(), num_parameters);
  features.setFromTriplets(moving.begin(), moving.end());
  if (spec.features.rows() == 0) {
    spec.features = std::move(features);
  } else {
    spec.features += features;
  }
  return absl::OkStatus();
}

// Row-major message, column-major matrix.
absl::StatusOr<Eigen::MatrixXd> DecodeSquare(const v1::Array& array, int n) {
  ASSIGN_OR_RETURN(const Vector elements, DecodeReals(array, {n, n}));
  return Eigen::MatrixXd(
      Eigen::Map<const Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(elements.data(), n, n));
}

}  // namespace

absl::StatusOr<ParametricReward> DecodeReward(const v1::Reward& reward, const TabularMdp& mdp,
                                              const SparseRows* dynamics, int num_parameters) {
  const int64_t states = mdp.num_states(), actions = mdp.num_actions();
  ParametricRewardSpec spec;
  if (reward.has_base()) {
    ASSIGN_OR_RETURN(spec.base, InField("base", DecodeReals(reward.base(), {states, actions})));
  }
  if (reward.has_features()) {
    ASSIGN_OR_RETURN(spec.features,
                     InField("features", DecodeSparseRows(reward.features(), mdp.num_rows(), num_parameters)));
  }
  if (reward.has_transition_rewards()) {
    RETURN_IF_ERROR(InField("transition_rewards",
                            FoldTransitionRewards(reward.transition_rewards(), mdp, dynamics, num_parameters, spec)));
  }
  if (reward.has_quadratic()) {
    ASSIGN_OR_RETURN(spec.coefficient, InField("quadratic.coefficient",
                                               DecodeReals(reward.quadratic().coefficient(), {states, actions})));
    ASSIGN_OR_RETURN(spec.matrix,
                     InField("quadratic.matrix", DecodeSquare(reward.quadratic().matrix(), num_parameters)));
  }
  return ParametricReward::Create(mdp.num_rows(), num_parameters, std::move(spec));
}

}  // namespace bilevel::server
