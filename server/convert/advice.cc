#include "server/convert/advice.h"

namespace bilevel::server {

void EncodeAdvice(const BilevelProblem& problem, const Vector& x, v1::CostEstimate* estimate) {
  for (const Advice& advice : Advise(problem, x)) {
    v1::Advice* message = estimate->add_advice();
    message->set_field("problem." + advice.field);
    message->set_description(advice.description);
  }
}

}  // namespace bilevel::server
