#include "client/cli/npz.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bilevel::client {
namespace {

// Numpy's take 128 bytes, those of structured arrays more.
constexpr std::size_t kLongestHeader = 1 << 16;

absl::Status At(const std::string& place, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(place, ": ", std::string(status.message())));
}

absl::StatusOr<NpyHeader> ReadHeader(ZipStream& stream) {
  std::string header(std::min<std::uint64_t>(stream.left(), kNpyPrefixBytes), '\0');
  if (absl::Status status = stream.Read(header); !status.ok()) return status;
  const absl::StatusOr<std::size_t> bytes = NpyHeaderBytes(header);
  if (!bytes.ok()) return bytes.status();
  if (*bytes < header.size() || *bytes > kLongestHeader || *bytes - header.size() > stream.left()) {
    return absl::InvalidArgumentError("ends within its header");
  }
  const std::size_t begin = header.size();
  header.resize(*bytes);
  if (absl::Status status = stream.Read(std::span(header).subspan(begin)); !status.ok()) return status;
  absl::StatusOr<NpyHeader> parsed = ParseNpyHeader(header);
  if (!parsed.ok()) return parsed.status();
  if (parsed->structured() || parsed->fields.size() != 1) {
    return absl::InvalidArgumentError("is a structured array; must be plain numbers");
  }
  if (!parsed->Fits(stream.left())) {
    return absl::InvalidArgumentError(
        absl::StrCat("holds ", stream.left(), " bytes behind its header, not what its shape says"));
  }
  return parsed;
}

}  // namespace

NpzArray::NpzArray(std::string place, NpyHeader header, ZipStream stream)
    : place_(std::move(place)), header_(std::move(header)), stream_(std::move(stream)) {
  for (const std::size_t extent : header_.shape) count_ *= extent;
}

absl::Status NpzArray::ReadRaw(std::span<char> elements) {
  absl::Status status = stream_.Read(elements);
  return status.ok() ? status : At(place_, status);
}

absl::Status NpzArray::Wrong(const std::string& what) const {
  return absl::InvalidArgumentError(absl::StrCat(place_, ": ", what));
}

absl::StatusOr<Npz> Npz::Open(const std::string& path) {
  absl::StatusOr<InputFile> file = InputFile::Open(path);
  if (!file.ok()) return At(path, file.status());
  absl::StatusOr<std::vector<ZipMember>> members = ReadZipDirectory(*file);
  if (!members.ok()) return At(path, members.status());
  return Npz(path, *std::move(file), *std::move(members));
}

const ZipMember* Npz::Find(const std::string& name) const {
  const std::string member = name + ".npy";
  const auto found =
      std::find_if(members_.begin(), members_.end(), [&member](const ZipMember& m) { return m.name == member; });
  return found == members_.end() ? nullptr : &*found;
}

std::vector<std::string> Npz::names() const {
  std::vector<std::string> names;
  for (const ZipMember& member : members_) {
    names.push_back(member.name.ends_with(".npy") ? member.name.substr(0, member.name.size() - 4) : member.name);
  }
  return names;
}

absl::Status Npz::Wrong(const std::string& name, const std::string& what) const {
  return absl::InvalidArgumentError(absl::StrCat(path_, ": ", name, ": ", what));
}

absl::StatusOr<NpzArray> Npz::Read(const std::string& name) const {
  const std::string place = absl::StrCat(path_, ": ", name);
  const ZipMember* member = Find(name);
  if (member == nullptr) return absl::NotFoundError(absl::StrCat(path_, ": has no member ", name));
  absl::StatusOr<ZipStream> stream = ZipStream::Open(file_, *member);
  if (!stream.ok()) return At(place, stream.status());
  absl::StatusOr<NpyHeader> header = ReadHeader(*stream);
  if (!header.ok()) return At(place, header.status());
  return NpzArray(place, *std::move(header), *std::move(stream));
}

}  // namespace bilevel::client
