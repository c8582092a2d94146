#include "client/environment_bytes.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace bilevel::client {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

constexpr char kMagic[] = "BILEVEL1";
constexpr std::uint64_t kAlignment = 8;

enum Flags : std::uint32_t { kTermination = 1, kInitial = 2, kAvailable = 4, kBinary32 = 8 };

absl::Status CheckSize(const char* name, std::size_t size, std::uint64_t expected, const char* rule) {
  if (size == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " has ", size, " elements; must be ", rule, " = ", expected));
}

absl::Status CheckOptional(const char* name, std::size_t size, std::uint64_t expected, const char* rule) {
  return size == 0 ? absl::OkStatus() : CheckSize(name, size, expected, rule);
}

absl::Status Check(const EnvironmentArrays& arrays) {
  if (arrays.num_states < 1) {
    return absl::InvalidArgumentError(absl::StrCat("num_states is ", arrays.num_states, "; must be >= 1"));
  }
  if (arrays.num_actions < 1) {
    return absl::InvalidArgumentError(absl::StrCat("num_actions is ", arrays.num_actions, "; must be >= 1"));
  }
  if (!arrays.probabilities.empty() && !arrays.probabilities_f32.empty()) {
    return absl::InvalidArgumentError("probabilities and probabilities_f32 are both there; must be one of the two");
  }
  const auto states = static_cast<std::uint64_t>(arrays.num_states);
  const std::uint64_t rows = states * static_cast<std::uint64_t>(arrays.num_actions);
  const std::uint64_t entries = arrays.columns.size();
  const std::size_t probabilities = std::max(arrays.probabilities.size(), arrays.probabilities_f32.size());
  for (const absl::Status& status :
       {CheckSize("offsets", arrays.offsets.size(), rows + 1, "num_states * num_actions + 1"),
        CheckSize("probabilities", probabilities, entries, "as many as columns"),
        CheckOptional("termination", arrays.termination.size(), rows, "num_states * num_actions"),
        CheckOptional("initial", arrays.initial.size(), states, "num_states"),
        CheckOptional("available", arrays.available.size(), rows, "num_states * num_actions")}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

template <typename T>
bool AllAre(std::span<const T> array, T value) {
  return std::all_of(array.begin(), array.end(), [value](T element) { return element == value; });
}

}  // namespace

absl::StatusOr<EnvironmentBytes> EnvironmentBytes::Create(const EnvironmentArrays& arrays) {
  if (absl::Status status = Check(arrays); !status.ok()) return status;
  EnvironmentBytes bytes;
  std::uint32_t flags = 0;
  bytes.Append(std::as_bytes(arrays.offsets));
  if (!AllAre(arrays.termination, 0.0)) {
    flags |= kTermination;
    bytes.Append(std::as_bytes(arrays.termination));
  }
  if (!arrays.initial.empty()) {
    flags |= kInitial;
    bytes.Append(std::as_bytes(arrays.initial));
  }
  if (!AllAre(arrays.available, std::uint8_t{1})) {
    flags |= kAvailable;
    bytes.Append(std::as_bytes(arrays.available));
  }
  bytes.Append(std::as_bytes(arrays.columns));
  if (!arrays.probabilities_f32.empty()) {
    flags |= kBinary32;
    bytes.Append(std::as_bytes(arrays.probabilities_f32));
  } else {
    bytes.Append(std::as_bytes(arrays.probabilities));
  }
  std::memcpy(bytes.header_.data(), kMagic, 8);
  const std::array<std::uint32_t, 4> numbers = {flags, static_cast<std::uint32_t>(arrays.num_states),
                                                static_cast<std::uint32_t>(arrays.num_actions), 0};
  std::memcpy(bytes.header_.data() + 8, numbers.data(), sizeof(numbers));
  const std::uint64_t entries = arrays.columns.size();
  std::memcpy(bytes.header_.data() + 24, &entries, sizeof(entries));
  return bytes;
}

void EnvironmentBytes::Append(std::span<const std::byte> array) {
  size_ = (size_ + kAlignment - 1) / kAlignment * kAlignment;
  sections_.push_back({size_, {reinterpret_cast<const char*>(array.data()), array.size()}});
  size_ += array.size();
}

void EnvironmentBytes::Read(std::uint64_t offset, std::span<char> piece) const {
  std::fill(piece.begin(), piece.end(), '\0');
  const std::uint64_t end = offset + piece.size();
  const auto copy = [&](std::uint64_t begin, std::span<const char> bytes) {
    const std::uint64_t from = std::max(offset, begin);
    const std::uint64_t to = std::min(end, begin + bytes.size());
    if (from < to) std::memcpy(piece.data() + (from - offset), bytes.data() + (from - begin), to - from);
  };
  copy(0, header_);
  for (const Section& section : sections_) copy(section.begin, section.bytes);
}

}  // namespace bilevel::client
