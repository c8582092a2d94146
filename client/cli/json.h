// Writes JSON: objects with ordered members, numbers that read back to the same double, and a layout in which lists of
// numbers fill lines instead of taking one line an element.

#ifndef BILEVEL_CLIENT_CLI_JSON_H_
#define BILEVEL_CLIENT_CLI_JSON_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bilevel::client {

// A JSON value as text without white space.
std::string JsonNumber(
    double number);  // shortest that reads back; "NaN", "Infinity", "-Infinity" as protobuf writes them
std::string JsonString(std::string_view text);
std::string JsonList(std::span<const double> numbers);
std::string JsonList(std::span<const std::string> values);  // of JSON values
// Row after row: rows of `cols` numbers; a flat list when cols < 1.
std::string JsonRows(std::span<const double> numbers, int cols);

class JsonObject {
 public:
  JsonObject& Add(std::string_view name, double number) { return AddValue(name, JsonNumber(number)); }
  JsonObject& Add(std::string_view name, std::string_view text) { return AddValue(name, JsonString(text)); }
  JsonObject& Add(std::string_view name, const char* text) { return AddValue(name, JsonString(text)); }
  JsonObject& Add(std::string_view name, const JsonObject& object) { return AddValue(name, object.Text()); }
  JsonObject& Add(std::string_view name, std::span<const double> numbers) { return AddValue(name, JsonList(numbers)); }
  // A value that is JSON already.
  JsonObject& AddValue(std::string_view name, std::string_view json);

  std::string Text() const { return "{" + members_ + "}"; }
  // Indented, with a newline at the end.
  std::string Pretty() const;

 private:
  std::string members_;
};

// Indents compact, valid JSON by two blanks a level. Lists of scalars are filled to `width` columns.
std::string IndentJson(std::string_view json, int width = 100);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_JSON_H_
