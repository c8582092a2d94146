// The canonical bytes of an environment -> TabularMdp, as they arrive, cut anywhere, also inside numbers.

#ifndef BILEVEL_SERVER_ENVIRONMENTS_ENVIRONMENT_DECODER_H_
#define BILEVEL_SERVER_ENVIRONMENTS_ENVIRONMENT_DECODER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/environments/canonical_layout.h"
#include "server/limits.h"

namespace bilevel::server {

class EnvironmentDecoder {
 public:
  // Asked once, when sizes are known and before memory is taken: whether there may be so many bytes of it.
  using Admit = std::function<absl::Status(double bytes)>;

  EnvironmentDecoder(const Limits& limits, Admit admit) : limits_(limits), admit_(std::move(admit)) {}

  // The next bytes. A field error of header or content, or what `admit` says; after an error nothing may follow.
  // Cost: O(bytes), without division or allocation for each number.
  absl::Status Take(std::string_view bytes);

  // Bytes that have been taken, and those of the whole; 0 until the header is there.
  uint64_t taken() const { return taken_; }
  uint64_t total_bytes() const { return layout_.total_bytes; }
  bool complete() const { return builder_.has_value() && taken_ == layout_.total_bytes; }

  // What the builder holds, and will hold in the end; 0 until the header is there.
  double Bytes() const { return builder_.has_value() ? builder_->Bytes() : 0; }
  double FinalBytes() const { return builder_.has_value() ? builder_->FinalBytes() : 0; }

  // Once complete.
  absl::StatusOr<TabularMdp> Finish() && { return std::move(*builder_).Finish(); }

 private:
  absl::Status TakeHeader(std::string_view& bytes);
  absl::Status TakeZeros(uint64_t end, std::string_view& bytes);
  absl::Status TakeSection(const CanonicalLayout::Place& place, std::string_view& bytes);
  template <typename T>
  absl::Status TakeNumbers(uint64_t end, std::string_view& bytes,
                           absl::Status (TabularMdpBuilder::*add)(std::span<const T>));

  const Limits limits_;
  const Admit admit_;
  CanonicalLayout layout_;
  std::optional<TabularMdpBuilder> builder_;
  uint64_t taken_ = 0;
  size_t place_ = 0;  // of layout_.places
  // The header, or a number, of which not all has come.
  std::array<char, kHeaderBytes> part_{};
  size_t part_bytes_ = 0;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_ENVIRONMENTS_ENVIRONMENT_DECODER_H_
