#include "client/cli/json.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace bilevel::client {
namespace {

// Where the string that opens at json[at] ends: one behind its closing quote.
std::size_t EndOfString(std::string_view json, std::size_t at) {
  for (++at; at < json.size() && json[at] != '"'; ++at) {
    if (json[at] == '\\') ++at;
  }
  return at + 1;
}

// One behind the bracket that closes the list at json[at] when it holds scalars only; 0 otherwise.
std::size_t EndOfFlatList(std::string_view json, std::size_t at) {
  for (++at; at < json.size();) {
    if (json[at] == '"') {
      at = EndOfString(json, at);
      continue;
    }
    if (json[at] == '[' || json[at] == '{') return 0;
    if (json[at] == ']') return at + 1;
    ++at;
  }
  return 0;
}

class Indenter {
 public:
  Indenter(std::string_view json, int width) : json_(json), width_(static_cast<std::size_t>(width)) {}

  std::string Run() {
    while (at_ < json_.size()) Step();
    return std::move(out_);
  }

 private:
  void Step() {
    const char c = json_[at_];
    if (c == '"') return Copy(EndOfString(json_, at_));
    if (c == '[') {
      if (const std::size_t end = EndOfFlatList(json_, at_)) return FillList(end);
    }
    if ((c == '{' || c == '[') && at_ + 1 < json_.size() && (json_[at_ + 1] == '}' || json_[at_ + 1] == ']')) {
      return Copy(at_ + 2);
    }
    if (c == '}' || c == ']') NewLine(--depth_);
    Copy(at_ + 1);
    if (c == '{' || c == '[') NewLine(++depth_);
    if (c == ',') NewLine(depth_);
    if (c == ':') out_ += ' ';
  }

  void Copy(std::size_t end) {
    out_ += json_.substr(at_, end - at_);
    at_ = end;
  }

  void NewLine(int depth) {
    out_ += '\n';
    line_ = out_.size();
    out_.append(2 * static_cast<std::size_t>(depth), ' ');
  }

  void FillList(std::size_t end) {
    while (at_ < end) {
      std::size_t next = at_;
      while (next < end && json_[next] != ',') next = json_[next] == '"' ? EndOfString(json_, next) : next + 1;
      const std::size_t item = std::min(next + 1, end);
      const bool first = json_[at_] == '[';
      if (!first && out_.size() - line_ + (item - at_) + 1 > width_) {
        NewLine(depth_ + 1);
      } else if (!first) {
        out_ += ' ';
      }
      Copy(item);
    }
  }

  std::string_view json_;
  std::size_t width_;
  std::size_t at_ = 0;
  std::size_t line_ = 0;
  int depth_ = 0;
  std::string out_;
};

}  // namespace

std::string JsonNumber(double number) {
  if (std::isnan(number)) return "\"NaN\"";
  if (std::isinf(number)) return number > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  char text[32];
  const std::to_chars_result end = std::to_chars(text, text + sizeof(text), number);
  return std::string(text, end.ptr);
}

std::string JsonString(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(c));
      json += escape;
    } else {
      json += c;
    }
  }
  return json + "\"";
}

std::string JsonList(std::span<const std::string> values) {
  std::string json = "[";
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) json += ',';
    json += values[i];
  }
  return json + "]";
}

std::string JsonList(std::span<const double> numbers) {
  std::string json = "[";
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) json += ',';
    json += JsonNumber(numbers[i]);
  }
  return json + "]";
}

std::string JsonRows(std::span<const double> numbers, int cols) {
  if (cols < 1) return JsonList(numbers);
  std::vector<std::string> rows;
  const auto width = static_cast<std::size_t>(cols);
  for (std::size_t at = 0; at < numbers.size(); at += width) {
    rows.push_back(JsonList(numbers.subspan(at, std::min(width, numbers.size() - at))));
  }
  return JsonList(rows);
}

JsonObject& JsonObject::AddValue(std::string_view name, std::string_view json) {
  if (!members_.empty()) members_ += ',';
  members_ += JsonString(name);
  members_ += ':';
  members_ += json;
  return *this;
}

std::string JsonObject::Pretty() const { return IndentJson(Text()) + "\n"; }

std::string IndentJson(std::string_view json, int width) { return Indenter(json, width).Run(); }

}  // namespace bilevel::client
