// Comma-separated transitions. No quoting: there is nothing to quote.

#include <fstream>
#include <iostream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/transition_columns.h"
#include "client/cli/transition_source.h"

namespace bilevel::client {
namespace {

std::vector<std::string> Cells(const std::string& line) {
  std::vector<std::string> cells;
  for (const auto cell : absl::StrSplit(line, ',')) cells.emplace_back(absl::StripAsciiWhitespace(cell));
  return cells;
}

class CsvTransitions final : public TransitionSource {
 public:
  CsvTransitions(std::string name, std::unique_ptr<std::istream> file, std::vector<TransitionColumn> columns)
      : name_(std::move(name)), file_(std::move(file)), columns_(std::move(columns)) {}

  absl::StatusOr<std::optional<Transition>> Next() override {
    std::string line;
    if (!std::getline(*file_, line)) return std::nullopt;
    // Only at the end: otherwise lines and transitions would not count alike.
    if (absl::StripAsciiWhitespace(line).empty()) {
      while (std::getline(*file_, line)) {
        if (!absl::StripAsciiWhitespace(line).empty()) return Wrong("is empty, and others follow");
      }
      return std::nullopt;
    }
    const std::vector<std::string> cells = Cells(line);
    if (cells.size() != columns_.size()) {
      return Wrong(absl::StrCat("has ", cells.size(), " cells; the header names ", columns_.size(), " columns"));
    }
    Transition transition;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const bool ignored = columns_[i].kind == TransitionColumn::Kind::kNextState && cells[i].empty();
      const absl::Status set = ignored ? absl::OkStatus() : SetColumn(columns_[i], cells[i], transition);
      if (!set.ok()) return Wrong(std::string(set.message()));
      missing_next_ = missing_next_ || ignored;
    }
    if (std::exchange(missing_next_, false) && transition.kind != StepKind::kTerminated) {
      return Wrong("column next_state is empty; must be given unless kind is terminated");
    }
    ++read_;
    return transition;
  }

  std::string PlaceOf(std::uint64_t number) const override { return absl::StrCat(name_, ":", number + 1); }

 private:
  absl::Status Wrong(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(PlaceOf(read_ + 1), ": ", what));
  }

  const std::string name_;
  const std::unique_ptr<std::istream> file_;
  const std::vector<TransitionColumn> columns_;
  std::uint64_t read_ = 0;
  bool missing_next_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TransitionSource>> OpenCsvTransitions(const std::string& file) {
  const std::string name = file == "-" ? "standard input" : file;
  std::unique_ptr<std::istream> stream;
  if (file == "-") {
    stream = std::make_unique<std::istream>(std::cin.rdbuf());
  } else {
    stream = std::make_unique<std::ifstream>(file);
  }
  std::string header;
  if (!*stream || !std::getline(*stream, header)) {
    return absl::NotFoundError(absl::StrCat(name, ": cannot be read; must name a file that begins with a header"));
  }
  absl::StatusOr<std::vector<TransitionColumn>> columns = ParseColumns(Cells(header));
  if (!columns.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ":1: ", std::string(columns.status().message())));
  }
  return std::make_unique<CsvTransitions>(name, std::move(stream), *std::move(columns));
}

}  // namespace bilevel::client
