// A file that is read in pieces, from anywhere in it.

#ifndef BILEVEL_CLIENT_CLI_INPUT_FILE_H_
#define BILEVEL_CLIENT_CLI_INPUT_FILE_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace bilevel::client {

class InputFile {
 public:
  // NOT_FOUND when it cannot be read, INVALID_ARGUMENT when it is no file on a disk (a pipe cannot go back).
  static absl::StatusOr<InputFile> Open(const std::string& path);
  InputFile(InputFile&& other) noexcept : descriptor_(other.descriptor_), size_(other.size_) { other.descriptor_ = -1; }
  InputFile& operator=(InputFile&&) = delete;
  ~InputFile();

  std::uint64_t size() const { return size_; }

  // Fills `piece`. OUT_OF_RANGE when the file ends before.
  absl::Status Read(std::uint64_t offset, std::span<char> piece) const;

 private:
  InputFile(int descriptor, std::uint64_t size) : descriptor_(descriptor), size_(size) {}

  int descriptor_;
  std::uint64_t size_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_INPUT_FILE_H_
