// What a writer has appended and the server may not have yet: numbering, batching, credit, resumption, rejection.
// Knows neither gRPC nor protobuf; TrainStream moves its batches.
//
// Transitions are numbered from the first that the server does not have. Each stays here until it is durable, so that
// after a broken connection sending goes on behind the server's accepted_sequence, wherever that has fallen back to. A
// batch ends at batch_size, at batch_bytes, at the end of the server's credit, and where optional columns begin or end;
// a smaller one goes when its first transition has waited for max_delay, or when somebody waits in Flush or Finish.
//
// A rejected batch that names its i-th transition is sent again up to that one, which then goes alone: so whatever
// stands before the offending transition is taken, however batches were cut, and the rejection is of that transition.
// Until it is dropped or replaced nothing behind it is sent, and Append, Flush and Finish return its error.
//
// Thread-safe. The first group of methods is for any thread; the second for the two ends of one stream at a time.

#ifndef BILEVEL_CLIENT_TRANSITION_BUFFER_H_
#define BILEVEL_CLIENT_TRANSITION_BUFFER_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/transition.h"

namespace bilevel::client {

struct TransitionBufferOptions {
  std::size_t capacity = 65'536;                   // transitions held, >= 1
  std::size_t batch_size = 256;                    // transitions of a batch, in [1, 8192]
  std::chrono::milliseconds max_delay{5};          // of a transition that could be sent, >= 0
  std::size_t batch_bytes = std::size_t{1} << 20;  // of a batch with features, about; one transition may be more

  absl::Status Validate() const;
};

// Sequence numbers: how far each stage has come.
struct TrainProgress {
  std::uint64_t appended = 0;
  std::uint64_t sent = 0;
  std::uint64_t accepted = 0;  // by the server, in order
  std::uint64_t durable = 0;   // would survive the server
  std::uint64_t credit = 0;    // may be sent
};

// Transitions first, ..., first + count - 1 were not taken.
struct TransitionRejection {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  std::string column;   // of the batch, for example "state"; empty where the server names none
  absl::Status status;  // the server's, with numbers of transitions in place of places in a batch
};

class TransitionBuffer {
 public:
  using Clock = std::chrono::steady_clock;

  struct Batch {
    std::uint64_t first = 0;
    std::vector<Transition> transitions;
  };

  // The options must be valid.
  explicit TransitionBuffer(const TransitionBufferOptions& options) : options_(options) {}

  // The number of the transition. Waits for the first opening, and while the buffer is full. DEADLINE_EXCEEDED takes
  // nothing; FAILED_PRECONDITION after Finish; else the rejection or the stream's end.
  absl::StatusOr<std::uint64_t> Append(Transition transition, Clock::time_point deadline);
  // Waits until all that was appended is durable.
  absl::Status Flush(Clock::time_point deadline);
  // As Flush, then ends the writer and waits until the server has taken that. Nothing can be appended any more.
  absl::Status Finish(Clock::time_point deadline);

  std::optional<TransitionRejection> rejection() const;
  // Those above `accepted`, in order: after a rejection it begins with the rejected ones.
  std::vector<Transition> NotTaken() const;
  // Puts others in the rejected ones' place, or none; what follows is renumbered. FAILED_PRECONDITION when nothing is
  // rejected.
  absl::Status ReplaceRejected(std::vector<Transition> transitions);

  TrainProgress progress() const;
  // OK while the stream lives, and after Finish.
  absl::Status status() const;
  // Ends everything: whoever waits gets the status. The first failure stands.
  void Fail(absl::Status status);

  // A new stream is being opened.
  void Opening();
  // The answer to open. The error is final: ABORTED when somebody else wrote, DATA_LOSS when the server has fallen back
  // to before what is held.
  absl::Status Opened(std::uint64_t accepted, std::uint64_t durable, std::uint64_t credit);
  void Acknowledged(std::uint64_t accepted, std::uint64_t durable, std::uint64_t credit);
  // index: the transition of the batch that `status` is about, where it names one. first = 0: the finish was not taken.
  // INTERNAL when the server answers what was not sent: open a new stream.
  absl::Status Rejected(std::uint64_t first, std::optional<std::uint64_t> index, const std::string& column,
                        const absl::Status& status);
  // Nothing more is sent in this stream, whose answers still count: Next says kClosed.
  void Closing();
  // The stream is over.
  void Closed();
  // The server took the finish.
  void Finished();

  enum class Turn { kBatch, kFinish, kClosed };
  // Waits for something to send. kFinish comes once in a stream; `batch.first` is then the last number.
  Turn Next(Batch& batch);

  // Returns when the stream is opened or closed. False when it was neither by then.
  bool WaitUntilOpened(Clock::time_point deadline);
  // False when the stream was not closed by then.
  bool WaitUntilClosed(Clock::time_point deadline);

 private:
  enum class State { kOpening, kOpen, kClosing, kClosed };
  struct Entry {
    Transition transition;
    Clock::time_point since;
  };
  // Of a batch that was sent.
  struct Span {
    std::uint64_t first;
    std::uint64_t count;
  };

  std::uint64_t appended() const { return held_after_ + entries_.size(); }
  const Entry& At(std::uint64_t sequence) const { return entries_[sequence - held_after_ - 1]; }
  // Why nobody may append or wait: the end, or a rejection.
  absl::Status Trouble() const;
  // The last that may be sent now.
  std::uint64_t SendableUntil() const;
  // Of those after `sent_`, how many make the next batch; `until` from SendableUntil.
  std::size_t BatchCount(std::uint64_t until) const;
  void Advance(std::uint64_t accepted, std::uint64_t durable, std::uint64_t credit);
  absl::Status WaitDurable(std::unique_lock<std::mutex>& lock, Clock::time_point deadline);

  const TransitionBufferOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> entries_;     // numbers held_after_ + 1, ...
  std::uint64_t held_after_ = 0;  // durable, or not ours
  std::uint64_t accepted_ = 0, credit_ = 0, sent_ = 0;
  std::uint64_t most_sent_ = 0;           // over all streams
  std::uint64_t flush_until_ = 0;         // somebody waits for these
  std::deque<Span> in_flight_;            // sent in this stream, not answered
  std::deque<Span> doomed_;               // sent behind a rejected batch: each will be rejected as a gap
  std::optional<std::uint64_t> suspect_;  // goes alone, once all before it is taken
  std::optional<TransitionRejection> rejection_;
  absl::Status end_;
  State state_ = State::kClosed;
  bool ever_opened_ = false;
  bool finishing_ = false, finish_sent_ = false, finished_ = false;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_TRANSITION_BUFFER_H_
