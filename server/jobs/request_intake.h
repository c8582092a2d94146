// Requests on their way in chunks: the memory they may come to hold, and for how long.
//
// What a request announces is reserved in the budget at once and taken as its bytes arrive, in blocks, so that who
// announces much and sends nothing holds a number. Who is late is forgotten: for whom nothing arrives for `idle`, or
// less on average than `bytes_per_second` once the first `idle` has passed. That is looked at when another request
// begins and when memory is short.

#ifndef BILEVEL_SERVER_JOBS_REQUEST_INTAKE_H_
#define BILEVEL_SERVER_JOBS_REQUEST_INTAKE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/jobs/memory_budget.h"

namespace bilevel::server {

struct RequestIntakeOptions {
  using Clock = std::chrono::steady_clock;

  Clock::duration idle = std::chrono::minutes(1);
  double bytes_per_second = 64 << 10;
  std::function<Clock::time_point()> now = Clock::now;
};

class RequestIntake {
 public:
  // budget must outlive this.
  explicit RequestIntake(MemoryBudget& budget, RequestIntakeOptions options = {})
      : budget_(budget), options_(std::move(options)) {}

  // All bytes of a request, in blocks, and what is reserved for them.
  struct Whole {
    std::vector<std::string> blocks;
    MemoryBudget::Reservation reservation;
  };

  // One request that arrives. Ends when it is destroyed; the intake must outlive it.
  class Arrival {
   public:
    ~Arrival();
    Arrival(const Arrival&) = delete;
    Arrival& operator=(const Arrival&) = delete;

    // The next bytes. INVALID_ARGUMENT when they are more than was announced, ABORTED when it was forgotten.
    absl::Status Take(std::string_view data);
    // There are no more. INVALID_ARGUMENT when they are fewer than was announced, ABORTED when it was forgotten.
    absl::StatusOr<Whole> Finish();

   private:
    friend class RequestIntake;
    using Clock = RequestIntakeOptions::Clock;

    Arrival(RequestIntake& intake, uint64_t total_bytes, MemoryBudget::Reservation reservation,
            std::function<void()> on_late);

    bool IsLate(Clock::time_point now) const;
    // Frees what it holds.
    void Forget();
    absl::Status CheckHere() const;

    RequestIntake& intake_;
    const uint64_t total_bytes_;
    const std::function<void()> on_late_;
    const Clock::time_point began_;
    mutable std::mutex mutex_;
    Clock::time_point last_;
    uint64_t taken_ = 0;
    bool here_ = true;  // neither finished nor forgotten
    Whole whole_;
  };

  // A request of so many bytes begins; what MemoryBudget::Reserve says. on_late is called, by any thread and at most
  // once, when the request was forgotten.
  absl::StatusOr<std::shared_ptr<Arrival>> Open(uint64_t total_bytes, std::function<void()> on_late);

  // Forgets requests that are late.
  void ForgetLate();

 private:
  MemoryBudget& budget_;
  const RequestIntakeOptions options_;
  std::mutex mutex_;  // of the map alone
  std::map<const Arrival*, std::weak_ptr<Arrival>> arrivals_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_JOBS_REQUEST_INTAKE_H_
