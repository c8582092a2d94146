// Requests on their way in chunks: the memory they may come to hold, and for how long.
//
// What a request announces is reserved in the budget at once and taken as its bytes arrive, in blocks, so that who
// announces much and sends nothing holds a number. Who is late (see Pace) is forgotten; that is looked at when another
// request begins and when memory is short.

#ifndef BILEVEL_SERVER_JOBS_REQUEST_INTAKE_H_
#define BILEVEL_SERVER_JOBS_REQUEST_INTAKE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/jobs/memory_budget.h"
#include "server/jobs/pace.h"

namespace bilevel::server {

class RequestIntake {
 public:
  // budget must outlive this.
  explicit RequestIntake(MemoryBudget& budget, PaceOptions options = {})
      : budget_(budget), watch_(std::move(options)) {}

  // All bytes of a request, in blocks, and what is reserved for them.
  struct Whole {
    std::vector<std::string> blocks;
    MemoryBudget::Reservation reservation;
  };

  // One request that arrives. Ends when it is destroyed; the intake must outlive it.
  class Arrival {
   public:
    Arrival(const Arrival&) = delete;
    Arrival& operator=(const Arrival&) = delete;

    // The next bytes. INVALID_ARGUMENT when they are more than was announced, ABORTED when it was forgotten.
    absl::Status Take(std::string_view data);
    // There are no more. INVALID_ARGUMENT when they are fewer than was announced, ABORTED when it was forgotten.
    absl::StatusOr<Whole> Finish();

   private:
    friend class RequestIntake;

    Arrival(uint64_t total_bytes, MemoryBudget::Reservation reservation, std::function<void()> on_late);

    // Frees what it holds.
    void Forget();
    absl::Status CheckHere() const;

    const uint64_t total_bytes_;
    const std::function<void()> on_late_;
    std::shared_ptr<PaceWatch::Entry> pace_;
    std::mutex mutex_;
    uint64_t taken_ = 0;
    bool here_ = true;  // neither finished nor forgotten
    Whole whole_;
  };

  // A request of so many bytes begins; what MemoryBudget::Reserve says. on_late is called, by any thread and at most
  // once, when the request was forgotten.
  absl::StatusOr<std::shared_ptr<Arrival>> Open(uint64_t total_bytes, std::function<void()> on_late);

  // Forgets requests that are late.
  void ForgetLate() { watch_.TellLate(); }

  // What became of a request that was forgotten: ABORTED.
  static absl::Status TooSlow();

 private:
  MemoryBudget& budget_;
  PaceWatch watch_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_JOBS_REQUEST_INTAKE_H_
