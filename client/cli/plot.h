// Curves of an optimisation against its iterations.

#ifndef BILEVEL_CLIENT_CLI_PLOT_H_
#define BILEVEL_CLIENT_CLI_PLOT_H_

#include <string>

#include "bilevel/v1/solver_service.pb.h"

namespace bilevel::client {

// An SVG with the objective, and below it, on a logarithmic axis, |h| and the proven bound on the gradient's error.
std::string PlotHistory(const google::protobuf::RepeatedPtrField<v1::IterationStats>& history);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_PLOT_H_
