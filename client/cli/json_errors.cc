#include "client/cli/json_errors.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace bilevel::client {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

// The first NaN, Infinity or -Infinity outside strings, as Python's json writes them; nullopt when there is none.
std::optional<std::size_t> FindBareNonFinite(std::string_view json) {
  bool in_string = false;
  for (std::size_t at = 0; at < json.size(); ++at) {
    if (json[at] == '"') in_string = !in_string;
    if (in_string) {
      if (json[at] == '\\') ++at;
      continue;
    }
    const std::string_view rest = json.substr(at);
    if (rest.starts_with("NaN") || rest.starts_with("Infinity") || rest.starts_with("-Infinity")) return at;
  }
  return std::nullopt;
}

std::string LineAndColumn(const std::string& json, std::size_t place) {
  const auto line = 1 + std::count(json.begin(), json.begin() + static_cast<std::ptrdiff_t>(place), '\n');
  const std::size_t line_start = place == 0 ? 0 : json.rfind('\n', place - 1) + 1;
  return absl::StrCat("line ", line, ", column ", place - line_start + 1, ": ");
}

// protobuf reports a syntax error as text, an excerpt of the input, and a caret below the place, counted from the start
// of the excerpt. Where the excerpt occurs once, that gives line and column.
std::string SyntaxError(const std::string& json, const std::vector<std::string>& lines) {
  if (const std::optional<std::size_t> bare = FindBareNonFinite(json)) {
    const std::string word = json.substr(*bare, json.find_first_of(",]} \n", *bare) - *bare);
    return absl::StrCat(LineAndColumn(json, *bare), word,
                        " is no JSON; numbers must be finite, and bounds may be \"Infinity\" or \"-Infinity\"");
  }
  if (lines.front().starts_with("Unexpected end")) return LineAndColumn(json, json.size()) + lines.front();
  const std::string excerpt = absl::StrJoin(lines.begin() + 1, lines.end() - 1, "\n");
  const std::size_t at = json.find(excerpt);
  if (excerpt.empty() || at == std::string::npos || json.find(excerpt, at + 1) != std::string::npos) {
    return absl::StrCat(lines.front(),
                        excerpt.empty() ? "" : " Near: ", absl::StrJoin(absl::StrSplit(excerpt, '\n'), " "));
  }
  return LineAndColumn(json, std::min(at + lines.back().size() - 1, json.size())) + lines.front();
}

// The field at a path such as contexts[0].discount; nullptr when there is none.
const FieldDescriptor* FindField(const Descriptor& type, const std::string& path) {
  const Descriptor* owner = &type;
  const FieldDescriptor* field = nullptr;
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  for (const std::string& part : parts) {
    if (owner == nullptr) return nullptr;
    const std::string name = part.substr(0, part.find('['));
    field = owner->FindFieldByName(name);
    if (field == nullptr) field = owner->FindFieldByCamelcaseName(name);
    if (field == nullptr) return nullptr;
    owner = field->message_type();
  }
  return field;
}

std::string FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return absl::StrJoin(names, ", ");
}

// Its values but that of number 0, which says nothing.
std::string ValueNames(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(type.value(i)->name());
  }
  return absl::StrJoin(names, ", ");
}

// What the field must be.
std::string Rule(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM:
      return "one of " + ValueNames(*field.enum_type());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number";
    case FieldDescriptor::CPPTYPE_UINT32:
      return "a whole number >= 0";
    case FieldDescriptor::CPPTYPE_INT32:
      return "a whole number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_STRING:
      return "text";
    default:
      break;
  }
  const std::string name = field.message_type() == nullptr ? "" : field.message_type()->name();
  if (name == "Array") return R"({"values": {"list": [...]}}, or {"indices": {"list": [...]}} for whole numbers)";
  if (name == "Matrix") return R"({"dense": {"values": {"list": [...]}}} or {"sparse": {...}})";
  if (name == "Doubles" || name == "Integers") return R"({"list": [...]})";
  return "an object";
}

// "(contexts[0]) foo: Cannot find field.", "(sense): invalid value 7 for type ..." and the like: the path of a field,
// and what is wrong.
std::string ExplainFieldError(const std::string& text, const Descriptor& type, const std::string& prefix) {
  const std::size_t colon = text.find(": ", text.starts_with("(") ? text.find(')') : 0);
  if (colon == std::string::npos) return text;
  // "(a) b" is the field b of a.
  const std::string path = absl::StrReplaceAll(text.substr(0, colon), {{"(", ""}, {") ", "."}, {")", ""}});
  const std::string place = prefix + path;
  const std::string fault = text.substr(colon + 2);
  if (fault == "Cannot find field.") {
    const std::size_t dot = path.rfind('.');
    const FieldDescriptor* parent = dot == std::string::npos ? nullptr : FindField(type, path.substr(0, dot));
    const Descriptor& owner = parent != nullptr && parent->message_type() != nullptr ? *parent->message_type() : type;
    return absl::StrCat(place, " is no field; ", owner.name(), " has ", FieldNames(owner));
  }
  const FieldDescriptor* field = FindField(type, path);
  if (field != nullptr && fault.starts_with("Proto field is not repeating")) {
    return absl::StrCat(place, " is a list; must be ", Rule(*field));
  }
  const std::string value(absl::StripPrefix(fault.substr(0, fault.rfind(" for type ")), "invalid value "));
  // Scalars stand there as they are in the file, other faults as sentences.
  const bool scalar = fault.starts_with("invalid value ") && (value[0] == '"' || value.find(' ') == std::string::npos);
  if (field != nullptr && scalar) return absl::StrCat(place, " is ", value, "; must be ", Rule(*field));
  return path.empty() ? value : absl::StrCat(place, ": ", value);
}

}  // namespace

std::string ExplainJsonError(const std::string& protobuf, const std::string& json, const Descriptor& type,
                             const std::string& prefix) {
  const std::vector<std::string> lines = absl::StrSplit(protobuf, '\n');
  if (lines.size() >= 3 && lines.back().find('^') != std::string::npos) return SyntaxError(json, lines);
  if (protobuf.ends_with("Root element must be a message.")) return "must be a JSON object, {...}";
  return ExplainFieldError(protobuf, type, prefix);
}

}  // namespace bilevel::client
