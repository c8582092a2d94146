#include "core/problem/for_contexts.h"

#include <thread>
#include <vector>

#include "core/base/status_macros.h"

namespace bilevel {
namespace {

constexpr int64_t kFewestRows = 2048;

}  // namespace

bool ContextsGoTogether(const BilevelProblem& problem) {
  int64_t rows = 0;
  for (const Context& context : problem.contexts) {
    if (context.mdp->num_states() > kStatesInPart) return false;
    rows += context.mdp->num_rows();
  }
  return problem.contexts.size() > 1 && rows >= kFewestRows;
}

absl::Status ForContexts(const BilevelProblem& problem, const ParallelFor& parallel_for, const Interrupt& interrupt,
                         const std::function<absl::Status(size_t, const Interrupt&)>& task) {
  const size_t count = problem.contexts.size();
  if (!ContextsGoTogether(problem)) {
    for (size_t c = 0; c < count; ++c) RETURN_IF_ERROR(task(c, interrupt));
    return absl::OkStatus();
  }
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<absl::Status> statuses(count);
  parallel_for(static_cast<int>(count), [&](int c) {
    const bool beats = std::this_thread::get_id() == caller;
    statuses[static_cast<size_t>(c)] = task(static_cast<size_t>(c), beats ? interrupt : interrupt.WithoutPulse());
  });
  for (absl::Status& status : statuses) RETURN_IF_ERROR(std::move(status));
  return absl::OkStatus();
}

}  // namespace bilevel
