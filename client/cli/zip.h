// Zip archives as numpy writes them (.npz): members that are stored or deflated, 64-bit sizes, no encryption.
//
// https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. Sizes are believed as far as the file can hold them:
// whoever reads a member may take memory for all of it.

#ifndef BILEVEL_CLIENT_CLI_ZIP_H_
#define BILEVEL_CLIENT_CLI_ZIP_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/input_file.h"

namespace bilevel::client {

struct ZipMember {
  std::string name;
  bool deflated = false;
  std::uint32_t crc = 0;
  std::uint64_t stored_bytes = 0;  // in the archive
  std::uint64_t bytes = 0;         // of what it holds
  std::uint64_t header = 0;        // where its local header begins
};

// The members of an archive. INVALID_ARGUMENT when it is none, or is cut off.
absl::StatusOr<std::vector<ZipMember>> ReadZipDirectory(const InputFile& file);

// A member's bytes, from the first to the last.
class ZipStream {
 public:
  // The file must outlive it. INVALID_ARGUMENT when the member does not lie within the file.
  static absl::StatusOr<ZipStream> Open(const InputFile& file, const ZipMember& member);
  ZipStream(ZipStream&&) noexcept;
  ~ZipStream();

  // That are not read yet.
  std::uint64_t left() const { return left_; }

  // The next bytes. INVALID_ARGUMENT when the member ends before, when its deflated bytes are none, and, with the last
  // ones, when they are not those of its checksum.
  absl::Status Read(std::span<char> piece);

 private:
  class Inflater;

  ZipStream(const InputFile& file, const ZipMember& member, std::uint64_t begin);

  const InputFile* file_;
  std::uint64_t at_;                    // in the file
  std::uint64_t end_;                   // in the file
  std::uint64_t left_;                  // of what the member holds
  std::uint32_t crc_;                   // of all
  std::uint32_t sum_ = 0;               // of what was read
  std::unique_ptr<Inflater> inflater_;  // of a deflated member
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_ZIP_H_
