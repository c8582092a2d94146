// Transitions in a .npy file. A field that is a row stands for the columns name_0, name_1, ...

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/input.h"
#include "client/cli/npy.h"
#include "client/cli/transition_columns.h"
#include "client/cli/transition_source.h"

namespace bilevel::client {
namespace {

// Where the numbers of a column lie in a record.
struct Place {
  std::size_t field;
  std::size_t i;
};

class NpyTransitions final : public TransitionSource {
 public:
  NpyTransitions(std::string name, NpyArray array, std::vector<TransitionColumn> columns, std::vector<Place> places)
      : name_(std::move(name)), array_(std::move(array)), columns_(std::move(columns)), places_(std::move(places)) {}

  absl::StatusOr<std::optional<Transition>> Next() override {
    if (at_ == array_.shape[0]) return std::nullopt;
    Transition transition;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (const absl::Status set = Set(c, transition); !set.ok()) {
        return absl::InvalidArgumentError(absl::StrCat(PlaceOf(at_ + 1), ": ", std::string(set.message())));
      }
    }
    ++at_;
    return transition;
  }

  std::string PlaceOf(std::uint64_t number) const override { return absl::StrCat(name_, "[", number - 1, "]"); }

 private:
  absl::Status Set(std::size_t column, Transition& transition) const {
    const NpyField& field = array_.fields[places_[column].field];
    const std::size_t i = places_[column].i;
    // Without fields the numbers of a row are records of their own.
    const std::size_t record = array_.structured() ? at_ : at_ * columns_.size() + i;
    const std::size_t within = array_.structured() ? i : 0;
    const double real = array_.Real(record, field, within);
    if (field.type == 'f' || real < 0) return SetColumn(columns_[column], real, transition);
    return SetColumn(columns_[column], array_.Integer(record, field, within), transition);
  }

  const std::string name_;
  const NpyArray array_;
  const std::vector<TransitionColumn> columns_;
  const std::vector<Place> places_;
  std::size_t at_ = 0;
};

absl::Status Layout(const NpyArray& array, const std::string& columns, std::vector<std::string>& names,
                    std::vector<Place>& places) {
  if (array.structured()) {
    if (!columns.empty())
      return absl::InvalidArgumentError("the array names its columns; --columns does not belong to it");
    if (array.shape.size() != 1) return absl::InvalidArgumentError("the structured array is not one-dimensional");
    for (std::size_t f = 0; f < array.fields.size(); ++f) {
      const NpyField& field = array.fields[f];
      const bool row = field.name == "features" || field.name == "next_features";
      for (std::size_t i = 0; i < field.count; ++i) {
        names.push_back(row || field.count > 1 ? absl::StrCat(field.name, "_", i) : field.name);
        places.push_back({f, i});
      }
    }
    return absl::OkStatus();
  }
  if (columns.empty()) {
    return absl::InvalidArgumentError(
        "the array does not name its columns: --columns episode,state,action,next_state,kind or as it is");
  }
  for (const auto name : absl::StrSplit(columns, ',')) {
    places.push_back({0, names.size()});
    names.emplace_back(absl::StripAsciiWhitespace(name));
  }
  if (array.shape.size() != 2 || array.shape[1] != names.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the array is not [N, ", names.size(), "], a number for each of --columns"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<TransitionSource>> OpenNpyTransitions(const std::string& file,
                                                                     const std::string& columns) {
  const auto wrong = [&file](const absl::Status& status) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", std::string(status.message())));
  };
  const absl::StatusOr<std::string> bytes = ReadInput(file);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<NpyArray> array = ParseNpy(*bytes);
  if (!array.ok()) return wrong(array.status());
  std::vector<std::string> names;
  std::vector<Place> places;
  if (absl::Status status = Layout(*array, columns, names, places); !status.ok()) return wrong(status);
  absl::StatusOr<std::vector<TransitionColumn>> parsed = ParseColumns(names);
  if (!parsed.ok()) return wrong(parsed.status());
  return std::make_unique<NpyTransitions>(file, *std::move(array), *std::move(parsed), std::move(places));
}

}  // namespace bilevel::client
