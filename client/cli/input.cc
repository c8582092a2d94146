#include "client/cli/input.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/array.h"
#include "client/cli/json_errors.h"

namespace bilevel::client {
namespace {

std::string NameOf(const std::string& file) { return file == "-" ? "standard input" : file; }

absl::Status Unfit(const std::string& file, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(NameOf(file), ": ", what));
}

// prefix: what paths of fields begin with, so that they are the server's.
absl::Status ParseJson(const std::string& file, const std::string& json, google::protobuf::Message& message,
                       const std::string& prefix = "") {
  const auto status = google::protobuf::util::JsonStringToMessage(json, &message);
  if (status.ok()) return absl::OkStatus();
  const std::string text(status.message().data(), status.message().size());
  return Unfit(file, ExplainJsonError(text, json, *message.GetDescriptor(), prefix));
}

absl::Status AppendNumbers(const std::string& file, const google::protobuf::ListValue& list,
                           std::vector<double>& numbers) {
  for (int i = 0; i < list.values_size(); ++i) {
    if (!list.values(i).has_number_value()) return Unfit(file, absl::StrCat("entry ", i, " is not a number"));
    numbers.push_back(list.values(i).number_value());
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Array> FromRows(const std::string& file, const google::protobuf::ListValue& rows) {
  std::vector<double> numbers;
  const int cols = rows.values(0).list_value().values_size();
  for (int i = 0; i < rows.values_size(); ++i) {
    const google::protobuf::Value& row = rows.values(i);
    if (!row.has_list_value() || row.list_value().values_size() != cols) {
      return Unfit(file, absl::StrCat("point ", i, " is not a list of ", cols, " numbers like the first"));
    }
    if (absl::Status status = AppendNumbers(file, row.list_value(), numbers); !status.ok()) return status;
  }
  return MakeArray(numbers, {rows.values_size(), cols});
}

// A request, or the list that is one of its fields.
template <typename Request>
absl::StatusOr<Request> ReadListOrObject(const std::string& file, const char* field) {
  absl::StatusOr<std::string> json = ReadInput(file);
  if (!json.ok()) return json.status();
  const bool bare_list = absl::StripLeadingAsciiWhitespace(*json).substr(0, 1) == "[";
  const std::string object = bare_list ? absl::StrCat("{\"", field, "\": ", *json, "}") : *json;
  Request request;
  if (absl::Status status = ParseJson(file, object, request); !status.ok()) return status;
  return request;
}

}  // namespace

absl::StatusOr<std::string> ReadInput(const std::string& file) {
  if (file == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  if (stream) text << stream.rdbuf();
  if (!stream)
    return absl::NotFoundError(absl::StrCat(file, ": cannot be read; must name a file, or - for standard input"));
  return text.str();
}

absl::StatusOr<v1::Problem> ReadProblem(const std::string& file) {
  absl::StatusOr<std::string> json = ReadInput(file);
  if (!json.ok()) return json.status();
  v1::Problem problem;
  if (absl::Status status = ParseJson(file, *json, problem, "problem."); !status.ok()) return status;
  return problem;
}

absl::StatusOr<v1::Problem> ReadProblemOrEnvironment(const std::string& file) {
  absl::StatusOr<std::string> json = ReadInput(file);
  if (!json.ok()) return json.status();
  v1::Problem problem;
  const bool alone =
      json->find("\"contexts\"") == std::string::npos && json->find("\"transitions\"") != std::string::npos;
  const absl::Status status =
      alone ? ParseJson(file, *json, *problem.add_contexts()->mutable_environment(), "environment.")
            : ParseJson(file, *json, problem, "problem.");
  if (!status.ok()) return status;
  return problem;
}

absl::StatusOr<v1::Array> ReadParameters(const std::string& file) {
  absl::StatusOr<std::string> json = ReadInput(file);
  if (!json.ok()) return json.status();
  google::protobuf::Value value;
  if (absl::Status status = ParseJson(file, *json, value); !status.ok()) return status;
  if (value.has_struct_value()) {
    const auto& members = value.struct_value().fields();
    const auto found = members.find("parameters");
    if (found == members.end()) return Unfit(file, "the object has no \"parameters\"");
    value = google::protobuf::Value(found->second);
  }
  if (!value.has_list_value()) return Unfit(file, "must be a JSON list of numbers");
  const google::protobuf::ListValue& list = value.list_value();
  if (list.values_size() > 0 && list.values(0).has_list_value()) return FromRows(file, list);
  std::vector<double> numbers;
  if (absl::Status status = AppendNumbers(file, list, numbers); !status.ok()) return status;
  return MakeArray(numbers, {list.values_size()});
}

absl::StatusOr<v1::PullbackRequest> ReadCotangents(const std::string& file) {
  return ReadListOrObject<v1::PullbackRequest>(file, "cotangents");
}

absl::StatusOr<v1::AddPreferencesRequest> ReadPreferences(const std::string& file) {
  return ReadListOrObject<v1::AddPreferencesRequest>(file, "preferences");
}

}  // namespace bilevel::client
