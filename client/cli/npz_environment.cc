// Environments in .npz files.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/environment_data.h"
#include "client/cli/npz.h"

namespace bilevel::client {
namespace {

std::string ShapeText(const NpzArray& array) { return absl::StrCat("[", absl::StrJoin(array.shape(), ", "), "]"); }

absl::Status CheckKind(const NpzArray& array, bool whole) {
  const char type = array.field().type;
  if (type == 'S') return array.Wrong("holds text; must hold numbers");
  if (whole && type == 'f') return array.Wrong("holds floats; must hold whole numbers");
  return absl::OkStatus();
}

// All elements as T: as they lie where they are of its kind, else each through `convert(i, at, T&)`.
template <typename T, typename Convert>
absl::Status ReadAll(NpzArray& array, char kind, std::vector<T>& numbers, Convert convert) {
  if (absl::Status status = Reserve(numbers, array.count()); !status.ok()) return array.Wrong("is larger than memory");
  if (array.field().type == kind && array.field().size == sizeof(T)) {
    constexpr std::uint64_t kPiece = (1 << 18) / sizeof(T);
    while (numbers.size() < array.count()) {
      const std::uint64_t begin = numbers.size();
      numbers.resize(begin + std::min(array.count() - begin, kPiece));
      const std::span<T> piece = std::span(numbers).subspan(begin);
      const absl::Status status = array.ReadRaw({reinterpret_cast<char*>(piece.data()), piece.size_bytes()});
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }
  return array.ForEach([&](std::uint64_t i, const char* at) {
    T number{};
    absl::Status status = convert(i, at, number);
    numbers.push_back(number);
    return status;
  });
}

// Whole numbers in [0, limit).
template <typename T>
absl::Status ReadWhole(NpzArray& array, std::uint64_t limit, std::vector<T>& numbers) {
  if (absl::Status status = CheckKind(array, /*whole=*/true); !status.ok()) return status;
  const NpyField& field = array.field();
  return ReadAll(array, 'u', numbers, [&](std::uint64_t i, const char* at, T& number) {
    const std::uint64_t wide = field.Integer(at);  // what is negative wraps, beyond any limit
    if (wide >= limit) {
      const std::string text = field.type == 'i' ? absl::StrCat(static_cast<std::int64_t>(wide)) : absl::StrCat(wide);
      return array.Wrong(absl::StrCat("[", i, "] is ", text, "; must be in [0, ", limit, ")"));
    }
    number = static_cast<T>(wide);
    return absl::OkStatus();
  });
}

absl::Status ReadReals(NpzArray& array, std::vector<double>& numbers) {
  if (absl::Status status = CheckKind(array, /*whole=*/false); !status.ok()) return status;
  const NpyField& field = array.field();
  return ReadAll(array, 'f', numbers, [&](std::uint64_t, const char* at, double& number) {
    number = field.Real(at);
    return absl::OkStatus();
  });
}

bool Is(const NpzArray& array, std::initializer_list<std::uint64_t> shape) {
  return std::equal(array.shape().begin(), array.shape().end(), shape.begin(), shape.end());
}

// A scalar, or a list of one.
absl::StatusOr<std::int64_t> ReadCount(const Npz& npz, const std::string& name) {
  absl::StatusOr<NpzArray> array = npz.Read(name);
  if (!array.ok()) return array.status();
  if (array->count() != 1) return array->Wrong("is no single number");
  std::vector<double> number;
  if (absl::Status status = ReadReals(*array, number); !status.ok()) return status;
  constexpr int kMost = std::numeric_limits<int>::max();
  if (!(number[0] >= 1 && number[0] <= kMost) || number[0] != std::floor(number[0])) {
    return array->Wrong(absl::StrCat("is ", number[0], "; must be a whole number in [1, ", kMost, "]"));
  }
  return static_cast<std::int64_t>(number[0]);
}

// From the file, the flag, or both, if they agree.
absl::StatusOr<std::optional<std::int64_t>> Actions(const Npz& npz, std::optional<int> flag) {
  std::optional<std::int64_t> actions;
  if (flag) actions = *flag;
  if (!npz.Has("num_actions")) return actions;
  const absl::StatusOr<std::int64_t> said = ReadCount(npz, "num_actions");
  if (!said.ok()) return said.status();
  if (actions && *actions != *said) {
    return npz.Wrong("num_actions", absl::StrCat("is ", *said, ", and --actions ", *actions));
  }
  return std::optional(*said);
}

absl::Status CheckFormat(const Npz& npz) {
  if (!npz.Has("format")) return absl::OkStatus();
  absl::StatusOr<NpzArray> array = npz.Read("format");
  if (!array.ok()) return array.status();
  constexpr std::size_t kLongest = 16;
  if (array->field().type != 'S' || array->count() != 1 || array->field().size > kLongest) {
    return array->Wrong("is not the short text that scipy.sparse.save_npz writes");
  }
  std::string format(array->field().size, '\0');
  if (absl::Status status = array->ReadRaw(format); !status.ok()) return status;
  format = format.c_str();
  if (format == "csr") return absl::OkStatus();
  return array->Wrong(absl::StrCat("is ", format, "; must be csr: save_npz(file, matrix.tocsr())"));
}

absl::Status ReadProbabilities(NpzArray& array, EnvironmentData& data) {
  if (array.field().type == 'f' && array.field().size == sizeof(float)) {
    return ReadAll(array, 'f', data.probabilities_f32,
                   [](std::uint64_t, const char*, float&) { return absl::OkStatus(); });
  }
  return ReadReals(array, data.probabilities);
}

absl::Status ReadCsr(const Npz& npz, std::optional<std::int64_t> actions, EnvironmentData& data) {
  if (absl::Status status = CheckFormat(npz); !status.ok()) return status;
  absl::StatusOr<NpzArray> shape = npz.Read("shape");
  absl::StatusOr<NpzArray> offsets = npz.Read("indptr");
  absl::StatusOr<NpzArray> columns = npz.Read("indices");
  absl::StatusOr<NpzArray> values = npz.Read("data");
  for (const absl::StatusOr<NpzArray>* array : {&shape, &offsets, &columns, &values}) {
    if (!array->ok()) return array->status();
    if ((*array)->shape().size() != 1)
      return (*array)->Wrong(absl::StrCat("is ", ShapeText(**array), "; must be a list"));
  }
  constexpr std::uint64_t kAny = std::numeric_limits<std::int64_t>::max();
  std::vector<std::uint64_t> extents;
  if (shape->count() != 2) return shape->Wrong("must have two numbers, [S*A, S]");
  if (absl::Status status = ReadWhole(*shape, kAny, extents); !status.ok()) return status;
  if (absl::Status status = SetSizes(extents[0], extents[1], actions, data); !status.ok()) {
    return shape->Wrong(std::string(status.message()));
  }
  if (offsets->count() != extents[0] + 1) {
    return offsets->Wrong(
        absl::StrCat("has ", offsets->count(), " numbers; must have one more than rows, ", extents[0] + 1));
  }
  if (columns->count() != values->count()) {
    return columns->Wrong(
        absl::StrCat("has ", columns->count(), " numbers, and data ", values->count(), "; must be as many"));
  }
  if (absl::Status status = ReadWhole(*offsets, kAny, data.offsets); !status.ok()) return status;
  if (absl::Status status = CheckOffsets(data.offsets, columns->count()); !status.ok()) {
    return offsets->Wrong(std::string(status.message()));
  }
  if (absl::Status status = ReadWhole(*columns, extents[1], data.columns); !status.ok()) return status;
  if (absl::Status status = ReadProbabilities(*values, data); !status.ok()) return status;
  if (absl::Status status = SortRows(data); !status.ok()) return columns->Wrong(std::string(status.message()));
  return absl::OkStatus();
}

template <typename T>
absl::Status ReadDense(NpzArray& array, std::vector<T>& values, EnvironmentData& data) {
  const NpyField& field = array.field();
  const auto states = static_cast<std::uint64_t>(data.num_states);
  data.offsets.push_back(0);
  std::uint32_t column = 0;
  return array.ForEach([&](std::uint64_t, const char* at) {
    if (const double value = field.Real(at); value != 0) {
      data.columns.push_back(column);
      values.push_back(static_cast<T>(value));
    }
    if (++column == states) {
      column = 0;
      data.offsets.push_back(values.size());
    }
    return absl::OkStatus();
  });
}

absl::Status ReadTransitions(const Npz& npz, std::optional<std::int64_t> actions, EnvironmentData& data) {
  absl::StatusOr<NpzArray> array = npz.Read("transitions");
  if (!array.ok()) return array.status();
  const std::vector<std::size_t>& shape = array->shape();
  if (absl::Status status = CheckKind(*array, /*whole=*/false); !status.ok()) return status;
  if (shape.size() == 3 && shape[0] == shape[2] && (!actions || *actions == static_cast<std::int64_t>(shape[1]))) {
    actions = static_cast<std::int64_t>(shape[1]);
  } else if (shape.size() != 2) {
    return array->Wrong(absl::StrCat("is ", ShapeText(*array),
                                     actions ? absl::StrCat(" with ", *actions, " actions") : std::string(),
                                     "; must be [S, A, S] or [S*A, S]"));
  }
  if (array->count() == 0)
    return array->Wrong(absl::StrCat("is ", ShapeText(*array), "; must have states and actions"));
  if (absl::Status status = SetSizes(array->count() / shape.back(), shape.back(), actions, data); !status.ok()) {
    return array->Wrong(std::string(status.message()));
  }
  const bool single = array->field().type == 'f' && array->field().size == sizeof(float);
  return single ? ReadDense(*array, data.probabilities_f32, data) : ReadDense(*array, data.probabilities, data);
}

absl::Status ReadBeside(const Npz& npz, EnvironmentData& data) {
  const auto states = static_cast<std::uint64_t>(data.num_states);
  const auto actions = static_cast<std::uint64_t>(data.num_actions);
  const auto read = [&](const char* name, bool by_action, std::vector<double>& numbers) -> absl::Status {
    if (!npz.Has(name)) return absl::OkStatus();
    absl::StatusOr<NpzArray> array = npz.Read(name);
    if (!array.ok()) return array.status();
    const std::uint64_t count = by_action ? states * actions : states;
    if (!Is(*array, {count}) && !(by_action && Is(*array, {states, actions}))) {
      return array->Wrong(absl::StrCat("is ", ShapeText(*array), "; must be [",
                                       by_action ? absl::StrCat(states, ", ", actions) : absl::StrCat(states), "]"));
    }
    return ReadReals(*array, numbers);
  };
  std::vector<double> available;
  if (absl::Status status = read("termination_probability", true, data.termination); !status.ok()) return status;
  if (absl::Status status = read("initial_distribution", false, data.initial); !status.ok()) return status;
  if (absl::Status status = read("available_actions", true, available); !status.ok()) return status;
  for (std::size_t row = 0; row < available.size(); ++row) {
    if (available[row] != 0 && available[row] != 1) {
      return npz.Wrong("available_actions", absl::StrCat("[", row, "] is ", available[row], "; must be 0 or 1"));
    }
    data.available.push_back(static_cast<std::uint8_t>(available[row]));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EnvironmentData> ReadNpzEnvironment(const std::string& file, std::optional<int> actions) {
  const absl::StatusOr<Npz> npz = Npz::Open(file);
  if (!npz.ok()) return npz.status();
  const absl::StatusOr<std::optional<std::int64_t>> count = Actions(*npz, actions);
  if (!count.ok()) return count.status();
  EnvironmentData data;
  absl::Status status;
  if (npz->Has("transitions")) {
    status = ReadTransitions(*npz, *count, data);
  } else if (npz->Has("indptr")) {
    status = ReadCsr(*npz, *count, data);
  } else {
    status = absl::InvalidArgumentError(
        absl::StrCat(file, ": has neither transitions nor the indptr, indices, data and shape of a CSR matrix, but ",
                     absl::StrJoin(npz->names(), ", ")));
  }
  if (status.ok()) status = ReadBeside(*npz, data);
  if (!status.ok()) return status;
  return data;
}

}  // namespace bilevel::client
