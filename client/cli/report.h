// Answers of the server, as tables for people and as JSON for programs.

#ifndef BILEVEL_CLIENT_CLI_REPORT_H_
#define BILEVEL_CLIENT_CLI_REPORT_H_

#include <ostream>
#include <string>
#include <vector>

#include "bilevel/v1/solver_service.pb.h"
#include "client/cli/json.h"

namespace bilevel::client {

// The elements; empty where the array is malformed, which a server does not send.
std::vector<double> Elements(const v1::Array& array);

// "CONVERGED", "TIME_LIMIT", ...
std::string ReasonName(const v1::Termination& termination);
// "newton-direct", ...; empty where the server named none.
std::string LowerLevelName(v1::LowerLevelMethod method);

// objective, gradient, gradient_norm, parameters, certificate, context_objectives, multipliers, contexts; no
// termination.
JsonObject HypergradientJson(const v1::Hypergradient& point);
JsonObject& AddTermination(const v1::Termination& termination, JsonObject& object);
// kind ("OPTIMUM", ...; empty when it is not known), gradient_norm, face_dimension, curvatures, direction, exact,
// products.
JsonObject StationarityJson(const v1::Stationarity& stationarity);
JsonObject& AddRun(const v1::RunInfo& run, JsonObject& object);
// label, value, policy, q and log_policy where they came, how it was solved, certificate, termination.
JsonObject LowerLevelJson(const v1::LowerLevelSolution& solution);

void PrintHypergradient(const v1::Hypergradient& point, std::ostream& out);
void PrintTermination(const v1::Termination& termination, std::ostream& out);
void PrintStationarity(const v1::Stationarity& stationarity, std::ostream& out);
// At most `rows` states; the rest is counted.
void PrintLowerLevel(const v1::LowerLevelSolution& solution, int rows, std::ostream& out);
// One line "name   value".
void PrintLine(const std::string& name, const std::string& value, std::ostream& out);

// A double for people: six significant digits; -0 is 0.
std::string Short(double number);
// "512 bytes", "12.3 MB".
std::string Bytes(double count);
// "1 round", "2 rounds".
std::string Counted(int count, const std::string& noun);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_REPORT_H_
