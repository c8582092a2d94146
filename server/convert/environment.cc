#include "server/convert/environment.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"
#include "server/convert/matrix.h"
#include "server/environments/size_limit.h"

namespace bilevel::server {
namespace {

// core speaks of transitions.offsets and transitions.columns; on the wire they are below `sparse`.
absl::Status OnTheWire(const absl::Status& status) {
  constexpr std::string_view kPrefix = "transitions.";
  const auto violation = GetFieldViolation(status);
  if (!violation.has_value() || !violation->field.starts_with(kPrefix)) return status;
  return FieldError("transitions.sparse." + violation->field.substr(kPrefix.size()), violation->description);
}

constexpr int kMaxGridExtent = 10'000;

absl::Status CheckExtent(const char* name, int value) {
  if (value >= 1 && value <= kMaxGridExtent) return absl::OkStatus();
  return FieldError(name, absl::StrCat("is ", value, "; must be in [1, ", kMaxGridExtent, "]"));
}

absl::Status CheckLayout(const v1::GridLayout& grid, int64_t num_states, int64_t num_actions) {
  RETURN_IF_ERROR(CheckExtent("rows", grid.rows()));
  RETURN_IF_ERROR(CheckExtent("cols", grid.cols()));
  const int64_t states[] = {num_states};
  RETURN_IF_ERROR(InField("cells", CheckShape(grid.cells(), states)));
  ASSIGN_OR_RETURN(std::vector<uint32_t> cells, InField("cells", DecodeIndexList<uint32_t>(grid.cells())));
  std::sort(cells.begin(), cells.end());
  const int64_t count = int64_t{grid.rows()} * grid.cols();
  if (cells.back() >= count) {
    return FieldError("cells", absl::StrCat("hold ", cells.back(), "; must be < rows * cols = ", count));
  }
  if (const auto twice = std::adjacent_find(cells.begin(), cells.end()); twice != cells.end()) {
    return FieldError("cells", absl::StrCat("hold ", *twice, " twice; no two states may share a cell"));
  }
  if (!grid.has_moves()) return absl::OkStatus();
  return InField("moves", DecodeReals(grid.moves(), {num_actions, 2}).status());
}

bool SameMatrix(const v1::Matrix& a, const v1::Matrix& b) {
  const v1::SparseMatrix& x = a.sparse();
  const v1::SparseMatrix& y = b.sparse();
  return a.storage_case() == b.storage_case() && x.rows() == y.rows() && x.cols() == y.cols() &&
         SameArray(x.offsets(), y.offsets()) && SameArray(x.columns(), y.columns()) &&
         SameArray(x.values(), y.values()) && SameArray(a.dense(), b.dense());
}

}  // namespace

// Nothing of it reaches core: pictures are drawn by clients.
absl::Status CheckGrid(const v1::Environment& environment) {
  if (!environment.has_grid()) return absl::OkStatus();
  return InField("grid", CheckLayout(environment.grid(), environment.num_states(), environment.num_actions()));
}

absl::StatusOr<EnvironmentSize> MeasureEnvironment(const v1::Environment& environment, const Limits& limits) {
  const int32_t states = environment.num_states(), actions = environment.num_actions();
  if (states < 1) return FieldError("num_states", absl::StrCat("is ", states, "; must be >= 1"));
  if (actions < 1) return FieldError("num_actions", absl::StrCat("is ", actions, "; must be >= 1"));
  if (states > limits.states) return AboveLimit("states", states, limits.states);
  EnvironmentSize size{.states = states, .actions = actions};
  ASSIGN_OR_RETURN(size.entries,
                   InField("transitions", CountEntries(environment.transitions(), size.rows(), size.states)));
  if (size.entries > limits.transitions) return AboveLimit("transitions", size.entries, limits.transitions);
  return size;
}

absl::StatusOr<TabularMdp> DecodeEnvironment(const v1::Environment& environment, const Limits& limits) {
  ASSIGN_OR_RETURN(const EnvironmentSize size, MeasureEnvironment(environment, limits));
  ASSIGN_OR_RETURN(CompressedRows rows,
                   InField("transitions", DecodeCompressedRows(environment.transitions(), size.rows(), size.states)));
  TabularMdpSpec spec;
  spec.num_states = static_cast<int>(size.states);
  spec.num_actions = static_cast<int>(size.actions);
  spec.offsets = std::move(rows.offsets);
  spec.columns = std::move(rows.columns);
  spec.probabilities = std::move(rows.values);
  spec.single_precision = rows.single_precision;
  if (environment.has_termination_probability()) {
    ASSIGN_OR_RETURN(spec.termination_probability,
                     InField("termination_probability",
                             DecodeReals(environment.termination_probability(), {size.states, size.actions})));
  }
  if (environment.has_available_actions()) {
    ASSIGN_OR_RETURN(spec.available_actions, InField("available_actions", DecodeMask(environment.available_actions(),
                                                                                     {size.states, size.actions})));
  }
  if (environment.has_initial_distribution()) {
    ASSIGN_OR_RETURN(spec.initial_distribution,
                     InField("initial_distribution", DecodeReals(environment.initial_distribution(), {size.states})));
  }
  absl::StatusOr<TabularMdp> mdp = TabularMdp::Create(std::move(spec));
  if (!mdp.ok()) return OnTheWire(mdp.status());
  return mdp;
}

bool SameEnvironment(const v1::Environment& a, const v1::Environment& b) {
  return a.num_states() == b.num_states() && a.num_actions() == b.num_actions() &&
         a.has_termination_probability() == b.has_termination_probability() &&
         a.has_available_actions() == b.has_available_actions() &&
         a.has_initial_distribution() == b.has_initial_distribution() &&
         SameArray(a.termination_probability(), b.termination_probability()) &&
         SameArray(a.available_actions(), b.available_actions()) &&
         SameArray(a.initial_distribution(), b.initial_distribution()) && SameMatrix(a.transitions(), b.transitions());
}

}  // namespace bilevel::server
