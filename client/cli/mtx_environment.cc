// Environments in Matrix Market files (https://math.nist.gov/MatrixMarket/formats.html).

#include <charconv>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/environment_data.h"
#include "client/cli/line_reader.h"

namespace bilevel::client {
namespace {

// "1 1 1" and the end of a line; "0" and one.
constexpr std::uint64_t kShortestEntry = 6;
constexpr std::uint64_t kShortestElement = 2;

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view TakeWord(std::string_view& line) {
  while (!line.empty() && IsBlank(line.front())) line.remove_prefix(1);
  std::size_t size = 0;
  while (size < line.size() && !IsBlank(line[size])) ++size;
  const std::string_view word = line.substr(0, size);
  line.remove_prefix(size);
  return word;
}

template <typename Number>
bool TakeNumber(std::string_view& line, Number& number) {
  std::string_view word = TakeWord(line);
  if (word.starts_with('+')) word.remove_prefix(1);
  const std::from_chars_result result = std::from_chars(word.data(), word.data() + word.size(), number);
  return result.ec == std::errc() && result.ptr == word.data() + word.size();
}

bool IsEmpty(std::string_view line) { return TakeWord(line).empty(); }

// Quoted, as far as it can be shown.
std::string Shown(std::string_view line) {
  constexpr std::size_t kMost = 60;
  std::string text;
  for (const char c : line.substr(0, kMost)) text += absl::ascii_isprint(static_cast<unsigned char>(c)) ? c : '?';
  return absl::StrCat("\"", text, line.size() > kMost ? "\"..." : "\"");
}

struct Entry {
  std::uint64_t row;
  std::uint32_t column;
  double value;
};

// The entries of one file, as they come; again from the start on request.
class MtxReader {
 public:
  MtxReader(std::string name, const InputFile& file) : name_(std::move(name)), lines_(file) {}

  // To the first entry.
  absl::Status Start() {
    lines_.Rewind();
    taken_ = 0;
    std::string_view line;
    if (!lines_.Next(line) || !line.starts_with("%%MatrixMarket")) return Wrong("is no Matrix Market file");
    if (absl::Status status = ReadKind(line); !status.ok()) return status;
    if (!NextData(line)) return Wrong("ends before its sizes");
    const bool sized = TakeNumber(line, rows_) && TakeNumber(line, columns_) &&
                       (!coordinate_ || TakeNumber(line, entries_)) && IsEmpty(line);
    if (!sized) {
      return WrongLine(coordinate_ ? "must be the numbers of rows, columns and entries"
                                   : "must be the numbers of rows and columns");
    }
    if (!coordinate_ && __builtin_mul_overflow(rows_, columns_, &entries_)) {
      return WrongLine("is more than can be");
    }
    if (entries_ > lines_.left() / (coordinate_ ? kShortestEntry : kShortestElement) + 1) {
      return WrongLine(absl::StrCat("claims ", entries_, " entries, and only ", lines_.left(), " bytes follow"));
    }
    return absl::OkStatus();
  }

  std::uint64_t rows() const { return rows_; }
  std::uint64_t columns() const { return columns_; }
  std::uint64_t entries() const { return entries_; }
  bool coordinate() const { return coordinate_; }

  // False behind the last one.
  absl::StatusOr<bool> Next(Entry& entry) {
    std::string_view line;
    if (taken_ == entries_) {
      if (NextData(line)) return WrongLine(absl::StrCat("is one more than the ", entries_, " entries"));
      return false;
    }
    if (!NextData(line)) {
      return Wrong(lines_.failed() ? "has a line that is too long, or cannot be read"
                                   : absl::StrCat("has ", taken_, " entries; must have ", entries_));
    }
    std::uint64_t row = 0, column = 0;
    if (coordinate_) {
      if (!TakeNumber(line, row) || !TakeNumber(line, column) || !TakeNumber(line, entry.value) || !IsEmpty(line)) {
        return WrongLine("must be row, column and value");
      }
      if (row < 1 || row > rows_ || column < 1 || column > columns_) {
        return WrongLine(absl::StrCat("is outside of ", rows_, " rows and ", columns_, " columns, counted from 1"));
      }
    } else {
      if (!TakeNumber(line, entry.value) || !IsEmpty(line)) return WrongLine("must be a value");
      row = taken_ % rows_ + 1;  // column by column
      column = taken_ / rows_ + 1;
    }
    entry.row = row - 1;
    entry.column = static_cast<std::uint32_t>(column - 1);
    ++taken_;
    return true;
  }

  absl::Status Wrong(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(name_, ": ", what));
  }
  absl::Status WrongLine(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(name_, ": line ", lines_.number(), ": ", Shown(line_), " ", what));
  }

 private:
  absl::Status ReadKind(std::string_view line) {
    std::string words[5];
    for (std::string& word : words) word = absl::AsciiStrToLower(std::string(TakeWord(line)));
    coordinate_ = words[2] == "coordinate";
    if (words[1] == "matrix" && (coordinate_ || words[2] == "array") && (words[3] == "real" || words[3] == "integer") &&
        words[4] == "general") {
      return absl::OkStatus();
    }
    return Wrong(absl::StrCat("is a ", words[1], " ", words[2], " ", words[3], " ", words[4],
                              "; must be a matrix, coordinate or array, real or integer, general"));
  }

  // The next line that is neither empty nor a comment.
  bool NextData(std::string_view& line) {
    while (lines_.Next(line)) {
      if (line.starts_with('%') || IsEmpty(line)) continue;
      line_ = line;
      return true;
    }
    return false;
  }

  std::string name_;
  LineReader lines_;
  std::string_view line_;  // the last one, valid until the next
  bool coordinate_ = true;
  std::uint64_t rows_ = 0;
  std::uint64_t columns_ = 0;
  std::uint64_t entries_ = 0;
  std::uint64_t taken_ = 0;
};

// Entries that come row by row, as most writers write them, are appended. False when they do not.
absl::StatusOr<bool> Append(MtxReader& reader, EnvironmentData& data) {
  std::uint64_t row = 0;
  data.offsets.push_back(0);
  for (Entry entry{};;) {
    const absl::StatusOr<bool> more = reader.Next(entry);
    if (!more.ok()) return more.status();
    if (*more && entry.row < row) return false;
    for (const std::uint64_t end = *more ? entry.row : reader.rows(); row < end; ++row) {
      data.offsets.push_back(data.columns.size());
    }
    if (!*more) return true;
    data.columns.push_back(entry.column);
    data.probabilities.push_back(entry.value);
  }
}

// In any order: the file is read twice, first to count the entries of each row, so that no third array is needed.
absl::Status Place(MtxReader& reader, EnvironmentData& data) {
  const bool coordinate = reader.coordinate();  // zeros that are written are entries
  data.offsets.assign(reader.rows() + 1, 0);
  if (absl::Status status = reader.Start(); !status.ok()) return status;
  Entry entry{};
  absl::StatusOr<bool> more = reader.Next(entry);
  for (; more.ok() && *more; more = reader.Next(entry)) {
    if (coordinate || entry.value != 0) ++data.offsets[entry.row + 1];
  }
  if (!more.ok()) return more.status();
  for (std::size_t row = 0; row < reader.rows(); ++row) data.offsets[row + 1] += data.offsets[row];
  const std::uint64_t count = data.offsets.back();
  if (!Reserve(data.columns, count).ok() || !Reserve(data.probabilities, count).ok()) {
    return absl::ResourceExhaustedError("is larger than this machine's memory");
  }
  data.columns.resize(count);
  data.probabilities.resize(count);
  std::vector<std::uint64_t> next(data.offsets.begin(), data.offsets.end() - 1);
  if (absl::Status status = reader.Start(); !status.ok()) return status;
  for (more = reader.Next(entry); more.ok() && *more; more = reader.Next(entry)) {
    if (!coordinate && entry.value == 0) continue;
    const std::uint64_t k = next[entry.row]++;
    if (k >= data.offsets[entry.row + 1]) return reader.Wrong("changes while it is read");
    data.columns[k] = entry.column;
    data.probabilities[k] = entry.value;
  }
  return more.status();
}

}  // namespace

absl::StatusOr<EnvironmentData> ReadMtxEnvironment(const std::string& file, std::optional<int> actions) {
  const auto at = [&file](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(file, ": ", std::string(status.message())));
  };
  const absl::StatusOr<InputFile> input = InputFile::Open(file);
  if (!input.ok()) return at(input.status());
  MtxReader reader(file, *input);
  if (absl::Status status = reader.Start(); !status.ok()) return status;
  EnvironmentData data;
  if (absl::Status status = SetSizes(reader.rows(), reader.columns(), actions, data); !status.ok()) return at(status);
  // So there is memory for the rows: there is no termination here, and each must sum to 1.
  if (reader.entries() < reader.rows()) {
    return reader.Wrong(
        absl::StrCat("has ", reader.entries(), " entries for ", reader.rows(), " rows; each must sum to 1"));
  }
  bool placed = false;
  if (reader.coordinate()) {
    for (const absl::Status& status :
         {Reserve(data.offsets, reader.rows() + 1), Reserve(data.columns, reader.entries()),
          Reserve(data.probabilities, reader.entries())}) {
      if (!status.ok()) return at(status);
    }
    const absl::StatusOr<bool> appended = Append(reader, data);
    if (!appended.ok()) return appended.status();
    placed = *appended;
  }
  if (!placed) {
    if (absl::Status status = Place(reader, data); !status.ok()) return status;
  }
  if (absl::Status status = SortRows(data); !status.ok()) return at(status);
  return data;
}

}  // namespace bilevel::client
