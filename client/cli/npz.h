// Arrays of an .npz file, each read as a stream of numbers.
//
// Errors name the file and the member.

#ifndef BILEVEL_CLIENT_CLI_NPZ_H_
#define BILEVEL_CLIENT_CLI_NPZ_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/npy.h"
#include "client/cli/zip.h"

namespace bilevel::client {

// One array: plain numbers, or text, in C order, as long as its shape says.
class NpzArray {
 public:
  const std::vector<std::size_t>& shape() const { return header_.shape; }
  const NpyField& field() const { return header_.fields.front(); }
  // Elements of all; the product of the shape.
  std::uint64_t count() const { return count_; }

  // Elements as they lie, of field().size bytes each. INVALID_ARGUMENT when the archive is damaged.
  absl::Status ReadRaw(std::span<char> elements);

  // All elements, each given to `take` as const char*, in order; `take` returns a status.
  template <typename Take>
  absl::Status ForEach(Take take) {
    const std::size_t size = field().size;
    std::vector<char> piece;
    for (std::uint64_t done = 0; done < count_;) {
      const std::uint64_t batch = std::min(count_ - done, kPieceBytes / size + 1);
      piece.resize(batch * size);
      if (absl::Status status = ReadRaw(piece); !status.ok()) return status;
      for (std::uint64_t i = 0; i < batch; ++i) {
        if (absl::Status status = take(done + i, piece.data() + i * size); !status.ok()) return status;
      }
      done += batch;
    }
    return absl::OkStatus();
  }

  // "FILE: NAME: what".
  absl::Status Wrong(const std::string& what) const;

 private:
  friend class Npz;
  static constexpr std::uint64_t kPieceBytes = 1 << 18;

  NpzArray(std::string place, NpyHeader header, ZipStream stream);

  std::string place_;
  NpyHeader header_;
  std::uint64_t count_ = 1;
  ZipStream stream_;
};

class Npz {
 public:
  static absl::StatusOr<Npz> Open(const std::string& path);

  bool Has(const std::string& name) const { return Find(name) != nullptr; }
  std::vector<std::string> names() const;
  // "FILE: NAME: what".
  absl::Status Wrong(const std::string& name, const std::string& what) const;

  // NOT_FOUND where there is none of this name. Valid while the Npz is, which must stay in its place.
  absl::StatusOr<NpzArray> Read(const std::string& name) const;

 private:
  Npz(std::string path, InputFile file, std::vector<ZipMember> members)
      : path_(std::move(path)), file_(std::move(file)), members_(std::move(members)) {}
  const ZipMember* Find(const std::string& name) const;

  std::string path_;
  InputFile file_;
  std::vector<ZipMember> members_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_NPZ_H_
