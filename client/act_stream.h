// An environment whose follower acts on the server: observations in, actions out.
//
//   absl::StatusOr<ActStream> stream = client.Act("sessions/town");
//   absl::StatusOr<v1::Action> action = stream->Start(episode, world.state());
//   while (action.ok() && !action->ended()) {
//     world.Move(action->action());
//     action = stream->Step(episode, world.state(), world.kind());
//   }
//
// Every Step completes a transition, which the session learns from exactly once. When the connection breaks, the stream
// opens a new one and sends the observation again that was not answered; one that the server has seen gets the same
// action again.
//
// Errors of Start, Step and Finish:
//   DEADLINE_EXCEEDED    its deadline passed; whether the observation has counted is not known: call again with the
//   same
//                        one, and nothing else (FAILED_PRECONDITION).
//   INVALID_ARGUMENT, FAILED_PRECONDITION, RESOURCE_EXHAUSTED
//                        the server rejected the observation: it has not counted, and the stream goes on.
//   ABORTED              a newer stream of this writer took this one's place, or the session was deleted: final.
//   NOT_FOUND            no such session or writer: final.
//   UNAVAILABLE          no connection for longer than retry_for: call again, or leave.
//   DATA_LOSS            the server has lost transitions that it had taken: final.
//   CANCELLED            Cancel(): final.
//
// Cancel and accepted_sequence may be called from any thread. Start, Step and Finish exclude each other: one
// observation is under way at a time.

#ifndef BILEVEL_CLIENT_ACT_STREAM_H_
#define BILEVEL_CLIENT_ACT_STREAM_H_

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

namespace bilevel::client {

struct ActOptions {
  // One of the session's writers; empty: "default".
  std::string writer;
  // How the follower tries what its policy would not. Default: not at all.
  v1::Exploration exploration = {};
  // Whether the environment can be set to any state: then what ends an episode brings Action.walks, for StartWalk and
  // CRITIC_CONTINUATIONS.
  bool walks = false;
  ReconnectOptions reconnect = {};
  // Of an observation without a timeout of its own, > 0.
  std::chrono::milliseconds deadline{60'000};
};

// What the environment shows beside the state.
struct Shown {
  std::optional<double> leader_reward = std::nullopt;  // a sample for the step that this completes
  std::vector<double> features = {};                   // of the state, in sessions that have them
};

class ActStream {
 public:
  ActStream(ActStream&&) noexcept;
  ActStream& operator=(ActStream&&) noexcept;
  // Cancels.
  ~ActStream();

  // Transitions of this writer that the server has.
  std::uint64_t accepted_sequence() const;

  // An episode begins. Episodes are numbered by the caller, may interleave, and stay in one context.
  absl::StatusOr<v1::Action> Start(std::uint64_t episode, std::uint32_t state, std::uint32_t context = 0,
                                   const Shown& shown = {},
                                   std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  // A walk that was asked for begins, in its state, under a number that is free: its episode's own will do. It goes on
  // by Step until the reply says `ended`, which here the server decides.
  absl::StatusOr<v1::Action> StartWalk(std::uint64_t number, const v1::Walk& walk, const Shown& shown = {},
                                       std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  // Where the last action led. kTerminated (state is ignored) and kTruncated end the episode; the reply has no action.
  absl::StatusOr<v1::Action> Step(std::uint64_t episode, std::uint32_t state, StepKind kind = StepKind::kRunning,
                                  const Shown& shown = {},
                                  std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  // Tells the session that no more will come from this writer, in this stream or another.
  absl::Status Finish(std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  // Ends the stream; whoever waits gets CANCELLED. The session and its writer stay as they are.
  void Cancel();

 private:
  friend class BilevelClient;
  class Link;
  explicit ActStream(std::unique_ptr<Link> link);

  std::unique_ptr<Link> link_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_ACT_STREAM_H_
