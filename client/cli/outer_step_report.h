// Steps of an outer loop, as lines of a table for people and as JSON for programs.

#ifndef BILEVEL_CLIENT_CLI_OUTER_STEP_REPORT_H_
#define BILEVEL_CLIENT_CLI_OUTER_STEP_REPORT_H_

#include <optional>
#include <ostream>

#include "bilevel/v1/outer_loop.pb.h"
#include "client/cli/json.h"

namespace bilevel::client {

// An estimate beside the truth.
struct Comparison {
  double objective = 0.0;      // exact
  double gradient_norm = 0.0;  // exact; of the projected gradient map
  double cosine = 0.0;         // of the estimated gradient with the exact one
  double error = 0.0;          // |estimated - exact| / |exact|
};

// All of the message's numbers under their own names; compared: exact_objective, exact_gradient_norm, cosine and error.
JsonObject StepJson(const v1::OuterStep& step, const std::optional<Comparison>& compared);

// A header before every 20th line; row: 0, 1, ...
void PrintStep(const v1::OuterStep& step, const std::optional<Comparison>& compared, int row, std::ostream& out);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_OUTER_STEP_REPORT_H_
