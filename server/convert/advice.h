// Advice on its way out.

#ifndef BILEVEL_SERVER_CONVERT_ADVICE_H_
#define BILEVEL_SERVER_CONVERT_ADVICE_H_

#include "bilevel/v1/solution.pb.h"
#include "core/problem/advice.h"

namespace bilevel::server {

// What Advise says of the problem at x, with paths from the request.
void EncodeAdvice(const BilevelProblem& problem, const Vector& x, v1::CostEstimate* estimate);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_ADVICE_H_
