#include "client/array.h"

#include <google/protobuf/message.h>

#include <bit>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bilevel::client {
namespace {

// Reverses the bytes of an element on a big-endian machine: the wire is little-endian.
template <typename T>
T LittleEndian(T element) {
  if constexpr (std::endian::native == std::endian::big) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &element, sizeof(T));
    for (std::size_t i = 0; i < sizeof(T) / 2; ++i) std::swap(bytes[i], bytes[sizeof(T) - 1 - i]);
    std::memcpy(&element, bytes, sizeof(T));
  }
  return element;
}

template <typename T>
v1::Array Raw(std::span<const T> elements, std::initializer_list<int> shape, v1::DType dtype) {
  v1::Array array;
  array.set_dtype(dtype);
  for (const int extent : shape) array.add_shape(extent);
  std::string& raw = *array.mutable_raw();
  raw.resize(elements.size_bytes());
  char* to = raw.data();
  for (const T element : elements) {
    const T wire = LittleEndian(element);
    std::memcpy(to, &wire, sizeof(T));
    to += sizeof(T);
  }
  return array;
}

template <typename T>
absl::StatusOr<std::vector<double>> FromRaw(const std::string& raw) {
  if (raw.size() % sizeof(T) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("raw holds ", raw.size(), " bytes; must be a multiple of the element size ", sizeof(T)));
  }
  std::vector<double> elements;
  elements.reserve(raw.size() / sizeof(T));
  for (std::size_t at = 0; at < raw.size(); at += sizeof(T)) {
    T wire;
    std::memcpy(&wire, raw.data() + at, sizeof(T));
    elements.push_back(static_cast<double>(LittleEndian(wire)));
  }
  return elements;
}

absl::StatusOr<std::vector<double>> FromRaw(const v1::Array& array) {
  switch (array.dtype()) {
    case v1::DTYPE_F64:
      return FromRaw<double>(array.raw());
    case v1::DTYPE_F32:
      return FromRaw<float>(array.raw());
    case v1::DTYPE_U32:
      return FromRaw<std::uint32_t>(array.raw());
    case v1::DTYPE_U64:
      return FromRaw<std::uint64_t>(array.raw());
    case v1::DTYPE_U8:
      return FromRaw<std::uint8_t>(array.raw());
    default:
      return absl::InvalidArgumentError(absl::StrCat("dtype is ", static_cast<int>(array.dtype()),
                                                     "; raw elements need one of F64, F32, U32, U64, U8"));
  }
}

void MakeArrayReadable(v1::Array& array) {
  if (!array.has_raw()) return;
  const absl::StatusOr<std::vector<double>> elements = FromRaw(array);
  if (!elements.ok()) return;
  if (array.dtype() == v1::DTYPE_F64 || array.dtype() == v1::DTYPE_F32) {
    array.mutable_values()->mutable_list()->Add(elements->begin(), elements->end());
  } else {
    for (const double element : *elements) {
      if (element > std::numeric_limits<std::uint32_t>::max()) return;
    }
    auto& indices = *array.mutable_indices()->mutable_list();
    for (const double element : *elements) indices.Add(static_cast<std::uint32_t>(element));
  }
  // F32 stays: it tells the server that row sums were rounded to it.
  if (array.dtype() != v1::DTYPE_F32) array.clear_dtype();
}

}  // namespace

v1::Array MakeArray(std::span<const double> elements, std::initializer_list<int> shape) {
  return Raw(elements, shape, v1::DTYPE_F64);
}
v1::Array MakeArray(std::span<const std::uint32_t> elements, std::initializer_list<int> shape) {
  return Raw(elements, shape, v1::DTYPE_U32);
}
v1::Array MakeArray(std::span<const std::uint64_t> elements, std::initializer_list<int> shape) {
  return Raw(elements, shape, v1::DTYPE_U64);
}
v1::Array MakeArray(std::span<const std::uint8_t> elements, std::initializer_list<int> shape) {
  return Raw(elements, shape, v1::DTYPE_U8);
}

absl::StatusOr<std::vector<double>> ToVector(const v1::Array& array) {
  switch (array.data_case()) {
    case v1::Array::kRaw:
      return FromRaw(array);
    case v1::Array::kValues:
      return std::vector<double>(array.values().list().begin(), array.values().list().end());
    case v1::Array::kIndices:
      return std::vector<double>(array.indices().list().begin(), array.indices().list().end());
    default:
      return std::vector<double>();
  }
}

void MakeReadable(google::protobuf::Message& message) {
  if (auto* array = google::protobuf::DynamicCastToGenerated<v1::Array>(&message)) {
    MakeArrayReadable(*array);
    return;
  }
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const google::protobuf::FieldDescriptor* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      MakeReadable(*reflection.MutableMessage(&message, field));
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      MakeReadable(*reflection.MutableRepeatedMessage(&message, field, i));
    }
  }
}

}  // namespace bilevel::client
