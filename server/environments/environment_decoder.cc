#include "server/environments/environment_decoder.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"
#include "core/base/status_macros.h"

namespace bilevel::server {
namespace {

// Numbers that do not lie as the machine wants them are copied in blocks of so many bytes.
constexpr size_t kBlockBytes = 16 << 10;

template <typename T>
bool IsAligned(const char* at) {
  return reinterpret_cast<uintptr_t>(at) % alignof(T) == 0;
}

}  // namespace

absl::Status EnvironmentDecoder::Take(std::string_view bytes) {
  if (!builder_.has_value()) RETURN_IF_ERROR(TakeHeader(bytes));
  while (!bytes.empty()) {
    if (place_ == layout_.places.size()) {
      return FieldError("", absl::StrCat("goes on after ", layout_.total_bytes, " bytes, which is where it must end"));
    }
    const CanonicalLayout::Place& place = layout_.places[place_];
    RETURN_IF_ERROR(taken_ < place.begin ? TakeZeros(place.begin, bytes) : TakeSection(place, bytes));
    while (place_ < layout_.places.size() && taken_ == layout_.places[place_].end) ++place_;
  }
  return absl::OkStatus();
}

absl::Status EnvironmentDecoder::TakeHeader(std::string_view& bytes) {
  const size_t count = std::min(bytes.size(), kHeaderBytes - part_bytes_);
  std::memcpy(part_.data() + part_bytes_, bytes.data(), count);
  bytes.remove_prefix(count);
  part_bytes_ += count;
  taken_ += count;
  if (part_bytes_ != kHeaderBytes) return absl::OkStatus();
  part_bytes_ = 0;
  ASSIGN_OR_RETURN(layout_, ReadHeader(part_, limits_));
  RETURN_IF_ERROR(admit_(TabularMdpBuilder::MostBytes(layout_.sizes)));
  ASSIGN_OR_RETURN(builder_, TabularMdpBuilder::Start(layout_.sizes));
  return absl::OkStatus();
}

absl::Status EnvironmentDecoder::TakeZeros(uint64_t end, std::string_view& bytes) {
  for (; taken_ < end && !bytes.empty(); ++taken_, bytes.remove_prefix(1)) {
    if (bytes.front() != 0) {
      return FieldError("", absl::StrCat("byte ", taken_, " is ", static_cast<unsigned char>(bytes.front()),
                                         "; must be 0 between arrays"));
    }
  }
  return absl::OkStatus();
}

absl::Status EnvironmentDecoder::TakeSection(const CanonicalLayout::Place& place, std::string_view& bytes) {
  switch (place.section) {
    case Section::kOffsets:
      return TakeNumbers<uint64_t>(place.end, bytes, &TabularMdpBuilder::AddOffsets);
    case Section::kTermination:
      return TakeNumbers<double>(place.end, bytes, &TabularMdpBuilder::AddTerminationProbability);
    case Section::kInitial:
      return TakeNumbers<double>(place.end, bytes, &TabularMdpBuilder::AddInitialDistribution);
    case Section::kAvailable:
      return TakeNumbers<uint8_t>(place.end, bytes, &TabularMdpBuilder::AddAvailableActions);
    case Section::kColumns:
      return TakeNumbers<uint32_t>(place.end, bytes, &TabularMdpBuilder::AddColumns);
    case Section::kProbabilities:
      if (layout_.sizes.single_precision) {
        return TakeNumbers<float>(place.end, bytes, &TabularMdpBuilder::AddProbabilities);
      }
      return TakeNumbers<double>(place.end, bytes, &TabularMdpBuilder::AddProbabilities);
  }
  return absl::InternalError("an unknown section");
}

template <typename T>
absl::Status EnvironmentDecoder::TakeNumbers(uint64_t end, std::string_view& bytes,
                                             absl::Status (TabularMdpBuilder::*add)(std::span<const T>)) {
  std::string_view piece = bytes.substr(0, end - taken_);
  bytes.remove_prefix(piece.size());
  taken_ += piece.size();
  if (part_bytes_ != 0) {
    const size_t count = std::min(piece.size(), sizeof(T) - part_bytes_);
    std::memcpy(part_.data() + part_bytes_, piece.data(), count);
    piece.remove_prefix(count);
    part_bytes_ += count;
    if (part_bytes_ != sizeof(T)) return absl::OkStatus();
    part_bytes_ = 0;
    T number;
    std::memcpy(&number, part_.data(), sizeof number);
    RETURN_IF_ERROR(((*builder_).*add)({&number, 1}));
    if (piece.empty()) return absl::OkStatus();
  }
  const size_t rest = piece.size() % sizeof(T);
  std::memcpy(part_.data(), piece.data() + piece.size() - rest, rest);
  part_bytes_ = rest;
  piece.remove_suffix(rest);
  if (IsAligned<T>(piece.data())) {
    return ((*builder_).*add)({reinterpret_cast<const T*>(piece.data()), piece.size() / sizeof(T)});
  }
  alignas(T) std::array<T, kBlockBytes / sizeof(T)> block;
  while (!piece.empty()) {
    const size_t count = std::min(piece.size(), kBlockBytes);
    std::memcpy(block.data(), piece.data(), count);
    piece.remove_prefix(count);
    RETURN_IF_ERROR(((*builder_).*add)({block.data(), count / sizeof(T)}));
  }
  return absl::OkStatus();
}

}  // namespace bilevel::server
