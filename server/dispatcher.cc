#include "server/dispatcher.h"

#include <exception>
#include <new>

#include "server/jobs/refusal.h"

namespace bilevel::server {
namespace {

// Allocation may fail although the estimate fitted: that call ends, not the server.
absl::Status RunGuarded(const Dispatcher::Work& work, const Run& run) {
  try {
    return work(run);
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

DispatcherOptions WithThreads(DispatcherOptions options) {
  options.limits.threads = options.threads;
  return options;
}

}  // namespace

Dispatcher::Dispatcher(const DispatcherOptions& options)
    : options_(WithThreads(options)),
      budget_(options.memory_budget),
      parallel_for_([this](int count, const std::function<void(int)>& part) { pool_.Share(count, part); }),
      pool_({.long_threads = options.threads, .short_threads = options.threads, .queue_length = options.queue_length}) {
}

absl::Status Dispatcher::Enqueue(const Cost& cost, const Share& share, NamedEnvironments environments,
                                 std::shared_ptr<CallState> call, Work work, Done done) {
  const Lane lane = share.interactive && share.seconds < kShortSeconds ? Lane::kShort : Lane::kLong;
  ASSIGN_OR_RETURN(MemoryBudget::Reservation reserved, budget_.Reserve(share.bytes));
  auto reservation = std::make_shared<MemoryBudget::Reservation>(std::move(reserved));
  auto task = [this, cost, environments = std::move(environments), call, reservation = std::move(reservation),
               work = std::move(work), done = std::move(done)](Clock::duration queued) mutable {
    const absl::Status status =
        call->abandoned()
            ? absl::CancelledError("the caller is gone")
            : RunGuarded(work, Run(call, queued, cost, options_.limits, parallel_for_, environments, *reservation));
    reservation.reset();
    environments.clear();
    call.reset();
    done(status);
  };
  ASSIGN_OR_RETURN(const WorkerPool::Ticket ticket, pool_.TrySubmit(lane, std::move(task), share.continues));
  call->OnAbandon([this, ticket] { pool_.RunNow(ticket); });
  return absl::OkStatus();
}

void Dispatcher::Drain(Clock::duration grace, Clock::duration limit) {
  pool_.Close();
  if (calls_.WaitUntilIdle(grace)) return;
  calls_.StopAll();
  calls_.WaitUntilIdle(limit);
}

}  // namespace bilevel::server
