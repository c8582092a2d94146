// bilevel.v1.ObjectiveTerm -> ObjectiveTerm.

#ifndef BILEVEL_SERVER_CONVERT_OBJECTIVE_H_
#define BILEVEL_SERVER_CONVERT_OBJECTIVE_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/problem.pb.h"
#include "core/problem/objective_term.h"

namespace bilevel::server {

// discount: the context's, the default of the leader's return.
absl::StatusOr<ObjectiveTerm> DecodeObjectiveTerm(const v1::ObjectiveTerm& term, const TabularMdp& mdp, double discount,
                                                  int num_parameters);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_OBJECTIVE_H_
