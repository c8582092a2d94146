#include "server/environments/canonical_layout.h"

#include <bit>
#include <cstring>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"
#include "server/environments/size_limit.h"

namespace bilevel::server {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

constexpr char kMagic[] = "BILEVEL1";
constexpr uint64_t kAlignment = 8;
constexpr uint32_t kTermination = 1, kInitial = 2, kAvailable = 4, kSingle = 8;

template <typename T>
T Number(std::span<const char, kHeaderBytes> header, size_t at) {
  T number;
  std::memcpy(&number, header.data() + at, sizeof number);
  return number;
}

absl::Status CheckExtent(const char* name, uint32_t value) {
  constexpr uint32_t kMost = std::numeric_limits<int32_t>::max();
  if (value >= 1 && value <= kMost) return absl::OkStatus();
  return FieldError(name, absl::StrCat("is ", value, "; must be in [1, ", kMost, "]"));
}

}  // namespace

absl::StatusOr<CanonicalLayout> ReadHeader(std::span<const char, kHeaderBytes> header, const Limits& limits) {
  if (std::memcmp(header.data(), kMagic, 8) != 0) {
    return FieldError("magic", absl::StrCat("is not ", kMagic, "; the first 8 bytes must be these letters"));
  }
  const auto flags = Number<uint32_t>(header, 8), states = Number<uint32_t>(header, 12);
  const auto actions = Number<uint32_t>(header, 16), reserved = Number<uint32_t>(header, 20);
  const auto entries = Number<uint64_t>(header, 24);
  if (flags > (kTermination | kInitial | kAvailable | kSingle)) {
    return FieldError("flags", absl::StrCat("is ", flags, "; only the bits 1, 2, 4 and 8 may be set"));
  }
  if (absl::Status status = CheckExtent("num_states", states); !status.ok()) return status;
  if (absl::Status status = CheckExtent("num_actions", actions); !status.ok()) return status;
  if (reserved != 0) return FieldError("reserved", absl::StrCat("is ", reserved, "; must be 0"));
  if (int64_t{states} > limits.states) return AboveLimit("states", states, limits.states);
  const uint64_t rows = uint64_t{states} * actions;
  if (entries / states > rows || (entries / states == rows && entries % states != 0)) {
    return FieldError("num_transitions",
                      absl::StrCat("is ", entries, "; must be at most num_states * num_actions * num_states"));
  }
  if (entries > static_cast<uint64_t>(limits.transitions)) {
    return AboveLimit("transitions", entries, limits.transitions);
  }
  if (entries > TabularMdp::kMaxEntries) {
    return FieldError("num_transitions",
                      absl::StrCat("is ", entries, "; at most ", TabularMdp::kMaxEntries, " are supported"));
  }

  CanonicalLayout layout;
  layout.sizes = {.num_states = static_cast<int>(states),
                  .num_actions = static_cast<int>(actions),
                  .num_entries = entries,
                  .has_termination_probability = (flags & kTermination) != 0,
                  .has_initial_distribution = (flags & kInitial) != 0,
                  .has_available_actions = (flags & kAvailable) != 0,
                  .single_precision = (flags & kSingle) != 0};
  uint64_t at = kHeaderBytes;
  const auto add = [&](Section section, uint64_t count, uint64_t element_bytes) {
    const uint64_t begin = (at + kAlignment - 1) / kAlignment * kAlignment;
    at = begin + count * element_bytes;
    layout.places.push_back({section, begin, at});
  };
  add(Section::kOffsets, rows + 1, sizeof(uint64_t));
  if (layout.sizes.has_termination_probability) add(Section::kTermination, rows, sizeof(double));
  if (layout.sizes.has_initial_distribution) add(Section::kInitial, states, sizeof(double));
  if (layout.sizes.has_available_actions) add(Section::kAvailable, rows, sizeof(uint8_t));
  add(Section::kColumns, entries, sizeof(uint32_t));
  add(Section::kProbabilities, entries, layout.sizes.single_precision ? sizeof(float) : sizeof(double));
  layout.total_bytes = at;
  return layout;
}

}  // namespace bilevel::server
