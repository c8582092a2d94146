// A problem as the JSON that every command reads.

#ifndef BILEVEL_CLIENT_CLI_PROBLEM_JSON_H_
#define BILEVEL_CLIENT_CLI_PROBLEM_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "bilevel/v1/problem.pb.h"

namespace bilevel::client {

// Readable and indented, with a newline at the end. INTERNAL when a text in it is no UTF-8.
absl::StatusOr<std::string> ProblemJson(v1::Problem problem);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_PROBLEM_JSON_H_
