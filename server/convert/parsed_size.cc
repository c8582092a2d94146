#include "server/convert/parsed_size.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <unordered_map>

namespace bilevel::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MessageFactory;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// The allocator's, and a pointer to it in an array that has grown to twice what is in use.
constexpr double kObject = 16 + 16;
// In a set that has grown likewise.
constexpr double kUnknownField = 32;
// Strings above this grow as they are read.
constexpr double kReservedString = 50e6;
// Of an unknown group, whose contents are looked at no further.
constexpr double kUnknownByte = 64;
// Between two looks at whether anybody waits.
constexpr int kFieldsBetweenLooks = 4096;

double StringBytes(double length) {
  return kObject + kUnknownField + sizeof(std::string) + (length > kReservedString ? 2 : 1) * length;
}

class Scan {
 public:
  Scan(CodedInputStream& input, const ScanLimits& limits) : input_(input), limits_(limits) {}

  double bytes() const { return bytes_; }
  // Looked no further.
  bool stopped() const { return stopped_; }

  // The fields of a message, to the end of the bytes or the limit.
  bool Fields(const Descriptor& type) {
    bytes_ += EmptyBytes(type);
    for (;;) {
      const uint32_t tag = input_.ReadTag();
      if (tag == 0) return true;
      if (!Field(type, tag) || Stops()) return false;
    }
  }

 private:
  bool Stops() {
    const bool looks = ++fields_ % kFieldsBetweenLooks == 0;
    stopped_ = stopped_ || bytes_ > limits_.most || (looks && limits_.abandoned());
    return stopped_;
  }

  // Of a message that says nothing.
  double EmptyBytes(const Descriptor& type) {
    const auto [found, is_new] = empty_bytes_.try_emplace(&type, 0);
    if (is_new) {
      found->second = static_cast<double>(MessageFactory::generated_factory()->GetPrototype(&type)->SpaceUsedLong());
    }
    return found->second;
  }

  bool Field(const Descriptor& message, uint32_t tag) {
    const FieldDescriptor* field = message.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const auto type = WireFormatLite::GetTagWireType(tag);
    if (type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) return Delimited(field);
    const int before = input_.CurrentPosition();
    if (!WireFormatLite::SkipField(&input_, tag)) return false;
    // An element of a list, or an unknown field.
    const bool group = type == WireFormatLite::WIRETYPE_START_GROUP;
    bytes_ += group ? kUnknownByte * (input_.CurrentPosition() - before + 2) : kUnknownField;
    return true;
  }

  bool Delimited(const FieldDescriptor* field) {
    int length = 0;
    if (!input_.ReadVarintSizeAsInt(&length)) return false;
    if (field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return Inner(*field, length);
    const bool packed = field != nullptr && field->is_packable();
    bytes_ += packed ? Packed(field->type()) * length : StringBytes(length);
    return input_.Skip(length);
  }

  bool Inner(const FieldDescriptor& field, int length) {
    bytes_ += kObject;
    const auto outer = input_.IncrementRecursionDepthAndPushLimit(length);
    if (outer.second < 0) return false;
    if (!Fields(*field.message_type())) return false;
    return input_.DecrementRecursionDepthAndPopLimit(outer.first);
  }

  // Bytes for each on the wire: lists of varints grow by doubling.
  static double Packed(FieldDescriptor::Type type) {
    switch (type) {
      case FieldDescriptor::TYPE_DOUBLE:
      case FieldDescriptor::TYPE_FLOAT:
      case FieldDescriptor::TYPE_FIXED64:
      case FieldDescriptor::TYPE_FIXED32:
      case FieldDescriptor::TYPE_SFIXED64:
      case FieldDescriptor::TYPE_SFIXED32:
        return 2;
      default:
        return 16;
    }
  }

  CodedInputStream& input_;
  const ScanLimits& limits_;
  std::unordered_map<const Descriptor*, double> empty_bytes_;
  double bytes_ = 0;
  int64_t fields_ = 0;
  bool stopped_ = false;
};

}  // namespace

std::optional<double> ParsedBytes(const Message& prototype, google::protobuf::io::ZeroCopyInputStream* bytes,
                                  const ScanLimits& limits) {
  CodedInputStream input(bytes);
  Scan scan(input, limits);
  const bool whole = scan.Fields(*prototype.GetDescriptor()) && input.ConsumedEntireMessage();
  if (!whole && !scan.stopped()) return std::nullopt;
  return scan.bytes();
}

}  // namespace bilevel::server
