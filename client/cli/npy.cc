#include "client/cli/npy.h"

#include <bit>
#include <cstring>
#include <map>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace bilevel::client {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

constexpr char kMagic[] = "\x93NUMPY";
constexpr std::size_t kMagicBytes = 6;
constexpr std::size_t kAlignment = 64;

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

// The Python literals that numpy writes: dict, list, tuple, 'text', True, False, whole numbers.
struct Literal {
  enum class Kind { kText, kWord, kSequence, kDict } kind = Kind::kWord;
  std::string text;            // of kText and kWord
  std::vector<Literal> items;  // of kSequence; of kDict key, value, key, value, ...

  const Literal* Find(const std::string& key) const {
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      if (items[i].text == key) return &items[i + 1];
    }
    return nullptr;
  }
};

class LiteralParser {
 public:
  explicit LiteralParser(const std::string& text) : text_(text) {}

  std::optional<Literal> Parse() {
    std::optional<Literal> literal = Value(0);
    Blanks();
    return at_ == text_.size() ? literal : std::nullopt;
  }

 private:
  void Blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool Take(char c) {
    Blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::optional<Literal> Value(int depth) {
    constexpr int kMostDepth = 8;
    if (depth > kMostDepth) return std::nullopt;
    for (const char quote : {'\'', '"'}) {
      if (Take(quote)) return Text(quote);
    }
    if (Take('(')) return Items(')', Literal::Kind::kSequence, depth);
    if (Take('[')) return Items(']', Literal::Kind::kSequence, depth);
    if (Take('{')) return Items('}', Literal::Kind::kDict, depth);
    Literal word{.kind = Literal::Kind::kWord, .text = "", .items = {}};
    while (at_ < text_.size() && std::strchr(" \n,:()[]{}'\"", text_[at_]) == nullptr) word.text += text_[at_++];
    return word.text.empty() ? std::nullopt : std::optional(word);
  }

  std::optional<Literal> Text(char quote) {
    const std::size_t end = text_.find(quote, at_);
    if (end == std::string::npos) return std::nullopt;
    Literal literal{.kind = Literal::Kind::kText, .text = text_.substr(at_, end - at_), .items = {}};
    at_ = end + 1;
    if (literal.text.find('\\') != std::string::npos) return std::nullopt;
    return literal;
  }

  std::optional<Literal> Items(char close, Literal::Kind kind, int depth) {
    Literal literal{.kind = kind, .text = "", .items = {}};
    while (!Take(close)) {
      std::optional<Literal> item = Value(depth + 1);
      if (!item) return std::nullopt;
      literal.items.push_back(*std::move(item));
      if (kind == Literal::Kind::kDict) {
        std::optional<Literal> value = Take(':') ? Value(depth + 1) : std::nullopt;
        if (!value) return std::nullopt;
        literal.items.push_back(*std::move(value));
      }
      if (Take(',')) continue;
      if (!Take(close)) return std::nullopt;
      break;
    }
    return literal;
  }

  const std::string& text_;
  std::size_t at_ = 0;
};

absl::StatusOr<std::vector<std::size_t>> ParseShape(const Literal& literal) {
  std::vector<std::size_t> shape;
  for (const Literal& item : literal.items) {
    std::uint64_t extent = 0;
    if (!absl::SimpleAtoi(item.text, &extent)) return Wrong(absl::StrCat("the header's shape has ", item.text));
    shape.push_back(extent);
  }
  return shape;
}

// "<f8", "|u1", ...
absl::Status ParseType(const std::string& text, NpyField& field) {
  if (text.starts_with(">")) return Wrong(absl::StrCat("the type ", text, " is big-endian; must be little-endian"));
  std::uint32_t size = 0;
  const bool known = text.size() >= 3 && (text[0] == '<' || text[0] == '|' || text[0] == '=') &&
                     absl::SimpleAtoi(text.substr(2), &size);
  const char type = known ? text[1] : '?';
  const bool whole = (type == 'i' || type == 'u') && (size == 1 || size == 2 || size == 4 || size == 8);
  const bool text_of_bytes = type == 'S' && size > 0;
  if (!whole && !text_of_bytes && !(type == 'f' && (size == 4 || size == 8)) && !(type == 'b' && size == 1)) {
    return Wrong(
        absl::StrCat("the type ", text, " is not known; there are bool, (u)int8 to (u)int64, float32, float64"));
  }
  field.type = type;
  field.size = size;
  return absl::OkStatus();
}

absl::Status ParseFields(const Literal& descr, NpyHeader& array) {
  if (descr.kind == Literal::Kind::kText) {
    array.fields.emplace_back();
    if (absl::Status status = ParseType(descr.text, array.fields.back()); !status.ok()) return status;
    array.record_bytes = array.fields.back().size;
    return absl::OkStatus();
  }
  for (const Literal& item : descr.items) {
    if (item.items.size() < 2 || item.items[1].kind != Literal::Kind::kText) {
      return Wrong("the header's descr has a field that is no (name, type) or (name, type, shape)");
    }
    NpyField field;
    field.name = item.items[0].text;
    if (absl::Status status = ParseType(item.items[1].text, field); !status.ok()) {
      return Wrong(absl::StrCat("field ", field.name, ": ", std::string(status.message())));
    }
    if (item.items.size() > 2) {
      const absl::StatusOr<std::vector<std::size_t>> shape = ParseShape(item.items[2]);
      if (!shape.ok()) return shape.status();
      if (shape->size() != 1) return Wrong(absl::StrCat("field ", field.name, " is no row of numbers"));
      field.count = shape->front();
    }
    field.offset = array.record_bytes;
    array.record_bytes += field.size * field.count;
    array.fields.push_back(std::move(field));
  }
  return array.fields.empty() ? Wrong("the header's descr has no fields") : absl::OkStatus();
}

template <typename T>
T Load(const char* at) {
  T number;
  std::memcpy(&number, at, sizeof(T));
  return number;
}

}  // namespace

std::uint64_t NpyField::Integer(const char* at) const {
  const bool is_signed = type == 'i';
  switch (size) {
    case 1:
      return is_signed ? static_cast<std::uint64_t>(Load<std::int8_t>(at)) : Load<std::uint8_t>(at);
    case 2:
      return is_signed ? static_cast<std::uint64_t>(Load<std::int16_t>(at)) : Load<std::uint16_t>(at);
    case 4:
      return is_signed ? static_cast<std::uint64_t>(Load<std::int32_t>(at)) : Load<std::uint32_t>(at);
    default:
      return Load<std::uint64_t>(at);
  }
}

double NpyField::Real(const char* at) const {
  if (type == 'f') return size == sizeof(float) ? static_cast<double>(Load<float>(at)) : Load<double>(at);
  const std::uint64_t number = Integer(at);
  return type == 'i' ? static_cast<double>(static_cast<std::int64_t>(number)) : static_cast<double>(number);
}

bool NpyHeader::Fits(std::uint64_t data_bytes) const {
  if (record_bytes == 0 || data_bytes % record_bytes != 0) return false;
  // Divided, not multiplied: extents may be anything.
  const std::uint64_t records = data_bytes / record_bytes;
  std::uint64_t product = 1;
  for (const std::size_t extent : shape) {
    if (extent != 0 && product > records / extent) return false;
    product *= extent;
  }
  return product == records;
}

std::uint64_t NpyArray::Integer(std::size_t record, const NpyField& field, std::size_t i) const {
  return field.Integer(data.data() + record * record_bytes + field.offset + i * field.size);
}

double NpyArray::Real(std::size_t record, const NpyField& field, std::size_t i) const {
  return field.Real(data.data() + record * record_bytes + field.offset + i * field.size);
}

absl::StatusOr<std::size_t> NpyHeaderBytes(std::string_view prefix) {
  constexpr std::size_t kVersionAt = kMagicBytes;
  if (prefix.size() < kMagicBytes + 4 || std::memcmp(prefix.data(), kMagic, kMagicBytes) != 0) {
    return Wrong("is no .npy file");
  }
  const int version = static_cast<unsigned char>(prefix[kVersionAt]);
  if (version != 1 && version != 2) return Wrong(absl::StrCat("has version ", version, " of .npy; must be 1 or 2"));
  const std::size_t begin = kMagicBytes + 2 + (version == 1 ? 2 : 4);
  if (prefix.size() < begin) return Wrong("ends within its header");
  const char* length_at = prefix.data() + kMagicBytes + 2;
  return begin + (version == 1 ? Load<std::uint16_t>(length_at) : Load<std::uint32_t>(length_at));
}

absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view bytes) {
  const absl::StatusOr<std::size_t> end = NpyHeaderBytes(bytes);
  if (!end.ok()) return end.status();
  if (bytes.size() < *end) return Wrong("ends within its header");
  const std::size_t begin = bytes[kMagicBytes] == 1 ? kMagicBytes + 4 : kMagicBytes + 6;
  const std::string text(bytes.substr(begin, *end - begin));
  const std::optional<Literal> literal = LiteralParser(text).Parse();
  const Literal* descr = literal ? literal->Find("descr") : nullptr;
  const Literal* order = literal ? literal->Find("fortran_order") : nullptr;
  const Literal* shape = literal ? literal->Find("shape") : nullptr;
  if (descr == nullptr || order == nullptr || shape == nullptr || shape->kind != Literal::Kind::kSequence) {
    return Wrong("has a header that is not {'descr': ..., 'fortran_order': ..., 'shape': (...)}");
  }
  NpyHeader header;
  header.header_bytes = *end;
  absl::StatusOr<std::vector<std::size_t>> extents = ParseShape(*shape);
  if (!extents.ok()) return extents.status();
  header.shape = *std::move(extents);
  if (order->text != "False" && header.shape.size() > 1) {
    return Wrong("is in Fortran order; must be in C order: numpy.ascontiguousarray");
  }
  if (absl::Status status = ParseFields(*descr, header); !status.ok()) return status;
  if (header.record_bytes == 0) return Wrong("has records of no bytes");
  return header;
}

absl::StatusOr<NpyArray> ParseNpy(const std::string& bytes) {
  absl::StatusOr<NpyHeader> header = ParseNpyHeader(bytes);
  if (!header.ok()) return header.status();
  for (const NpyField& field : header->fields) {
    if (field.type == 'S') return Wrong("holds text; must hold numbers");
  }
  NpyArray array;
  static_cast<NpyHeader&>(array) = *std::move(header);
  array.data = bytes.substr(array.header_bytes);
  if (!array.Fits(array.data.size())) {
    return Wrong(absl::StrCat("holds ", array.data.size(), " bytes behind its header, not what its shape says"));
  }
  return array;
}

std::string WriteNpy(std::span<const double> numbers, std::span<const std::size_t> shape) {
  std::string header = "{'descr': '<f8', 'fortran_order': False, 'shape': (";
  for (const std::size_t extent : shape) absl::StrAppend(&header, extent, ", ");
  header += "), }";
  const std::size_t begin = kMagicBytes + 4;
  header.append(kAlignment - 1 - (begin + header.size()) % kAlignment, ' ');
  header += '\n';
  std::string bytes(kMagic, kMagicBytes);
  bytes += '\x01';
  bytes += '\0';
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes());
  return bytes;
}

}  // namespace bilevel::client
