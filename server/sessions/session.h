// A session: writers that stream transitions in, a thread that learns from them, readers of what was learned.
// gRPC-free.
//
// Writers offer batches in their own threads and never wait for the learner: what is accepted waits in bounded queues,
// and credit says how far a writer may go. The learner takes transitions in the merge order alone, so neither threads
// nor timing leave a trace in what it learns.

#ifndef BILEVEL_SERVER_SESSIONS_SESSION_H_
#define BILEVEL_SERVER_SESSIONS_SESSION_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "core/streaming/actor.h"
#include "core/streaming/merge_order.h"
#include "core/streaming/parameter_schedule.h"
#include "core/streaming/preference_store.h"
#include "core/streaming/session_learner.h"
#include "server/jobs/memory_budget.h"
#include "server/sessions/learner_lock.h"
#include "server/sessions/step_log.h"

namespace bilevel::server {

// Who acts in the transitions that a session sees.
enum class Follower { kSolved, kSimulated, kObserved };

struct SessionOptions {
  // Who may write; their order is that of merging. At least one, no two alike.
  std::vector<std::string> writers = {"default"};
  int merge_round = 256;            // transitions of each writer in turn, >= 1
  size_t queue = 65'536;            // transitions of all writers that may wait, at least one for each
  size_t max_open_episodes = 4096;  // of each writer
  Follower follower = Follower::kSolved;
  size_t preference_capacity = 0;  // steps of fragments
  uint64_t seed = 0;               // of the actions of SIMULATED followers
  double reserved_bytes = 0;       // told to readers
};

// How far a writer has come.
struct WriterProgress {
  uint64_t accepted = 0;  // in order, into the session
  uint64_t durable = 0;   // what would survive the server: here accepted, since nothing does
  uint64_t credit = 0;    // the highest number that may be sent
  uint64_t capacity = 0;  // transitions that may wait
};

// How far the outer loop is.
struct OuterLoopState {
  uint64_t taken = 0;  // steps in all
  std::shared_ptr<const OuterStep> last;
  std::optional<DescentStep> best;
  std::optional<Termination> termination;
  std::string waiting;
};

struct SessionStatus {
  uint64_t accepted = 0;  // of all writers
  uint64_t merged = 0;    // learned from
  uint64_t dropped = 0;   // kinds of transitions for which there was no room
  uint64_t policy_version = 0;
  uint64_t next_policy = 0;  // merged transitions at which the next is due; 0: never
  uint32_t parameters_version = 1;
  Vector parameters;                                // x
  uint64_t trajectories = 0, trajectory_steps = 0;  // held
  uint64_t preferences = 0;                         // the last one's number
  uint64_t preference_steps = 0;
  DriftLog drifts;
  std::string waiting_for;  // the writer whose turn it is, while others have transitions waiting; else empty
  absl::Status failure;     // why the learner stopped for good, if it did
  std::shared_ptr<const OuterLoopState> outer_loop;  // null without one
};

struct PublishedPolicy : PolicySnapshot {
  std::string digest;  // DigestOf
};

// Why a stream may not go on.
enum class StreamEnd {
  kFenced,       // a newer stream of the writer took its place
  kDeleted,      // the session is no more
  kServerStops,  // nor is the server
};

// What streams are told.
struct SessionNews {
  bool policy = false;    // one was made
  bool draining = false;  // the server will stop
  bool ended = false;     // the session has ended
};

class Session {
 public:
  // Learning begins at once, in a thread of the session's own. INVALID_ARGUMENT (a field error) for bad options.
  // memory: given back when nobody holds the session any more.
  static absl::StatusOr<std::shared_ptr<Session>> Start(SessionLearner learner, const SessionOptions& options,
                                                        MemoryBudget::Reservation memory = {});

  // Stops.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // A writer's stream. A newer one of the same writer fences it: from then on it may do nothing.
  struct Lease {
    size_t writer = 0;
    uint64_t number = 0;
  };
  // NOT_FOUND for a writer that the session does not know. ended: called once, from the thread that opens the newer
  // stream or stops the session; it must not call back.
  absl::StatusOr<Lease> Open(const std::string& writer, std::function<void(StreamEnd)> ended);
  // The stream is over; nothing is called back any more.
  void Close(const Lease& lease);

  // As WriterQueue; ABORTED for a lease that was fenced, UNAVAILABLE when the server stops. Whether Watch will tell
  // soon of what was taken: within about a millisecond, unless the learner is at longer work.
  absl::StatusOr<bool> Offer(const Lease& lease, uint64_t first, TransitionBlock batch);
  absl::Status Finish(const Lease& lease, uint64_t last);
  absl::StatusOr<WriterProgress> Progress(const Lease& lease) const;

  // Takes an observation, and with it the transition that it completes, and draws the follower's action from the policy
  // of the writer's round: the newest one made when the round before was merged, so that it does not depend on timing.
  // Nothing while that is still to come: ask again, with the same observation, when Watch tells. walks: asked for where
  // it ends an episode. FAILED_PRECONDITION unless the follower is SIMULATED; else as Actor and WriterQueue.
  absl::StatusOr<std::optional<ActedStep>> Act(const Lease& lease, const Observation& observation,
                                               const Exploration& exploration, bool walks = false);

  // The newest policy; null before the first.
  std::shared_ptr<const PublishedPolicy> policy() const;

  // `hear` is called, mostly from the learner's thread, after transitions were accepted or learned from, a policy was
  // made, or the server began to stop; it must not block nor call Watch or EndWatch. The number ends it; when EndWatch
  // has returned it is not running.
  uint64_t Watch(std::function<void(const SessionNews&)> hear);
  void EndWatch(uint64_t watch);

  // The server will stop: streams are told, those to come as well.
  void Drain();

  // The outer loop's next step, at once, and the policy where it leads, unless interrupted after the step; number: as
  // StepSessionRequest. Errors: FAILED_PRECONDITION for a number out of turn; ABORTED or UNAVAILABLE when the session
  // ends; as SessionLearner::Step.
  absl::StatusOr<std::shared_ptr<const OuterStep>> Step(std::optional<uint64_t> number, const Interrupt& caller);
  // The first step after this number that is kept; null when there is none.
  std::shared_ptr<const OuterStep> StepAfter(uint64_t number) const;

  // x from then on; after: transitions learned from, default: as soon as can be. As ParameterSchedule::Set. With an
  // outer loop x is projected, and the learner is waited for unless interrupted: then the change is still to come.
  absl::Status SetParameters(std::optional<uint64_t> after, Vector x, const Interrupt& interrupt);

  // As PreferenceStore; waits for the learner, unless interrupted.
  absl::Status OfferPreferences(uint64_t first, std::span<const PreferenceSource> preferences,
                                const Interrupt& interrupt);
  // Number of a writer; NOT_FOUND for one that the session does not know.
  absl::StatusOr<size_t> FindWriter(const std::string& writer) const;

  // What was learned so far, between two transitions, and what an estimator of this kind looks at besides; waits for
  // the learner, unless interrupted.
  absl::StatusOr<SessionData> Data(EstimatorOptions::Kind kind, const Interrupt& interrupt) const;
  const BilevelProblem& problem() const { return learner_.problem(); }
  const SessionOptions& options() const { return options_; }
  // Null without an outer loop.
  const SessionDescentOptions* outer_loop() const {
    return learner_.options().descent.has_value() ? &*learner_.options().descent : nullptr;
  }
  size_t num_features() const { return rules_->num_features; }
  // What was set aside for it; see SessionRegistry.
  double reserved_bytes() const { return options_.reserved_bytes; }

  SessionStatus Status() const;

  // Returns when everything that the merge order allows has been learned from.
  void WaitUntilIdle() const;

  // Asks learning to end; Stop waits for it.
  void Cancel();
  // Ends learning, and streams. What was learned stays readable.
  void Stop(StreamEnd why = StreamEnd::kDeleted);

 private:
  Session(SessionLearner learner, const SessionOptions& options, MemoryBudget::Reservation memory);

  void Run();
  void End(StreamEnd why);
  absl::Status Ended() const;
  // Waits for something to do; false when there will be nothing. dozes: how often it found nothing.
  bool Rest(int dozes);
  // Under learning_: learns from what can be learned from now, a batch at most.
  struct Learned {
    size_t count = 0;
    bool news = false;    // something came
    bool policy = false;  // one was made
  };
  Learned LearnNext();
  // Under mutex_.
  std::vector<MergeOrder::Run> TakeNext();
  // Under learning_: x as it is after what was learned from. With an outer loop changes are made here alone.
  void MoveLearner();
  // False when learning cannot go on.
  bool LearnSlice(size_t writer, const BlockSlice& slice, Learned& learned);
  // Under learning_; false when learning cannot go on.
  bool MakePolicy();
  // Under learning_: nobody counts on news soon.
  void BeginLongWork();
  // Under learning_: what came of it.
  void Keep(PolicySnapshot made);
  // Under learning_: the step that the learner has taken.
  void KeepStep(std::shared_ptr<const OuterStep> step);
  // Under learning_: what Status says of the outer loop.
  void TellOuterLoop();
  // Under mutex_: the step of this number where it was taken; null for the next.
  absl::StatusOr<std::shared_ptr<const OuterStep>> FindStep(uint64_t number) const;
  // Under learning_, or before there are others: what Status says.
  void Tell();
  // Whether actors may go on.
  bool BeginRound();
  void Publish(const SessionNews& news);
  bool Holds(const Lease& lease) const { return streams_[lease.writer].number == lease.number; }
  // Under mutex_: something came.
  void Wake();
  // Under mutex_: a batch is there, or much of what may wait.
  bool IsFull() const;

  struct Stream {
    uint64_t number = 0;  // 0: none was ever open
    std::function<void(StreamEnd)> ended;
  };

  const SessionOptions options_;
  const MemoryBudget::Reservation memory_;

  mutable std::mutex mutex_;                // queues, order, leases, status
  std::condition_variable changed_;         // for the learner
  mutable std::condition_variable rested_;  // idle_, or stopping_
  std::vector<WriterQueue> writers_;
  MergeOrder order_;
  std::vector<Stream> streams_;
  uint64_t last_lease_ = 0;
  bool stopping_ = false, server_stops_ = false;
  bool idle_ = false;    // what can be learned from is learned from
  bool asleep_ = false;  // the learner waits to be woken
  bool news_ = false;    // there is something to tell, or to learn from
  bool more_ = false;    // the learner knows of more to learn from
  bool slow_ = false;    // it is at longer work, or was lately
  absl::Status failure_;
  std::shared_ptr<const PublishedPolicy> policy_;
  StepLog steps_;
  // Of SIMULATED followers: who acts, the round that may act now, and its policy.
  std::vector<Actor> actors_;
  uint64_t round_ = 0;
  std::shared_ptr<const PublishedPolicy> round_policy_;
  SessionStatus seen_;  // what is told of the learner
  ParameterSchedule schedule_;
  uint64_t taken_ = 0;  // transitions that went to the learner

  mutable LearnerLock learning_;  // the learner, and the order of learning; taken before mutex_
  SessionLearner learner_;
  PreferenceStore preferences_;
  const std::shared_ptr<const TransitionRules> rules_;
  std::atomic<bool> cancelled_ = false;

  std::mutex watching_;  // taken before mutex_, never within it
  std::map<uint64_t, std::function<void(const SessionNews&)>> watches_;
  bool draining_ = false, ended_ = false;
  uint64_t last_watch_ = 0;

  std::once_flag stopped_;
  std::thread thread_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_SESSIONS_SESSION_H_
