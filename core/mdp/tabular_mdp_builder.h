// Builds a TabularMdp from pieces of its arrays in final storage, without a second copy.
//
// Arrays come in the order of the functions below, each complete before the next begins, in pieces cut anywhere: cuts
// make no difference to any bit. What arrives is checked as it arrives: field errors as of TabularMdp::Create, the
// first of which ends the building.

#ifndef BILEVEL_CORE_MDP_TABULAR_MDP_BUILDER_H_
#define BILEVEL_CORE_MDP_TABULAR_MDP_BUILDER_H_

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "core/base/aligned_array.h"
#include "core/mdp/action_rows_builder.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

// Which arrays will come, and how long they are.
struct TabularMdpSizes {
  int num_states = 0;        // S
  int num_actions = 0;       // A
  uint64_t num_entries = 0;  // at most TabularMdp::kMaxEntries
  bool has_termination_probability = false;
  bool has_initial_distribution = false;
  bool has_available_actions = false;
  // As TabularMdpSpec says.
  bool single_precision = false;
};

class TabularMdpBuilder {
 public:
  // Bytes of memory that building takes, at most; needs S, A >= 1.
  static double MostBytes(const TabularMdpSizes& sizes);

  // INVALID_ARGUMENT when a size is out of range. Takes memory for what has one entry for each row, and touches none.
  static absl::StatusOr<TabularMdpBuilder> Start(const TabularMdpSizes& sizes);

  // Of [S*A + 1]. With the last of them the layout is chosen, and memory for entries is taken but not touched.
  absl::Status AddOffsets(std::span<const uint64_t> piece);
  // Of [S*A], [S] and [S*A], where sizes say that they come.
  absl::Status AddTerminationProbability(std::span<const double> piece);
  absl::Status AddInitialDistribution(std::span<const double> piece);
  absl::Status AddAvailableActions(std::span<const uint8_t> piece);
  // Of [entries].
  absl::Status AddColumns(std::span<const uint32_t> piece);
  absl::Status AddProbabilities(std::span<const double> piece);
  absl::Status AddProbabilities(std::span<const float> piece);

  // What is held now, in bytes; never more than MostBytes, and exact once all offsets are there.
  double Bytes() const;
  // The same, as it will be of what Finish returns.
  double FinalBytes() const;

  // Once everything has come.
  absl::StatusOr<TabularMdp> Finish() &&;

 private:
  explicit TabularMdpBuilder(const TabularMdpSizes& sizes);

  absl::Status CheckTermination(int64_t first_row, int64_t last_row) const;
  absl::Status ExplainColumns(int64_t row, std::span<const uint32_t> run) const;
  template <typename Real>
  absl::Status ExplainProbabilities(int64_t row, uint64_t place, uint64_t stride, std::span<const Real> run);
  absl::Status ExplainSum(int64_t row) const;
  // Held: what it is stored as.
  template <typename Held, typename Real>
  absl::Status AddReals(std::span<const Real> piece, Held* held);
  // One row's probabilities are there.
  bool EndRow(const ActionRowsBuilder::Row& row);

  TabularMdpSizes sizes_;
  double tolerance_;
  ActionRowsBuilder rows_;
  TabularMdp mdp_;
  AlignedArray<double> termination_;
  // How much has come.
  uint64_t offsets_ = 0, last_offset_ = 0;
  int64_t terminations_ = 0, initials_ = 0;
  // Of available actions.
  int action_ = 0, state_ = 0, actions_in_state_ = 0;
  bool all_available_ = true;
  // Of entries; -1: no column in this row yet.
  ActionRowsBuilder::Cursor column_at_, probability_at_;
  int64_t last_column_ = -1;
  double sum_ = 0;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_TABULAR_MDP_BUILDER_H_
