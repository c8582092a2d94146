// One execution of a request on a worker: when it began, how long it waited, when it must stop.

#ifndef BILEVEL_SERVER_CALLS_RUN_H_
#define BILEVEL_SERVER_CALLS_RUN_H_

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "bilevel/v1/solution.pb.h"
#include "core/base/interrupt.h"
#include "core/base/parallel.h"
#include "server/cost_estimate.h"
#include "server/jobs/call_state.h"
#include "server/jobs/memory_budget.h"
#include "server/limits.h"

namespace bilevel::server {

class Run {
 public:
  using Clock = CallState::Clock;

  // Begins now.
  // environments and admitted, what was admitted for it, must outlive it.
  Run(std::shared_ptr<const CallState> call, Clock::duration queued, const Cost& cost, const Limits& limits,
      ParallelFor parallel_for, const NamedEnvironments& environments, MemoryBudget::Reservation& admitted)
      : call_(std::move(call)),
        queued_(queued),
        cost_(cost),
        limits_(limits),
        parallel_for_(std::move(parallel_for)),
        environments_(environments),
        admitted_(admitted) {}

  const Limits& limits() const { return limits_; }

  // All that the request's problem names.
  const NamedEnvironments& environments() const { return environments_; }

  // This worker and those that have nothing else to do.
  const ParallelFor& parallel_for() const { return parallel_for_; }

  // Stops with the call, at min(begin + time_limit, deadline - 200 ms). Valid while this lives.
  Interrupt MakeInterrupt(std::optional<Clock::duration> time_limit) const {
    return call_->MakeInterrupt(began_, time_limit);
  }

  // Moves out up to `bytes` of the memory that was admitted for it; when nothing else of that is held any more.
  MemoryBudget::Reservation KeepMemory(double bytes) const {
    admitted_.Shrink(bytes);
    return std::move(admitted_);
  }

  // Everything of RunInfo, up to now.
  void FillRunInfo(v1::RunInfo* info) const;

  void FillEstimate(v1::CostEstimate* estimate) const;

  // Says so when it was the server that wanted the solver to stop.
  void AddServerStop(v1::Termination* termination) const;

 private:
  const std::shared_ptr<const CallState> call_;
  const Clock::duration queued_;
  const Cost cost_;
  const Limits limits_;
  const ParallelFor parallel_for_;
  const NamedEnvironments& environments_;
  MemoryBudget::Reservation& admitted_;
  const Clock::time_point began_ = Clock::now();
  const std::chrono::system_clock::time_point began_wall_ = std::chrono::system_clock::now();
};

// Version of the server, as of the build.
const char* ServerVersion();

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CALLS_RUN_H_
