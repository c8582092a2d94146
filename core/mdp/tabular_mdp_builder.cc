#include "core/mdp/tabular_mdp_builder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/mdp/float_row.h"

namespace bilevel {
namespace {

constexpr double kSumTolerance = 1e-9;
constexpr double kSingleSumTolerance = 1e-6;

std::string RowName(int64_t row, int num_actions) {
  return absl::StrCat("row ", row, " (s=", row / num_actions, ", a=", row % num_actions, ")");
}

bool IsProbability(double p) { return p >= 0 && p <= 1; }

double Rows(const TabularMdpSizes& sizes) {
  return static_cast<double>(sizes.num_states) * static_cast<double>(sizes.num_actions);
}

ActionRowsBuilder::Values ValuesOf(const TabularMdpSizes& sizes) {
  return sizes.single_precision ? ActionRowsBuilder::Values::kFloats : ActionRowsBuilder::Values::kDoubles;
}

// Of what comes beside transitions and termination.
double BytesBeside(const TabularMdpSizes& sizes) {
  return sizeof(double) * static_cast<double>(sizes.num_states) + (sizes.has_available_actions ? Rows(sizes) : 0);
}

}  // namespace

double TabularMdpBuilder::MostBytes(const TabularMdpSizes& sizes) {
  return ActionRowsBuilder::MostBytes(sizes.num_states, sizes.num_actions, sizes.num_entries, ValuesOf(sizes)) +
         BytesBeside(sizes) + (sizes.has_termination_probability ? sizeof(double) * Rows(sizes) : 0);
}

double TabularMdpBuilder::Bytes() const {
  if (!rows_.has_all_offsets()) return MostBytes(sizes_);
  return FinalBytes() + static_cast<double>(sizeof(double) * termination_.size());
}

double TabularMdpBuilder::FinalBytes() const { return rows_.Bytes() + BytesBeside(sizes_); }

absl::StatusOr<TabularMdpBuilder> TabularMdpBuilder::Start(const TabularMdpSizes& sizes) {
  if (sizes.num_states < 1) return FieldError("num_states", absl::StrCat("is ", sizes.num_states, "; must be >= 1"));
  if (sizes.num_actions < 1) return FieldError("num_actions", absl::StrCat("is ", sizes.num_actions, "; must be >= 1"));
  if (sizes.num_entries > TabularMdp::kMaxEntries) {
    return FieldError("transitions.columns", absl::StrCat("has ", sizes.num_entries, " entries; at most ",
                                                          TabularMdp::kMaxEntries, " are supported"));
  }
  return TabularMdpBuilder(sizes);
}

TabularMdpBuilder::TabularMdpBuilder(const TabularMdpSizes& sizes)
    : sizes_(sizes),
      tolerance_(sizes.single_precision ? kSingleSumTolerance : kSumTolerance),
      rows_(sizes.num_states, sizes.num_actions) {
  mdp_.num_states_ = sizes.num_states;
  mdp_.num_actions_ = sizes.num_actions;
  mdp_.min_row_sum_ = std::numeric_limits<double>::infinity();
  if (sizes.has_termination_probability) termination_ = AlignedArray<double>(static_cast<size_t>(mdp_.num_rows()));
  if (sizes.has_available_actions) mdp_.available_.reserve(static_cast<size_t>(mdp_.num_rows()));
  if (sizes.has_initial_distribution) mdp_.initial_distribution_.resize(sizes.num_states);
}

absl::Status TabularMdpBuilder::AddOffsets(std::span<const uint64_t> piece) {
  for (const uint64_t offset : piece) {
    if (offsets_ == 0 && offset != 0) {
      return FieldError("transitions.offsets", absl::StrCat("starts at ", offset, "; must start at 0"));
    }
    if (offset < last_offset_) {
      return FieldError("transitions.offsets", absl::StrCat("falls from ", last_offset_, " to ", offset, " at ",
                                                            offsets_, "; must never decrease"));
    }
    last_offset_ = offset;
    ++offsets_;
  }
  rows_.AddOffsets(piece);
  if (!rows_.has_all_offsets()) return absl::OkStatus();
  if (last_offset_ != sizes_.num_entries) {
    return FieldError("transitions.offsets", absl::StrCat("ends at ", last_offset_,
                                                          "; must end at the number of entries, ", sizes_.num_entries));
  }
  rows_.TakePlaces(ValuesOf(sizes_));
  return absl::OkStatus();
}

absl::Status TabularMdpBuilder::AddTerminationProbability(std::span<const double> piece) {
  std::copy(piece.begin(), piece.end(), termination_.begin() + terminations_);
  const int64_t first = terminations_;
  terminations_ += static_cast<int64_t>(piece.size());
  return sizes_.has_available_actions ? absl::OkStatus() : CheckTermination(first, terminations_);
}

// Of available rows.
absl::Status TabularMdpBuilder::CheckTermination(int64_t first_row, int64_t last_row) const {
  if (termination_.empty()) return absl::OkStatus();
  for (int64_t row = first_row; row < last_row; ++row) {
    const double ending = termination_[static_cast<size_t>(row)];
    if (!IsProbability(ending) && mdp_.available(row)) {
      return FieldError("termination_probability",
                        absl::StrCat(RowName(row, sizes_.num_actions), " is ", ToText(ending), "; must be in [0, 1]"));
    }
  }
  return absl::OkStatus();
}

absl::Status TabularMdpBuilder::AddInitialDistribution(std::span<const double> piece) {
  std::copy(piece.begin(), piece.end(), mdp_.initial_distribution_.data() + initials_);
  initials_ += static_cast<int64_t>(piece.size());
  if (initials_ != sizes_.num_states) return absl::OkStatus();
  return WithField("initial_distribution", CheckProbabilityVector(mdp_.initial_distribution_, kSumTolerance));
}

absl::Status TabularMdpBuilder::AddAvailableActions(std::span<const uint8_t> piece) {
  const auto first = static_cast<int64_t>(mdp_.available_.size());
  for (const uint8_t flag : piece) {
    if (flag > 1) {
      return FieldError("available_actions", absl::StrCat("(s=", state_, ", a=", action_, ") is ",
                                                          static_cast<int>(flag), "; must be 0 or 1"));
    }
    all_available_ = all_available_ && flag == 1;
    actions_in_state_ += flag;
    if (++action_ != sizes_.num_actions) continue;
    if (actions_in_state_ == 0) {
      return FieldError("available_actions",
                        absl::StrCat("has no available action in state ", state_, "; every state needs one"));
    }
    action_ = actions_in_state_ = 0;
    ++state_;
  }
  mdp_.available_.insert(mdp_.available_.end(), piece.begin(), piece.end());
  return CheckTermination(first, static_cast<int64_t>(mdp_.available_.size()));
}

absl::Status TabularMdpBuilder::AddColumns(std::span<const uint32_t> piece) {
  absl::Status error;
  rows_.Walk(
      column_at_, piece,
      [&](uint64_t place, uint64_t stride, std::span<const uint32_t> run) {
        uint32_t* const to = rows_.columns();
        const int64_t num_states = sizes_.num_states;
        int64_t last = last_column_;
        bool rises = true;
        for (const uint32_t column : run) {
          rises &= int64_t{column} > last;
          last = column;
          to[place] = column;
          place += stride;
        }
        // The last is the largest.
        if (!rises || last >= num_states) {
          error = ExplainColumns(column_at_.row, run);
          return false;
        }
        last_column_ = last;
        return true;
      },
      [&](const ActionRowsBuilder::Row& row) {
        rows_.FillColumns(row);
        last_column_ = -1;
        mdp_.max_row_entries_ = mdp_.available(row.number)
                                    ? std::max(mdp_.max_row_entries_, static_cast<int>(row.entries))
                                    : mdp_.max_row_entries_;
        return true;
      });
  return error;
}

absl::Status TabularMdpBuilder::ExplainColumns(int64_t row, std::span<const uint32_t> run) const {
  int64_t last = last_column_;
  for (const uint32_t column : run) {
    if (int64_t{column} >= sizes_.num_states) {
      return FieldError("transitions.columns", absl::StrCat(RowName(row, sizes_.num_actions), " has column ", column,
                                                            "; must be below num_states = ", sizes_.num_states));
    }
    if (int64_t{column} <= last) {
      return FieldError("transitions.columns",
                        absl::StrCat(RowName(row, sizes_.num_actions), " has column ", column, " after ", last,
                                     "; must be strictly increasing within a row"));
    }
    last = column;
  }
  return absl::InternalError("no column breaks a rule");
}

absl::Status TabularMdpBuilder::AddProbabilities(std::span<const double> piece) {
  return sizes_.single_precision ? AddReals(piece, rows_.floats()) : AddReals(piece, rows_.values());
}
absl::Status TabularMdpBuilder::AddProbabilities(std::span<const float> piece) {
  return sizes_.single_precision ? AddReals(piece, rows_.floats()) : AddReals(piece, rows_.values());
}

template <typename Held, typename Real>
absl::Status TabularMdpBuilder::AddReals(std::span<const Real> piece, Held* held) {
  absl::Status error;
  rows_.Walk(
      probability_at_, piece,
      [&](uint64_t place, uint64_t stride, std::span<const Real> run) {
        Held* const to = held + place;
        if (!mdp_.available(probability_at_.row)) {
          for (size_t k = 0; k < run.size(); ++k) to[k * stride] = 0;
          return true;
        }
        const double most = 1 + tolerance_;
        double sum = sum_;
        bool fine = true;
        for (size_t k = 0; k < run.size(); ++k) {
          const double p = run[k];
          fine &= (p >= 0) & (p <= most);
          to[k * stride] = static_cast<Held>(p);
          sum += p;
        }
        sum_ = sum;
        if (!fine) error = ExplainProbabilities(probability_at_.row, place, stride, run);
        return fine;
      },
      [&](const ActionRowsBuilder::Row& row) {
        rows_.FillValues(row, held);
        if (mdp_.available(row.number) && !EndRow(row)) {
          error = ExplainSum(row.number);
          return false;
        }
        sum_ = 0;
        return true;
      });
  return error;
}

bool TabularMdpBuilder::EndRow(const ActionRowsBuilder::Row& row) {
  const double ending = termination_.empty() ? 0.0 : termination_[static_cast<size_t>(row.number)];
  if (!(std::abs(sum_ + ending - 1) <= tolerance_)) return false;
  if (sizes_.single_precision && row.entries > 0) {
    sum_ = Renormalize({rows_.floats() + row.first, row.stride, row.entries}, 1 - ending);
  }
  mdp_.min_row_sum_ = std::min(mdp_.min_row_sum_, sum_);
  mdp_.max_row_sum_ = std::max(mdp_.max_row_sum_, sum_);
  return true;
}

template <typename Real>
absl::Status TabularMdpBuilder::ExplainProbabilities(int64_t row, uint64_t place, uint64_t stride,
                                                     std::span<const Real> run) {
  for (const double p : run) {
    const uint32_t column = rows_.columns()[place];
    place += stride;
    if (p >= 0 && p <= 1 + tolerance_) continue;
    return FieldError("transitions", absl::StrCat(RowName(row, sizes_.num_actions), " has probability ", ToText(p),
                                                  " at column ", column, "; must be in [0, 1]"));
  }
  return absl::InternalError("no probability is out of range");
}

absl::Status TabularMdpBuilder::ExplainSum(int64_t row) const {
  const double ending = termination_.empty() ? 0.0 : termination_[static_cast<size_t>(row)];
  return FieldError(
      "transitions",
      absl::StrCat(RowName(row, sizes_.num_actions), " sums to ", ToText(sum_), " with termination_probability ",
                   ToText(ending), "; row sum + termination_probability must be 1 +- ", ToText(tolerance_)));
}

absl::StatusOr<TabularMdp> TabularMdpBuilder::Finish() && {
  // Rows at the end, or all, that have no entries.
  RETURN_IF_ERROR(AddColumns({}));
  RETURN_IF_ERROR(AddProbabilities(std::span<const double>()));
  if (all_available_) mdp_.available_ = {};
  if (!sizes_.has_initial_distribution) {
    mdp_.initial_distribution_ = Vector::Constant(sizes_.num_states, 1.0 / sizes_.num_states);
  }
  mdp_.transitions_ = std::move(rows_).Finish();
  return std::move(mdp_);
}

}  // namespace bilevel
