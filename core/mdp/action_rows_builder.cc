#include "core/mdp/action_rows_builder.h"

#include <cstddef>
#include <utility>

namespace bilevel {
namespace {

// Filled-up slices are used up to this many places for each entry.
constexpr double kMostFilling = 1.25;
// Full slices where those would be more, up to this many for each entry, and in all: 24 MiB.
constexpr double kMostFullFilling = 4;
constexpr double kMostFullPlaces = 1 << 21;
// Lines that are runs are told apart where they are at least this share.
constexpr double kWorthRunning = 0.1;
// For each place.
constexpr double kRunBytes = static_cast<double>(sizeof(uint32_t)) / kLanes;

// For each place.
double BytesOf(ActionRowsBuilder::Values values) {
  switch (values) {
    case ActionRowsBuilder::Values::kNone:
      return 0;
    case ActionRowsBuilder::Values::kDoubles:
      return sizeof(double);
    case ActionRowsBuilder::Values::kFloats:
      return sizeof(float);
  }
  return 0;
}

}  // namespace

double ActionRowsBuilder::MostBytes(int64_t num_states, int64_t num_actions, uint64_t num_entries, Values values) {
  const double rows = static_cast<double>(num_states) * static_cast<double>(num_actions);
  const double blocks = static_cast<double>(NumSlices(num_states)) * static_cast<double>(num_actions);
  return sizeof(uint32_t) * (rows + blocks + 2) +
         (sizeof(uint32_t) + BytesOf(values) + kRunBytes) * kMostFilling * static_cast<double>(num_entries) +
         FullBytes(num_states, num_actions, num_entries);
}

double ActionRowsBuilder::FullBytes(int64_t num_states, int64_t num_actions, uint64_t num_entries) {
  const double entries = static_cast<double>(num_entries);
  const double blocks = static_cast<double>(NumSlices(num_states)) * static_cast<double>(num_actions);
  const double places = kLanes * blocks * static_cast<double>(num_states);
  if (places > kMostFullPlaces || places > kMostFullFilling * entries) return 0;
  return (sizeof(uint32_t) + sizeof(double)) * places + sizeof(uint32_t) * (entries + blocks + 1);
}

ActionRowsBuilder::ActionRowsBuilder(int num_states, int num_actions) {
  rows_.num_states_ = num_states;
  rows_.num_actions_ = num_actions;
  rows_.offsets_ = AlignedArray<uint32_t>(static_cast<size_t>(rows_.num_rows()) + 1);
  rows_.lines_ = AlignedArray<uint32_t>(static_cast<size_t>(NumSlices(num_states) * num_actions) + 1);
}

// Until a slice is complete its lines hold the length of the longest row of each block.
void ActionRowsBuilder::AddOffsets(std::span<const uint64_t> piece) {
  uint32_t* const lines = rows_.lines_.data();
  uint32_t* next = rows_.offsets_.data() + num_offsets_;
  num_offsets_ += piece.size();
  if (next == rows_.offsets_.data() && !piece.empty()) {
    *next++ = 0;
    piece = piece.subspan(1);
  }
  const int num_actions = rows_.num_actions_;
  for (const uint64_t offset : piece) {
    *next++ = static_cast<uint32_t>(offset);
    const auto length = static_cast<uint32_t>(offset - last_offset_);
    last_offset_ = offset;
    uint32_t& longest = lines[block_ + action_];
    longest = lane_ == 0 ? length : std::max(longest, length);
    if (++action_ != num_actions) continue;
    action_ = 0;
    ++state_;
    if (++lane_ != kLanes && state_ != rows_.num_states_) continue;
    lane_ = 0;
    for (int a = 0; a < num_actions; ++a) {
      const uint32_t count = lines[block_ + a];
      lines[block_ + a] = static_cast<uint32_t>(num_lines_);
      num_lines_ += count;
    }
    block_ += num_actions;
    lines[block_] = static_cast<uint32_t>(num_lines_);
  }
}

void ActionRowsBuilder::TakePlaces(Values values) {
  const uint64_t entries = rows_.num_entries(), filled = num_lines_ * kLanes;
  const bool slices = static_cast<double>(filled) <= kMostFilling * static_cast<double>(entries);
  rows_.layout_ = slices ? ActionRows::Layout::kSlices : ActionRows::Layout::kRows;
  if (!slices) rows_.lines_ = {};
  const size_t places = slices ? filled : entries;
  rows_.columns_ = AlignedArray<uint32_t>(places);
  if (values == Values::kDoubles) rows_.values_ = AlignedArray<double>(places);
  if (values == Values::kFloats) rows_.floats_ = AlignedArray<float>(places);
  if (!slices) return;
  // Lanes without a state.
  const int64_t last = NumSlices(rows_.num_states_) - 1, A = rows_.num_actions_;
  for (int64_t lane = rows_.num_states_ - last * kLanes; lane < kLanes; ++lane) {
    for (int64_t block = last * A; block < (last + 1) * A; ++block) {
      const Row row{.first = uint64_t{kLanes} * rows_.lines_[static_cast<size_t>(block)] + static_cast<uint64_t>(lane),
                    .stride = kLanes,
                    .last = uint64_t{kLanes} * rows_.lines_[static_cast<size_t>(block) + 1],
                    .slice = static_cast<uint32_t>(last * kLanes)};
      FillColumns(row);
      if (values == Values::kDoubles) FillValues(row, this->values());
      if (values == Values::kFloats) FillValues(row, floats());
    }
  }
}

bool ActionRowsBuilder::BecomesFull() const {
  return rows_.layout_ == ActionRows::Layout::kRows && !(rows_.values_.empty() && rows_.floats_.empty()) &&
         FullBytes(rows_.num_states_, rows_.num_actions_, rows_.num_entries()) > 0;
}

double ActionRowsBuilder::Bytes() const {
  return static_cast<double>(sizeof(uint32_t) * (rows_.offsets_.size() + rows_.lines_.size() + rows_.columns_.size()) +
                             sizeof(double) * rows_.values_.size() + sizeof(float) * rows_.floats_.size()) +
         (rows_.layout_ == ActionRows::Layout::kSlices ? kRunBytes * static_cast<double>(rows_.columns_.size()) : 0) +
         (BecomesFull() ? FullBytes(rows_.num_states_, rows_.num_actions_, rows_.num_entries()) : 0);
}

void ActionRowsBuilder::PutColumns(std::span<const uint32_t> columns) {
  Cursor at;
  Walk(
      at, columns,
      [to = this->columns()](uint64_t place, uint64_t stride, std::span<const uint32_t> run) {
        for (const uint32_t column : run) {
          to[place] = column;
          place += stride;
        }
        return true;
      },
      [this](const Row& row) {
        FillColumns(row);
        return true;
      });
}

void ActionRowsBuilder::PutValues(std::span<const double> values) {
  Cursor at;
  Walk(
      at, values,
      [to = this->values()](uint64_t place, uint64_t stride, std::span<const double> run) {
        for (const double value : run) {
          to[place] = value;
          place += stride;
        }
        return true;
      },
      [this](const Row& row) {
        FillValues(row, this->values());
        return true;
      });
}

ActionRows ActionRowsBuilder::Finish() && {
  if (BecomesFull()) MakeFull();
  if (rows_.layout_ == ActionRows::Layout::kSlices) FindRuns();
  return std::move(rows_);
}

void ActionRowsBuilder::FindRuns() {
  const size_t num_lines = rows_.columns_.size() / kLanes;
  AlignedArray<uint32_t> runs(num_lines);
  size_t found = 0;
  for (size_t line = 0; line < num_lines; ++line) {
    const uint32_t* const columns = rows_.columns_.data() + kLanes * line;
    uint32_t strays = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) strays |= columns[lane] ^ (columns[0] + lane);
    runs[line] = strays == 0 ? columns[0] : ActionRows::kNoRun;
    found += strays == 0 ? 1 : 0;
  }
  if (static_cast<double>(found) >= kWorthRunning * static_cast<double>(num_lines)) rows_.runs_ = std::move(runs);
}

void ActionRowsBuilder::MakeFull() {
  const int64_t S = rows_.num_states_, A = rows_.num_actions_, blocks = NumSlices(S) * A;
  AlignedArray<uint32_t> columns(static_cast<size_t>(blocks * S * kLanes));
  AlignedArray<double> values(columns.size());
  for (size_t place = 0; place < columns.size(); ++place) {
    columns[place] = static_cast<uint32_t>(place / kLanes % static_cast<size_t>(S));
    values[place] = 0;
  }
  rows_.lines_ = AlignedArray<uint32_t>(static_cast<size_t>(blocks + 1));
  for (int64_t block = 0; block <= blocks; ++block) {
    rows_.lines_[static_cast<size_t>(block)] = static_cast<uint32_t>(block * S);
  }
  rows_.places_ = AlignedArray<uint32_t>(rows_.num_entries());
  for (int64_t row = 0; row < rows_.num_rows(); ++row) {
    const int64_t s = row / A, block = s / kLanes * A + row % A;
    for (uint64_t k = rows_.RowBegin(row); k < rows_.RowEnd(row); ++k) {
      const uint64_t place =
          kLanes * (static_cast<uint64_t>(block * S) + rows_.columns_[k]) + static_cast<uint64_t>(s % kLanes);
      rows_.places_[k] = static_cast<uint32_t>(place);
      values[place] = rows_.value(k);
    }
  }
  rows_.columns_ = std::move(columns);
  rows_.values_ = std::move(values);
  rows_.floats_ = {};
  rows_.layout_ = ActionRows::Layout::kFull;
}

}  // namespace bilevel
