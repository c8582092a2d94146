#include "core/mdp/action_rows.h"

#include <algorithm>
#include <utility>

#include "core/mdp/action_rows_builder.h"

namespace bilevel {

ActionRows::ActionRows(int num_states, int num_actions, std::span<const uint64_t> offsets,
                       std::span<const uint32_t> columns, std::span<const double> values) {
  ActionRowsBuilder builder(num_states, num_actions);
  builder.AddOffsets(offsets);
  builder.TakePlaces(values.empty() ? ActionRowsBuilder::Values::kNone : ActionRowsBuilder::Values::kDoubles);
  builder.PutColumns(columns);
  if (!values.empty()) builder.PutValues(values);
  *this = std::move(builder).Finish();
}

double* ActionRows::ToDoubles() {
  if (in_floats()) {
    values_ = AlignedArray<double>(floats_.size());
    std::copy(floats_.begin(), floats_.end(), values_.begin());
    floats_ = {};
  }
  return values_.data();
}

}  // namespace bilevel
