#include "client/cli/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bilevel::client {
namespace {

constexpr std::uint32_t kLocalHeader = 0x04034b50, kDirectoryEntry = 0x02014b50, kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64 = 0x06064b50, kEnd64Locator = 0x07064b50;
constexpr std::size_t kLocalHeaderBytes = 30, kDirectoryEntryBytes = 46, kEndBytes = 22;
constexpr std::size_t kEnd64Bytes = 56, kEnd64LocatorBytes = 20;
constexpr std::size_t kLongestComment = 65535;
// Where 16 and 32 bits are not enough, they say so, and an extra field has 64.
constexpr std::uint64_t kSee64 = 0xffffffff;
constexpr std::uint16_t kExtra64 = 1;
constexpr std::uint16_t kEncrypted = 1;
enum Method : std::uint16_t { kStored = 0, kDeflated = 8 };
// More than 1032 bytes a byte deflate cannot say.
constexpr std::uint64_t kMostInflation = 1032;
// Numpy's directories take 100 bytes an array.
constexpr std::uint64_t kLargestDirectory = 16 << 20;
constexpr std::size_t kPieceBytes = 1 << 18;

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

// Little-endian numbers out of bytes, as far as there are any.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  T Take() {
    T number = 0;
    const std::string_view bytes = Skip(sizeof(T));
    if (bytes.size() == sizeof(T)) std::memcpy(&number, bytes.data(), sizeof(T));
    return number;
  }
  std::string_view Skip(std::size_t count) {
    if (count > bytes_.size()) overrun_ = true;
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(taken.size());
    return taken;
  }
  bool overrun() const { return overrun_; }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool overrun_ = false;
};

absl::StatusOr<std::string> ReadPiece(const InputFile& file, std::uint64_t offset, std::uint64_t size) {
  if (offset > file.size() || size > file.size() - offset) return Wrong("is a zip archive that is cut off");
  std::string piece(size, '\0');
  if (absl::Status status = file.Read(offset, piece); !status.ok()) return Wrong("is a zip archive that is cut off");
  return piece;
}

struct Directory {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t members = 0;
};

// With 64 bits; `end` is where the record of the end begins.
absl::StatusOr<Directory> FindDirectory64(const InputFile& file, std::uint64_t end) {
  if (end < kEnd64LocatorBytes) return Wrong("is a zip archive that is cut off");
  const absl::StatusOr<std::string> locator = ReadPiece(file, end - kEnd64LocatorBytes, kEnd64LocatorBytes);
  if (!locator.ok()) return locator.status();
  Fields where(*locator);
  if (where.Take<std::uint32_t>() != kEnd64Locator) return Wrong("is a zip archive without a directory");
  where.Take<std::uint32_t>();
  const absl::StatusOr<std::string> record = ReadPiece(file, where.Take<std::uint64_t>(), kEnd64Bytes);
  if (!record.ok()) return record.status();
  Fields fields(*record);
  if (fields.Take<std::uint32_t>() != kEnd64) return Wrong("is a zip archive without a directory");
  fields.Skip(28);
  Directory directory;
  directory.members = fields.Take<std::uint64_t>();
  directory.bytes = fields.Take<std::uint64_t>();
  directory.offset = fields.Take<std::uint64_t>();
  return directory;
}

absl::StatusOr<Directory> FindDirectory(const InputFile& file) {
  const std::uint64_t tail = std::min<std::uint64_t>(file.size(), kEndBytes + kLongestComment);
  const absl::StatusOr<std::string> bytes = ReadPiece(file, file.size() - tail, tail);
  if (!bytes.ok()) return bytes.status();
  for (std::size_t back = kEndBytes; back <= bytes->size(); ++back) {
    const std::size_t at = bytes->size() - back;
    Fields fields(std::string_view(*bytes).substr(at));
    if (fields.Take<std::uint32_t>() != kEnd) continue;
    fields.Skip(6);
    Directory directory;
    directory.members = fields.Take<std::uint16_t>();
    directory.bytes = fields.Take<std::uint32_t>();
    directory.offset = fields.Take<std::uint32_t>();
    if (fields.Take<std::uint16_t>() != back - kEndBytes) continue;  // the comment is the rest
    if (directory.members != 0xffff && directory.bytes != kSee64 && directory.offset != kSee64) return directory;
    return FindDirectory64(file, file.size() - back);
  }
  return Wrong("is no zip archive, or is cut off");
}

// The 64-bit sizes of a member, in this order, where the 32-bit ones say that there are such.
void TakeSizes64(std::string_view extra, ZipMember& member) {
  for (Fields fields(extra); !fields.empty() && !fields.overrun();) {
    const auto id = fields.Take<std::uint16_t>();
    const auto size = fields.Take<std::uint16_t>();
    Fields sizes(fields.Skip(size));
    if (id != kExtra64) continue;
    for (std::uint64_t* number : {&member.bytes, &member.stored_bytes, &member.header}) {
      if (*number == kSee64 && !sizes.empty()) *number = sizes.Take<std::uint64_t>();
    }
  }
}

absl::StatusOr<ZipMember> TakeMember(Fields& fields) {
  if (fields.Take<std::uint32_t>() != kDirectoryEntry) return Wrong("is a zip archive whose directory is damaged");
  fields.Skip(4);
  const auto flags = fields.Take<std::uint16_t>();
  const auto method = fields.Take<std::uint16_t>();
  fields.Skip(4);
  ZipMember member;
  member.crc = fields.Take<std::uint32_t>();
  member.stored_bytes = fields.Take<std::uint32_t>();
  member.bytes = fields.Take<std::uint32_t>();
  const auto name_bytes = fields.Take<std::uint16_t>();
  const auto extra_bytes = fields.Take<std::uint16_t>();
  const auto comment_bytes = fields.Take<std::uint16_t>();
  fields.Skip(8);
  member.header = fields.Take<std::uint32_t>();
  member.name = std::string(fields.Skip(name_bytes));
  TakeSizes64(fields.Skip(extra_bytes), member);
  fields.Skip(comment_bytes);
  if (fields.overrun()) return Wrong("is a zip archive whose directory is cut off");
  const auto wrong = [&member](const std::string& what) {
    return Wrong(absl::StrCat("member ", member.name, " ", what));
  };
  if ((flags & kEncrypted) != 0) return wrong("is encrypted");
  if (method != kStored && method != kDeflated) {
    return wrong(absl::StrCat("is compressed by method ", method, "; must be stored or deflated, as numpy.savez does"));
  }
  member.deflated = method == kDeflated;
  if (member.deflated ? member.bytes / kMostInflation > member.stored_bytes : member.bytes != member.stored_bytes) {
    return wrong(absl::StrCat("claims ", member.bytes, " bytes, which its ", member.stored_bytes, " cannot hold"));
  }
  return member;
}

}  // namespace

absl::StatusOr<std::vector<ZipMember>> ReadZipDirectory(const InputFile& file) {
  const absl::StatusOr<Directory> directory = FindDirectory(file);
  if (!directory.ok()) return directory.status();
  if (directory->bytes > kLargestDirectory) return Wrong("is a zip archive whose directory is too large for an .npz");
  const absl::StatusOr<std::string> bytes = ReadPiece(file, directory->offset, directory->bytes);
  if (!bytes.ok()) return bytes.status();
  std::vector<ZipMember> members;
  Fields fields(*bytes);
  for (std::uint64_t i = 0; i < directory->members; ++i) {
    absl::StatusOr<ZipMember> member = TakeMember(fields);
    if (!member.ok()) return member.status();
    if (member->header > file.size() || member->stored_bytes > file.size() - member->header) {
      return Wrong(absl::StrCat("member ", member->name, " does not lie within the file"));
    }
    members.push_back(*std::move(member));
  }
  return members;
}

class ZipStream::Inflater {
 public:
  Inflater() { ready_ = inflateInit2(&stream_, -MAX_WBITS) == Z_OK; }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Fills `piece` from the file's bytes [at, end), and moves `at`; false when they end or are damaged.
  bool Read(const InputFile& file, std::uint64_t& at, std::uint64_t end, std::span<char> piece) {
    if (!ready_) return false;
    while (!piece.empty()) {
      if (stream_.avail_in == 0 && at < end) {
        const std::uint64_t size = std::min<std::uint64_t>(end - at, kPieceBytes);
        buffer_.resize(size);
        if (!file.Read(at, buffer_).ok()) return false;
        at += size;
        stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
        stream_.avail_in = static_cast<uInt>(size);
      }
      const std::size_t wanted = std::min<std::size_t>(piece.size(), 1U << 30);
      stream_.next_out = reinterpret_cast<Bytef*>(piece.data());
      stream_.avail_out = static_cast<uInt>(wanted);
      const int code = inflate(&stream_, Z_NO_FLUSH);
      const std::size_t made = wanted - stream_.avail_out;
      piece = piece.subspan(made);
      if (code == Z_STREAM_END) return piece.empty();
      if (code != Z_OK && code != Z_BUF_ERROR) return false;
      if (made == 0 && stream_.avail_in == 0 && at == end) return false;
    }
    return true;
  }

 private:
  z_stream stream_{};
  bool ready_ = false;
  std::string buffer_;
};

ZipStream::ZipStream(const InputFile& file, const ZipMember& member, std::uint64_t begin)
    : file_(&file),
      at_(begin),
      end_(begin + member.stored_bytes),
      left_(member.bytes),
      crc_(member.crc),
      inflater_(member.deflated ? std::make_unique<Inflater>() : nullptr) {}

ZipStream::ZipStream(ZipStream&&) noexcept = default;
ZipStream::~ZipStream() = default;

absl::StatusOr<ZipStream> ZipStream::Open(const InputFile& file, const ZipMember& member) {
  const absl::StatusOr<std::string> header = ReadPiece(file, member.header, kLocalHeaderBytes);
  if (!header.ok()) return header.status();
  Fields fields(*header);
  if (fields.Take<std::uint32_t>() != kLocalHeader) return Wrong("is not where the archive's directory says");
  fields.Skip(22);
  const std::uint64_t name_bytes = fields.Take<std::uint16_t>();
  const std::uint64_t extra_bytes = fields.Take<std::uint16_t>();
  const std::uint64_t begin = member.header + kLocalHeaderBytes + name_bytes + extra_bytes;
  if (begin > file.size() || member.stored_bytes > file.size() - begin) return Wrong("does not lie within the file");
  return ZipStream(file, member, begin);
}

absl::Status ZipStream::Read(std::span<char> piece) {
  if (piece.size() > left_) return Wrong("ends too early");
  if (inflater_ != nullptr) {
    if (!inflater_->Read(*file_, at_, end_, piece)) return Wrong("is deflated, and damaged");
  } else {
    if (!file_->Read(at_, piece).ok()) return Wrong("ends too early");
    at_ += piece.size();
  }
  left_ -= piece.size();
  sum_ = static_cast<std::uint32_t>(crc32_z(sum_, reinterpret_cast<const Bytef*>(piece.data()), piece.size()));
  if (left_ == 0 && sum_ != crc_) return Wrong("is damaged: its bytes are not those of its checksum");
  return absl::OkStatus();
}

}  // namespace bilevel::client
