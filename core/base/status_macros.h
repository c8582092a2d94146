// RETURN_IF_ERROR and ASSIGN_OR_RETURN, spelled as in newer Abseil, which will replace them.

#ifndef BILEVEL_CORE_BASE_STATUS_MACROS_H_
#define BILEVEL_CORE_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define BILEVEL_CONCAT_INNER(a, b) a##b
#define BILEVEL_CONCAT(a, b) BILEVEL_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expression)                                                                                \
  do {                                                                                                             \
    if (absl::Status status_of_expression = (expression); !status_of_expression.ok()) return status_of_expression; \
  } while (false)

#define ASSIGN_OR_RETURN(declaration, expression) \
  BILEVEL_ASSIGN_OR_RETURN(BILEVEL_CONCAT(status_or_, __LINE__), declaration, expression)

// `declaration` cannot stand in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define BILEVEL_ASSIGN_OR_RETURN(temporary, declaration, expression) \
  auto temporary = (expression);                                     \
  if (!temporary.ok()) return std::move(temporary).status();         \
  declaration = std::move(temporary).value()
// NOLINTEND(bugprone-macro-parentheses)

#endif  // BILEVEL_CORE_BASE_STATUS_MACROS_H_
