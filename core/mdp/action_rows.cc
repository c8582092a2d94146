#include "core/mdp/action_rows.h"

#include <utility>

#include "core/mdp/action_rows_builder.h"

namespace bilevel {

ActionRows::ActionRows(int num_states, int num_actions, std::span<const uint64_t> offsets,
                       std::span<const uint32_t> columns, std::span<const double> values) {
  ActionRowsBuilder builder(num_states, num_actions);
  builder.AddOffsets(offsets);
  builder.TakePlaces(/*with_values=*/!values.empty());
  builder.PutColumns(columns);
  if (!values.empty()) builder.PutValues(values);
  *this = std::move(builder).Finish();
}

}  // namespace bilevel
