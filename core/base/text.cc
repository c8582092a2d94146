#include "core/base/text.h"

#include <array>
#include <charconv>

namespace bilevel {

std::string ToText(double number) {
  std::array<char, 32> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number);
  return std::string(buffer.data(), end);
}

}  // namespace bilevel
