// Files that people hand to the CLI. FILE is a path, or `-` for standard input. Errors are one line: the file, the
// place in it, and what is wrong.

#ifndef BILEVEL_CLIENT_CLI_INPUT_H_
#define BILEVEL_CLIENT_CLI_INPUT_H_

#include <string>

#include "absl/status/statusor.h"
#include "bilevel/v1/session_service.pb.h"
#include "bilevel/v1/solver_service.pb.h"

namespace bilevel::client {

// The whole file. NOT_FOUND when it cannot be read.
absl::StatusOr<std::string> ReadInput(const std::string& file);

// A bilevel.v1.Problem as JSON. INVALID_ARGUMENT: line and column of a syntax error, or the field that does not fit.
absl::StatusOr<v1::Problem> ReadProblem(const std::string& file);

// The same, or a bilevel.v1.Environment, which becomes that of the problem's only context.
absl::StatusOr<v1::Problem> ReadProblemOrEnvironment(const std::string& file);

// Points x: a JSON list of numbers [n], a list of such lists [k, n], or an object with such "parameters", for example
// an earlier --json output.
absl::StatusOr<v1::Array> ReadParameters(const std::string& file);

// Cotangents: a JSON list of bilevel.v1.Cotangent, one for each context, or an object with such "cotangents".
absl::StatusOr<v1::PullbackRequest> ReadCotangents(const std::string& file);

// Preferences: a JSON list of bilevel.v1.Preference, or an object with such "preferences".
absl::StatusOr<v1::AddPreferencesRequest> ReadPreferences(const std::string& file);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_INPUT_H_
