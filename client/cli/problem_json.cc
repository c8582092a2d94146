#include "client/cli/problem_json.h"

#include <google/protobuf/util/json_util.h>

#include "client/array.h"
#include "client/cli/json.h"

namespace bilevel::client {

absl::StatusOr<std::string> ProblemJson(v1::Problem problem) {
  MakeReadable(problem);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(problem, &json, options).ok()) {
    return absl::InternalError("the problem cannot be written as JSON");
  }
  return IndentJson(json) + "\n";
}

}  // namespace bilevel::client
