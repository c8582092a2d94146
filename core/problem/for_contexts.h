// All contexts of a problem, several at the same time where that is worth it.

#ifndef BILEVEL_CORE_PROBLEM_FOR_CONTEXTS_H_
#define BILEVEL_CORE_PROBLEM_FOR_CONTEXTS_H_

#include <functional>

#include "absl/status/status.h"
#include "core/base/interrupt.h"
#include "core/base/parallel.h"
#include "core/problem/bilevel_problem.h"

namespace bilevel {

// Whether contexts go at the same time: there are several, together they take more than a fraction of a millisecond,
// and none is large enough to be cut into parts itself.
bool ContextsGoTogether(const BilevelProblem& problem);

// Calls task(c, interrupt) for all contexts, in the threads of parallel_for where they go together, else in order as
// far as the first error. Returns the error of the first context that has one. `interrupt` is handed on, without its
// pulse in other threads than this. Tasks share nothing that they change.
absl::Status ForContexts(const BilevelProblem& problem, const ParallelFor& parallel_for, const Interrupt& interrupt,
                         const std::function<absl::Status(size_t, const Interrupt&)>& task);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_FOR_CONTEXTS_H_
