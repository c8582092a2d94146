#include "server/convert/array.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel::server {
namespace {

static_assert(std::endian::native == std::endian::little, "raw arrays are copied as they are");

std::string DTypeText(v1::DType dtype) {
  return v1::DType_IsValid(dtype) ? v1::DType_Name(dtype) : std::to_string(static_cast<int>(dtype));
}

// 0 for types that are not valid with `raw`.
size_t ElementSize(v1::DType dtype) {
  switch (dtype) {
    case v1::DTYPE_F64:
    case v1::DTYPE_U64:
      return 8;
    case v1::DTYPE_F32:
    case v1::DTYPE_U32:
      return 4;
    case v1::DTYPE_U8:
      return 1;
    default:
      return 0;
  }
}

absl::Status WrongDType(const v1::Array& array, std::string_view accepted) {
  return FieldError("dtype", absl::StrCat("is ", DTypeText(array.dtype()), "; must be ", AbslText(accepted)));
}

absl::Status WrongForm(const v1::Array& array, std::string_view accepted) {
  const char* form = array.has_values() ? "values" : "indices";
  return FieldError(form, absl::StrCat("is set; the elements must be ", AbslText(accepted)));
}

std::string ShapeText(const auto& extents) {
  std::string text = "[";
  for (const auto extent : extents) absl::StrAppend(&text, text.size() > 1 ? ", " : "", extent);
  return text + "]";
}

// Copies raw elements of type From into To, checking that they fit.
template <typename From, typename To>
absl::Status CopyRaw(const std::string& raw, To* to) {
  const size_t count = raw.size() / sizeof(From);
  if constexpr (std::is_same_v<From, To>) {
    if (count > 0) std::memcpy(to, raw.data(), raw.size());
  } else {
    const char* from = raw.data();
    for (size_t i = 0; i < count; ++i, from += sizeof(From)) {
      From element;
      std::memcpy(&element, from, sizeof(From));
      if constexpr (sizeof(From) > sizeof(To)) {
        if (element > std::numeric_limits<To>::max()) {
          return FieldError("", absl::StrCat("entry ", i, " is ", element, "; must be below 2^32"));
        }
      }
      to[i] = static_cast<To>(element);
    }
  }
  return absl::OkStatus();
}

absl::Status CopyReals(const v1::Array& array, double* to) {
  constexpr char kAccepted[] = "DTYPE_F64 or DTYPE_F32";
  const bool narrow = array.dtype() == v1::DTYPE_F32;
  switch (array.data_case()) {
    case v1::Array::kRaw:
      if (!narrow && array.dtype() != v1::DTYPE_F64) return WrongDType(array, kAccepted);
      return narrow ? CopyRaw<float>(array.raw(), to) : CopyRaw<double>(array.raw(), to);
    case v1::Array::kValues:
      if (!narrow && array.dtype() != v1::DTYPE_F64 && array.dtype() != v1::DTYPE_UNSPECIFIED) {
        return WrongDType(array, kAccepted);
      }
      std::copy(array.values().list().begin(), array.values().list().end(), to);
      return absl::OkStatus();
    case v1::Array::kIndices:
      return WrongForm(array, "`raw` or `values`");
    default:
      return absl::OkStatus();
  }
}

absl::Status CheckFinite(const double* elements, int64_t count) {
  // The common case in one vectorised pass: x - x is 0 for finite numbers and NaN for all others.
  const Eigen::Map<const Eigen::ArrayXd> x(elements, count);
  if ((x - x).sum() == 0) return absl::OkStatus();  // NOLINT(misc-redundant-expression): not for NaN and infinity
  const int64_t at = std::find_if_not(elements, elements + count, [](double e) { return std::isfinite(e); }) - elements;
  return FieldError("", absl::StrCat("entry ", at, " is ", ToText(elements[at]), "; must be finite"));
}

}  // namespace

absl::StatusOr<int64_t> CountElements(const v1::Array& array) {
  switch (array.data_case()) {
    case v1::Array::kRaw: {
      const size_t size = ElementSize(array.dtype());
      if (size == 0) return WrongDType(array, "one of the named types with `raw`");
      if (array.raw().size() % size != 0) {
        return FieldError("raw", absl::StrCat("has ", array.raw().size(), " bytes; must be a multiple of ", size,
                                              " for ", DTypeText(array.dtype())));
      }
      return static_cast<int64_t>(array.raw().size() / size);
    }
    case v1::Array::kValues:
      return array.values().list_size();
    case v1::Array::kIndices:
      return array.indices().list_size();
    default:
      return 0;
  }
}

absl::Status CheckShape(const v1::Array& array, std::span<const int64_t> extents) {
  if (array.shape_size() != 0 &&
      !std::equal(array.shape().begin(), array.shape().end(), extents.begin(), extents.end())) {
    return FieldError("shape", absl::StrCat("is ", ShapeText(array.shape()), "; must be ", ShapeText(extents)));
  }
  ASSIGN_OR_RETURN(const int64_t count, CountElements(array));
  int64_t expected = 1;
  bool overflow = false;
  for (const int64_t extent : extents) overflow |= __builtin_mul_overflow(expected, extent, &expected);
  if (overflow || count != expected) {
    return FieldError("", absl::StrCat("has ", count, " entries; must have ", ShapeText(extents),
                                       overflow ? "" : absl::StrCat(" = ", expected)));
  }
  return absl::OkStatus();
}

absl::StatusOr<Vector> DecodeReals(const v1::Array& array, std::initializer_list<int64_t> extents, Finite finite) {
  RETURN_IF_ERROR(CheckShape(array, std::span(extents.begin(), extents.size())));
  ASSIGN_OR_RETURN(const int64_t count, CountElements(array));
  Vector elements(count);
  RETURN_IF_ERROR(CopyReals(array, elements.data()));
  if (finite == Finite::kRequired) RETURN_IF_ERROR(CheckFinite(elements.data(), count));
  return elements;
}

absl::StatusOr<std::vector<double>> DecodeRealList(const v1::Array& array, Finite finite) {
  ASSIGN_OR_RETURN(const int64_t count, CountElements(array));
  std::vector<double> elements(static_cast<size_t>(count));
  RETURN_IF_ERROR(CopyReals(array, elements.data()));
  if (finite == Finite::kRequired) RETURN_IF_ERROR(CheckFinite(elements.data(), count));
  return elements;
}

template <typename T>
absl::StatusOr<std::vector<T>> DecodeIndexList(const v1::Array& array) {
  constexpr char kAccepted[] = "DTYPE_U64 or DTYPE_U32";
  ASSIGN_OR_RETURN(const int64_t count, CountElements(array));
  std::vector<T> elements(static_cast<size_t>(count));
  const bool wide = array.dtype() == v1::DTYPE_U64;
  switch (array.data_case()) {
    case v1::Array::kRaw:
      if (!wide && array.dtype() != v1::DTYPE_U32) return WrongDType(array, kAccepted);
      if (wide) {
        RETURN_IF_ERROR((CopyRaw<uint64_t, T>(array.raw(), elements.data())));
      } else {
        RETURN_IF_ERROR((CopyRaw<uint32_t, T>(array.raw(), elements.data())));
      }
      break;
    case v1::Array::kIndices:
      if (!wide && array.dtype() != v1::DTYPE_U32 && array.dtype() != v1::DTYPE_UNSPECIFIED) {
        return WrongDType(array, kAccepted);
      }
      std::copy(array.indices().list().begin(), array.indices().list().end(), elements.begin());
      break;
    case v1::Array::kValues:
      return WrongForm(array, "`raw` or `indices`");
    default:
      break;
  }
  return elements;
}

template absl::StatusOr<std::vector<uint32_t>> DecodeIndexList(const v1::Array& array);
template absl::StatusOr<std::vector<uint64_t>> DecodeIndexList(const v1::Array& array);

absl::StatusOr<std::vector<uint8_t>> DecodeMask(const v1::Array& array, std::initializer_list<int64_t> extents) {
  RETURN_IF_ERROR(CheckShape(array, std::span(extents.begin(), extents.size())));
  ASSIGN_OR_RETURN(const int64_t count, CountElements(array));
  if (array.has_values()) return WrongForm(array, "`raw` or `indices`");
  if (array.dtype() != v1::DTYPE_U8 && (array.has_raw() || array.dtype() != v1::DTYPE_UNSPECIFIED)) {
    return WrongDType(array, "DTYPE_U8");
  }
  std::vector<uint8_t> mask(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t flag = array.has_raw() ? static_cast<uint8_t>(array.raw()[static_cast<size_t>(i)])
                                          : array.indices().list(static_cast<int>(i));
    if (flag > 1) return FieldError("", absl::StrCat("entry ", i, " is ", flag, "; must be 0 or 1"));
    mask[static_cast<size_t>(i)] = static_cast<uint8_t>(flag);
  }
  return mask;
}

bool SameArray(const v1::Array& a, const v1::Array& b) {
  const auto same = [](const auto& x, const auto& y) { return std::equal(x.begin(), x.end(), y.begin(), y.end()); };
  return a.dtype() == b.dtype() && a.data_case() == b.data_case() && same(a.shape(), b.shape()) && a.raw() == b.raw() &&
         same(a.values().list(), b.values().list()) && same(a.indices().list(), b.indices().list());
}

void EncodeReals(std::span<const double> elements, std::initializer_list<int64_t> shape, v1::Array* array) {
  array->set_dtype(v1::DTYPE_F64);
  for (const int64_t extent : shape) array->add_shape(static_cast<int32_t>(extent));
  array->mutable_raw()->assign(reinterpret_cast<const char*>(elements.data()), elements.size_bytes());
}

}  // namespace bilevel::server
