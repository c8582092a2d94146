// One writer of a session, exactly once over any number of broken connections:
//
//   absl::StatusOr<TrainStream> stream = client.Train("sessions/town", {.writer = "w0"});
//   for (std::uint64_t i = stream->accepted_sequence(); i < steps.size(); ++i) {   // what the server has is skipped
//     absl::StatusOr<std::uint64_t> number = stream->Append(steps[i]);
//     if (!number.ok()) return number.status();
//   }
//   return stream->Finish();
//
// Append hands one transition over and returns at once, unless the buffer is full; the stream batches, stays within the
// server's credit, keeps what is not durable, and when the connection breaks opens a new one and goes on where the
// server stands (client/transition_buffer.h). Memory is bounded by TransitionBufferOptions.capacity.
//
// Errors of Append, Flush and Finish:
//   DEADLINE_EXCEEDED    their own deadline passed; the stream goes on, and Append took nothing.
//   INVALID_ARGUMENT, FAILED_PRECONDITION, RESOURCE_EXHAUSTED
//                        the server rejected a transition: the message has its number and column. Nothing is lost:
//                        NotTaken() has it and all behind it. DropRejected() or ReplaceRejected() goes on.
//   ABORTED              a newer stream of this writer took this one's place, or the session was deleted: final.
//   NOT_FOUND            no such session or writer: final.
//   UNAVAILABLE          no connection for longer than retry_for: final.
//   DATA_LOSS            the server has lost what it called durable: final.
//   CANCELLED            Cancel().
// After a final error NotTaken() still says what the server did not confirm.
//
// Thread-safe, moving and destroying aside: any thread may append, wait, read and cancel. Transitions are numbered in
// the order in which calls of Append take effect. The stream has two threads of its own.

#ifndef BILEVEL_CLIENT_TRAIN_STREAM_H_
#define BILEVEL_CLIENT_TRAIN_STREAM_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/transition_stream.pb.h"
#include "client/reconnect.h"
#include "client/transition.h"
#include "client/transition_buffer.h"

namespace bilevel::client {

struct TrainOptions {
  // One of the session's writers; empty: "default".
  std::string writer;
  TransitionBufferOptions buffer = {};
  ReconnectOptions reconnect = {};
};

class TrainStream {
 public:
  TrainStream(TrainStream&&) noexcept;
  TrainStream& operator=(TrainStream&&) noexcept;
  // Cancels. What is not durable may be lost: Flush first.
  ~TrainStream();

  // The number of the last transition that the server had taken when the stream was opened: a writer that resumes skips
  // so many. 0 for a new writer.
  std::uint64_t accepted_sequence() const;

  // The transition's number. Waits while the buffer is full; without a timeout as long as it takes.
  absl::StatusOr<std::uint64_t> Append(Transition transition,
                                       std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  // Waits until all that was appended is durable.
  absl::Status Flush(std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  // Flushes, and tells the session that no more will come from this writer, in this stream or another. Safe to repeat.
  absl::Status Finish(std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  // What was rejected; nullopt when nothing is.
  std::optional<TransitionRejection> rejection() const;
  // What the server has not confirmed, in order; after a rejection it begins with what was rejected.
  std::vector<Transition> NotTaken() const;
  // Go on without the rejected transitions, or with others in their place; what follows is renumbered.
  // FAILED_PRECONDITION when nothing is rejected.
  absl::Status DropRejected() { return ReplaceRejected({}); }
  absl::Status ReplaceRejected(std::vector<Transition> transitions);

  // How far it has come.
  TrainProgress progress() const;
  // Connections opened so far.
  int connections() const;
  // The newest policy that this stream has heard of.
  std::optional<v1::PolicyUpdate> policy() const;
  // OK while the stream lives.
  absl::Status status() const;

  // Ends the stream; whoever waits gets CANCELLED. The session and its writer stay as they are.
  void Cancel();

 private:
  friend class BilevelClient;
  class Link;
  explicit TrainStream(std::unique_ptr<Link> link);

  std::unique_ptr<Link> link_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_TRAIN_STREAM_H_
