#include "server/sessions/session.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <set>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/interrupt_status.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/sessions/policy_digest.h"

namespace bilevel::server {
namespace {

// Learned from at a time, while readers wait.
constexpr size_t kBatch = 4096;
// A learner that has just worked looks for more so often, before it must be woken: waking costs as much as hundreds of
// transitions. Until then it is woken for full batches alone.
constexpr std::chrono::milliseconds kDoze{1};
constexpr int kDozes = 20;

absl::Status Validate(const SessionOptions& options) {
  if (options.writers.empty()) return FieldError("writers", "is empty; name at least one");
  const std::set<std::string> names(options.writers.begin(), options.writers.end());
  if (names.size() != options.writers.size()) return FieldError("writers", "name somebody twice");
  if (options.merge_round < 1) {
    return FieldError("merge_round", absl::StrCat("is ", options.merge_round, "; must be >= 1"));
  }
  if (options.queue < options.writers.size()) {
    return FieldError("queue", absl::StrCat("is ", options.queue, "; must be at least one for each of ",
                                            options.writers.size(), " writers"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<Session>> Session::Start(SessionLearner learner, const SessionOptions& options,
                                                        MemoryBudget::Reservation memory) {
  RETURN_IF_ERROR(Validate(options));
  std::shared_ptr<Session> session(new Session(std::move(learner), options, std::move(memory)));
  session->thread_ = std::thread([raw = session.get()] { raw->Run(); });
  return session;
}

Session::Session(SessionLearner learner, const SessionOptions& options, MemoryBudget::Reservation memory)
    : options_(options),
      memory_(std::move(memory)),
      order_(options.merge_round),
      streams_(options.writers.size()),
      steps_(learner.parameters().size()),
      schedule_(learner.parameters()),
      learner_(std::move(learner)),
      preferences_(options.preference_capacity),
      rules_(std::make_shared<const TransitionRules>(learner_.Rules(options.max_open_episodes))) {
  writers_.assign(options.writers.size(), WriterQueue(rules_, options.queue / options.writers.size()));
  if (options.follower == Follower::kSimulated) {
    for (size_t w = 0; w < options.writers.size(); ++w) actors_.emplace_back(rules_, options.seed, w);
  }
  Tell();
  TellOuterLoop();
}

Session::~Session() { Stop(); }

absl::StatusOr<Session::Lease> Session::Open(const std::string& writer, std::function<void(StreamEnd)> ended) {
  ASSIGN_OR_RETURN(const size_t index, FindWriter(writer));
  std::function<void(StreamEnd)> older;
  Lease lease{index, 0};
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return absl::UnavailableError("the session is stopping");
    lease.number = ++last_lease_;
    older = std::exchange(streams_[index].ended, std::move(ended));
    streams_[index].number = lease.number;
  }
  if (older) older(StreamEnd::kFenced);
  return lease;
}

void Session::Close(const Lease& lease) {
  const std::lock_guard lock(mutex_);
  if (Holds(lease)) streams_[lease.writer].ended = nullptr;
}

absl::StatusOr<size_t> Session::FindWriter(const std::string& writer) const {
  const auto found = std::find(options_.writers.begin(), options_.writers.end(), writer);
  if (found == options_.writers.end()) {
    return absl::NotFoundError(absl::StrCat("writer_id ", writer, " is none of the session's writers"));
  }
  return static_cast<size_t>(found - options_.writers.begin());
}

bool Session::IsFull() const {
  const WriterQueue& next = writers_[order_.turn()];
  const size_t capacity = next.credit() - next.merged();
  return next.accepted() - next.merged() >= std::min(kBatch, std::max<size_t>(1, capacity / 4));
}

void Session::Wake() {
  idle_ = false;
  news_ = true;
  if (asleep_ || !actors_.empty() || IsFull()) changed_.notify_all();
}

absl::StatusOr<bool> Session::Offer(const Lease& lease, uint64_t first, TransitionBlock batch) {
  const std::lock_guard lock(mutex_);
  if (!Holds(lease)) return Ended();
  RETURN_IF_ERROR(failure_);
  RETURN_IF_ERROR(writers_[lease.writer].Offer(first, std::move(batch), schedule_.newest()));
  Wake();
  return !slow_;
}

absl::Status Session::Finish(const Lease& lease, uint64_t last) {
  const std::lock_guard lock(mutex_);
  if (!Holds(lease)) return Ended();
  RETURN_IF_ERROR(writers_[lease.writer].Finish(last));
  Wake();
  return absl::OkStatus();
}

absl::StatusOr<std::optional<ActedStep>> Session::Act(const Lease& lease, const Observation& observation,
                                                      const Exploration& exploration, bool walks) {
  const std::lock_guard lock(mutex_);
  if (!Holds(lease)) return Ended();
  if (actors_.empty()) {
    return absl::FailedPreconditionError(
        "the session's follower is not SIMULATED; create it with FOLLOWER_SIMULATED for it to act here");
  }
  RETURN_IF_ERROR(failure_);
  Actor& actor = actors_[lease.writer];
  WriterQueue& queue = writers_[lease.writer];
  ASSIGN_OR_RETURN(const bool known, actor.IsKnown(observation, queue.accepted()));
  if (!known) {
    RETURN_IF_ERROR(queue.CheckOpen());
    ASSIGN_OR_RETURN(std::optional<TransitionBlock> completed, actor.Complete(observation));
    if (completed.has_value()) {
      if (queue.accepted() == queue.credit()) return std::nullopt;
      RETURN_IF_ERROR(queue.Offer(observation.sequence, *std::move(completed), schedule_.newest()));
      Wake();
    }
    actor.Take(observation, walks);
  }
  if (const std::optional<ActedStep> drawn = actor.Drawn(observation); drawn.has_value()) return drawn;
  if (queue.accepted() / static_cast<uint64_t>(options_.merge_round) > round_) return std::nullopt;
  return actor.Draw(observation, round_policy_.get(), exploration);
}

absl::StatusOr<WriterProgress> Session::Progress(const Lease& lease) const {
  const std::lock_guard lock(mutex_);
  if (!Holds(lease)) return Ended();
  const WriterQueue& queue = writers_[lease.writer];
  return WriterProgress{queue.accepted(), queue.accepted(), queue.credit(), queue.credit() - queue.merged()};
}

std::shared_ptr<const PublishedPolicy> Session::policy() const {
  const std::lock_guard lock(mutex_);
  return policy_;
}

uint64_t Session::Watch(std::function<void(const SessionNews&)> hear) {
  const std::lock_guard lock(watching_);
  if (draining_ || ended_) hear({.draining = draining_, .ended = ended_});
  watches_[++last_watch_] = std::move(hear);
  return last_watch_;
}

void Session::Drain() {
  {
    const std::lock_guard lock(watching_);
    draining_ = true;
  }
  Publish({.draining = true});
}

void Session::EndWatch(uint64_t watch) {
  const std::lock_guard lock(watching_);
  watches_.erase(watch);
}

absl::Status Session::SetParameters(std::optional<uint64_t> after, Vector x, const Interrupt& interrupt) {
  const bool loop = outer_loop() != nullptr;
  // As the outer loop will.
  if (loop) x = problem().feasible_set.Project(x);
  {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(schedule_.Set(after, std::move(x), taken_));
    if (loop ? schedule_.next() != taken_ : !schedule_.Reach(taken_)) return absl::OkStatus();
    Wake();
  }
  // A loop may move x at this very moment, too, and its version comes first: the change is made when the learner is
  // there. Else at once where the learner has nothing to do; else it does it.
  if (loop ? learning_.LockToLook(interrupt) : learning_.TryLock()) {
    MoveLearner();
    learning_.unlock();
  }
  return absl::OkStatus();
}

void Session::MoveLearner() {
  Vector x;
  uint32_t version = 0;
  {
    const std::lock_guard lock(mutex_);
    if (learner_.merged() != taken_) return;
    if (outer_loop() != nullptr) schedule_.Reach(taken_);
    x = schedule_.x();
    version = schedule_.version();
  }
  // Changes of the same moment count, though the last alone is seen.
  if (learner_.parameters_version() == version) return;
  while (learner_.parameters_version() < version) learner_.SetParameters(x);
  TellOuterLoop();
}

absl::Status Session::OfferPreferences(uint64_t first, std::span<const PreferenceSource> preferences,
                                       const Interrupt& interrupt) {
  if (!learning_.LockToLook(interrupt)) return absl::DeadlineExceededError("the learner was at a policy all the time");
  absl::Status taken = preferences_.Offer(first, preferences, learner_.trajectories(), *rules_, learner_.eras());
  Tell();
  learning_.unlock();
  return taken;
}

absl::StatusOr<SessionData> Session::Data(EstimatorOptions::Kind kind, const Interrupt& interrupt) const {
  if (!learning_.LockToLook(interrupt)) return absl::DeadlineExceededError("the learner was at a policy all the time");
  SessionData data = learner_.Data(UsesTrajectories(kind));
  if (UsesPreferences(kind)) data.preferences = preferences_.held();
  learning_.unlock();
  return data;
}

// Under learning_.
void Session::Tell() {
  const std::lock_guard lock(mutex_);
  seen_.merged = learner_.merged();
  seen_.next_policy = learner_.next_policy().value_or(0);
  seen_.dropped = learner_.dropped();
  seen_.trajectories = learner_.trajectories().held().size();
  seen_.trajectory_steps = learner_.trajectories().steps();
  seen_.drifts = learner_.drifts();
  seen_.preferences = preferences_.accepted();
  seen_.preference_steps = preferences_.steps();
}

SessionStatus Session::Status() const {
  const std::lock_guard lock(mutex_);
  SessionStatus status = seen_;
  status.parameters_version = schedule_.version();
  status.parameters = schedule_.x();
  bool others_wait = false;
  for (size_t w = 0; w < writers_.size(); ++w) {
    status.accepted += writers_[w].accepted();
    others_wait = others_wait || (w != order_.turn() && writers_[w].merged() < writers_[w].accepted());
  }
  if (idle_ && others_wait) status.waiting_for = options_.writers[order_.turn()];
  status.policy_version = policy_ == nullptr ? 0 : policy_->version;
  status.failure = failure_;
  return status;
}

void Session::WaitUntilIdle() const {
  std::unique_lock lock(mutex_);
  rested_.wait(lock, [this] { return idle_ || stopping_; });
}

void Session::Stop(StreamEnd why) {
  std::call_once(stopped_, [this, why] { End(why); });
}

// Under mutex_: what a lease hears that does not hold any more.
absl::Status Session::Ended() const {
  if (server_stops_) return absl::UnavailableError("the server is stopping");
  if (stopping_) return absl::AbortedError("the session was deleted");
  return absl::AbortedError("a newer stream of this writer took this one's place");
}

void Session::Cancel() {
  cancelled_ = true;
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

void Session::End(StreamEnd why) {
  std::vector<std::function<void(StreamEnd)>> ended;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    server_stops_ = why == StreamEnd::kServerStops;
    for (Stream& open : streams_) {
      if (open.ended) ended.push_back(std::exchange(open.ended, nullptr));
      open.number = ++last_lease_;
    }
    changed_.notify_all();
    rested_.notify_all();
  }
  cancelled_ = true;
  for (const auto& react : ended) react(why);
  thread_.join();
  {
    const std::lock_guard lock(watching_);
    ended_ = true;
  }
  Publish({.ended = true});
}

void Session::Run() {
  int dozes = 0;
  do {
    Learned learned;
    {
      const std::lock_guard lock(learning_);
      learned = LearnNext();
    }
    const bool began = BeginRound();
    if (learned.count > 0 || learned.news || began) {
      Publish({.policy = learned.policy});
      dozes = 0;
    }
  } while (Rest(dozes++));
}

bool Session::Rest(int dozes) {
  std::unique_lock lock(mutex_);
  const auto up = [this] { return stopping_ || more_ || IsFull() || (news_ && !actors_.empty()); };
  if (!up() && failure_.ok()) {
    idle_ = !news_;
    slow_ = false;
    if (idle_) rested_.notify_all();
    if (actors_.empty() && (news_ || dozes < kDozes)) {
      changed_.wait_for(lock, kDoze, up);
    } else {
      asleep_ = true;
      changed_.wait(lock, [this] { return news_ || stopping_; });
      asleep_ = false;
    }
  }
  if (!stopping_ && failure_.ok()) return true;
  idle_ = true;
  rested_.notify_all();
  return false;
}

// What may be learned from now, in order; at one x, and of one round where a policy is chosen for each.
std::vector<MergeOrder::Run> Session::TakeNext() {
  std::vector<MergeOrder::Run> runs;
  size_t most = kBatch;
  if (const auto change = schedule_.next(); change.has_value()) most = std::min<size_t>(most, *change - taken_);
  // A policy may come with a step of x, between two transitions.
  if (learner_.descent().has_value()) most = std::min<size_t>(most, learner_.next_update() - taken_);
  // Where x changes at this very moment it does so first.
  more_ = most == 0;
  while (!stopping_ && failure_.ok()) {
    MergeOrder::Run run = order_.Next(writers_, most);
    if (run.slice.count == 0) break;
    most -= run.slice.count;
    taken_ += run.slice.count;
    runs.push_back(std::move(run));
    // A round's actions are drawn from one policy: the next may begin when this one is learned from.
    more_ = most == 0 || (!actors_.empty() && order_.rounds() != round_);
    if (more_) break;
  }
  if (outer_loop() == nullptr) schedule_.Reach(taken_);
  return runs;
}

Session::Learned Session::LearnNext() {
  const auto begin = std::chrono::steady_clock::now();
  Learned learned;
  std::vector<MergeOrder::Run> runs;
  {
    const std::lock_guard lock(mutex_);
    learned.news = std::exchange(news_, false);
    runs = TakeNext();
  }
  if (runs.empty()) MoveLearner();
  for (const auto& [writer, slice] : runs) {
    if (!LearnSlice(writer, slice, learned)) return learned;
  }
  if (learned.count == 0) return learned;
  MoveLearner();
  Tell();
  const bool slow = std::chrono::steady_clock::now() - begin > kDoze;
  const std::lock_guard lock(mutex_);
  slow_ = slow;
  return learned;
}

bool Session::LearnSlice(size_t writer, const BlockSlice& slice, Learned& learned) {
  const TransitionBlock& block = *slice.block;
  const size_t width = 2 * rules_->num_features, end = slice.begin + slice.count;
  for (size_t i = slice.begin; i < end; ++i) {
    if (cancelled_.load(std::memory_order_relaxed)) return false;
    learner_.Learn(writer, block.steps[i], std::span(block.features).subspan(i * width, width));
    ++learned.count;
    if (!learner_.due()) continue;
    if (!MakePolicy()) return false;
    learned.policy = true;
  }
  return true;
}

bool Session::MakePolicy() {
  BeginLongWork();
  absl::StatusOr<std::optional<PolicySnapshot>> made = learner_.Update(Interrupt(&cancelled_, std::nullopt));
  if (made.ok() && made->has_value()) {
    KeepStep((*made)->step);
    Keep(**std::move(made));
    return true;
  }
  const std::lock_guard lock(mutex_);
  if (!made.ok()) failure_ = made.status();
  return false;  // broken, or stopping
}

void Session::BeginLongWork() {
  {
    const std::lock_guard lock(mutex_);
    slow_ = true;
  }
  // Who was promised news soon has them first.
  Publish({});
}

void Session::Keep(PolicySnapshot made) {
  std::string digest = DigestOf(made);
  auto policy = std::make_shared<const PublishedPolicy>(PublishedPolicy{std::move(made), std::move(digest)});
  const std::lock_guard lock(mutex_);
  policy_ = std::move(policy);
}

void Session::KeepStep(std::shared_ptr<const OuterStep> step) {
  // First the step, then that it was the last.
  if (step != nullptr) {
    const std::lock_guard lock(mutex_);
    if (learner_.parameters_version() != step->parameters_version) schedule_.Move(learner_.parameters());
    steps_.Add(std::move(step));
  }
  TellOuterLoop();
}

void Session::TellOuterLoop() {
  const std::optional<SessionDescent>& loop = learner_.descent();
  if (!loop.has_value()) return;
  auto state = std::make_shared<OuterLoopState>(OuterLoopState{.taken = loop->taken(),
                                                               .last = learner_.last_step(),
                                                               .best = loop->descent().best(),
                                                               .termination = loop->descent().termination(),
                                                               .waiting = loop->waiting()});
  const std::lock_guard lock(mutex_);
  seen_.outer_loop = std::move(state);
}

std::shared_ptr<const OuterStep> Session::StepAfter(uint64_t number) const {
  const std::lock_guard lock(mutex_);
  return steps_.After(number);
}

absl::StatusOr<std::shared_ptr<const OuterStep>> Session::FindStep(uint64_t number) const {
  const uint64_t last = steps_.last() == nullptr ? 0 : steps_.last()->number;
  if (number == last + 1) return nullptr;
  if (number > last) {
    return absl::FailedPreconditionError(absl::StrCat("number is ", number, "; the next step is ", last + 1));
  }
  std::shared_ptr<const OuterStep> step = steps_.After(number - 1);
  if (step->number == number) return step;
  return absl::FailedPreconditionError(absl::StrCat("step ", number, " was taken, and is no longer kept"));
}

absl::StatusOr<std::shared_ptr<const OuterStep>> Session::Step(std::optional<uint64_t> number,
                                                               const Interrupt& caller) {
  // Who ends the session does not wait for the step.
  const Interrupt interrupt = caller.AlsoBy(cancelled_);
  const bool locked = learning_.LockToLook(interrupt);
  std::unique_lock<LearnerLock> learning(learning_, std::defer_lock);
  if (locked) learning = std::unique_lock(learning_, std::adopt_lock);
  if (cancelled_) {
    const std::lock_guard lock(mutex_);
    return Ended();
  }
  if (!locked || interrupt.Check().has_value()) return InterruptStatus(interrupt);
  {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(failure_);
  }
  if (number.has_value()) {
    const std::lock_guard lock(mutex_);
    ASSIGN_OR_RETURN(std::shared_ptr<const OuterStep> taken, FindStep(*number));
    if (taken != nullptr) return taken;
  }
  MoveLearner();
  const SessionDescentOptions* loop = outer_loop();
  std::vector<Preference> preferences;
  if (loop != nullptr && UsesPreferences(loop->estimator.kind)) preferences = preferences_.held();
  BeginLongWork();
  absl::StatusOr<std::shared_ptr<const OuterStep>> step = learner_.Step(interrupt, std::move(preferences));
  KeepStep(step.ok() ? *step : nullptr);
  if (!step.ok() && cancelled_) {
    const std::lock_guard lock(mutex_);
    return Ended();
  }
  RETURN_IF_ERROR(step.status());
  // Where it is interrupted the next one due makes up for it.
  absl::StatusOr<std::optional<PolicySnapshot>> made = learner_.MakePolicy(interrupt);
  if (made.ok() && made->has_value()) Keep(**std::move(made));
  learning.unlock();
  Publish({.policy = true});
  return step;
}

bool Session::BeginRound() {
  const std::lock_guard lock(mutex_);
  if (round_ == order_.rounds()) return false;
  round_ = order_.rounds();
  round_policy_ = policy_;
  return !actors_.empty();
}

void Session::Publish(const SessionNews& news) {
  const std::lock_guard lock(watching_);
  for (const auto& [number, hear] : watches_) hear(news);
}

}  // namespace bilevel::server
