#include "client/cli/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace bilevel::client {

absl::StatusOr<InputFile> InputFile::Open(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat about {};
  if (descriptor < 0 || fstat(descriptor, &about) != 0) {
    if (descriptor >= 0) close(descriptor);
    return absl::NotFoundError("cannot be read; must name a file");
  }
  if (!S_ISREG(about.st_mode)) {
    close(descriptor);
    return absl::InvalidArgumentError("is no file on a disk, which can be read from anywhere");
  }
  return InputFile(descriptor, static_cast<std::uint64_t>(about.st_size));
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::Status InputFile::Read(std::uint64_t offset, std::span<char> piece) const {
  if (offset > size_ || piece.size() > size_ - offset) return absl::OutOfRangeError("ends too early");
  while (!piece.empty()) {
    const ssize_t count = pread(descriptor_, piece.data(), piece.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return absl::OutOfRangeError("cannot be read to its end");
    piece = piece.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return absl::OkStatus();
}

}  // namespace bilevel::client
