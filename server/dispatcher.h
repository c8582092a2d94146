// Admission: estimate, reserve memory, choose a lane, run on a worker. gRPC-free; its callers bring the wire.

#ifndef BILEVEL_SERVER_DISPATCHER_H_
#define BILEVEL_SERVER_DISPATCHER_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "core/base/status_macros.h"
#include "server/calls/run.h"
#include "server/cost_estimate.h"
#include "server/jobs/call_state.h"
#include "server/jobs/memory_budget.h"
#include "server/jobs/worker_pool.h"
#include "server/limits.h"

namespace bilevel::server {

struct DispatcherOptions {
  Limits limits;
  int threads = 1;                 // for long calls, and as many for short ones; >= 1
  int queue_length = 64;           // requests that may wait in each lane, >= 0
  double memory_budget = 1 << 30;  // bytes
};

class Dispatcher {
 public:
  using Clock = CallState::Clock;
  // Does the work of a call; its result goes to `done`.
  using Work = std::function<absl::Status(const Run&)>;
  // Ends the call; after it nothing of the call is touched. Memory has been given back by then.
  using Done = std::function<void(const absl::Status&)>;

  explicit Dispatcher(const DispatcherOptions& options);

  const DispatcherOptions& options() const { return options_; }

  std::shared_ptr<CallState> OpenCall(std::optional<Clock::time_point> deadline) { return calls_.Open(deadline); }

  // Admits the request and sees to it that `work` and then `done` run on a worker; waits for no other call, but where
  // memory is short it first frees what nobody needs any more, which may be gigabytes. An error means that it was
  // refused and that neither will run. Calls abandoned while they wait end at once, without `work`, in the thread that
  // cancels them.
  // environments: all that the request's problem names; the call holds them to its end. in_chunks: see Limits; by a
  // task of this dispatcher, as part of its call, which is also taken while the server drains.
  // NOLINTBEGIN(performance-unnecessary-value-param): they are moved on
  template <typename Request>
  absl::Status Submit(const Request& request, NamedEnvironments environments, bool interactive,
                      std::shared_ptr<CallState> call, Work work, Done done, bool in_chunks = false) {
    Limits limits = options_.limits;
    limits.in_chunks = in_chunks;
    ASSIGN_OR_RETURN(const Cost cost, EstimateCost(request, limits, environments));
    // Checks take what decoding takes, in the lane that fits them.
    if (request.validate_only()) RETURN_IF_ERROR(budget_.CheckFits(cost.bytes));
    const bool checks = request.validate_only();
    return Enqueue(cost,
                   {.bytes = checks ? cost.check_bytes : cost.bytes,
                    .seconds = checks ? cost.check_seconds : cost.seconds,
                    .interactive = interactive || checks,
                    .continues = in_chunks},
                   std::move(environments), std::move(call), std::move(work), std::move(done));
  }
  // The same at a cost that the caller has found.
  absl::Status SubmitAt(const Cost& cost, bool interactive, std::shared_ptr<CallState> call, Work work, Done done) {
    return Enqueue(cost, {.bytes = cost.bytes, .seconds = cost.seconds, .interactive = interactive}, {},
                   std::move(call), std::move(work), std::move(done));
  }
  // NOLINTEND(performance-unnecessary-value-param)

  // Of running and waiting requests, and of what lives longer than one.
  MemoryBudget& budget() { return budget_; }

  // The graceful end: refuses new calls; waits up to `grace` for those in progress; asks the rest to stop
  // early and waits for them up to `limit`.
  void Drain(Clock::duration grace, Clock::duration limit);

  // Returns when all admitted calls have ended.
  void Stop() { pool_.Stop(); }

 private:
  // What is admitted of a call's cost.
  struct Share {
    double bytes = 0;
    double seconds = 0;
    bool interactive = false;  // may use the short lane when seconds are few
    bool continues = false;    // see WorkerPool::TrySubmit
  };
  absl::Status Enqueue(const Cost& cost, const Share& share, NamedEnvironments environments,
                       std::shared_ptr<CallState> call, Work work, Done done);

  const DispatcherOptions options_;
  MemoryBudget budget_;
  CallRegistry calls_;
  const ParallelFor parallel_for_;
  WorkerPool pool_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_DISPATCHER_H_
