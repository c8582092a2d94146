// Text for messages. Debian's Abseil has a string_view of its own, so numbers and std text meet here.

#ifndef BILEVEL_CORE_BASE_TEXT_H_
#define BILEVEL_CORE_BASE_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace bilevel {

// std::string_view as Abseil's.
inline absl::string_view AbslText(std::string_view text) { return {text.data(), text.size()}; }

// Shortest text that reads back as the same double ("0.1", "1e-09", "nan").
std::string ToText(double number);

// "1 round", "2 rounds".
inline std::string Counted(int64_t count, const char* noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_TEXT_H_
