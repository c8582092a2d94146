// bilevel.v1.ObjectiveTerm -> ObjectiveTerm.

#ifndef BILEVEL_SERVER_CONVERT_OBJECTIVE_H_
#define BILEVEL_SERVER_CONVERT_OBJECTIVE_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/problem.pb.h"
#include "core/problem/terms/objective_term.h"

namespace bilevel::server {

// What a term belongs to.
struct TermContext {
  const TabularMdp& mdp;
  const SparseRows* dynamics;  // transition features, or null
  int num_parameters;
};

absl::StatusOr<ObjectiveTerm> DecodeObjectiveTerm(const v1::ObjectiveTerm& term, const TermContext& context);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_OBJECTIVE_H_
