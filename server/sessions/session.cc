#include "server/sessions/session.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel::server {
namespace {

// Learned from at a time, while readers wait.
constexpr uint64_t kBatch = 1024;

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

absl::Status Fenced() { return absl::AbortedError("a newer stream of this writer took its place"); }

}  // namespace

absl::StatusOr<std::shared_ptr<Session>> Session::Start(SessionLearner learner, const SessionOptions& options) {
  RETURN_IF_ERROR(Validate(options));
  std::shared_ptr<Session> session(new Session(std::move(learner), options));
  session->thread_ = std::thread([raw = session.get()] { raw->Run(); });
  return session;
}

Session::Session(SessionLearner learner, const SessionOptions& options)
    : options_(options), order_(options.merge_round), streams_(options.writers.size()), learner_(std::move(learner)) {
  const auto rules = std::make_shared<const TransitionRules>(learner_.Rules(options.max_open_episodes));
  writers_.assign(options.writers.size(), WriterQueue(rules, options.queue / options.writers.size()));
}

Session::~Session() { Stop(); }

absl::StatusOr<Session::Lease> Session::Open(const std::string& writer, std::function<void()> fenced) {
  const auto found = std::find(options_.writers.begin(), options_.writers.end(), writer);
  if (found == options_.writers.end()) {
    return absl::NotFoundError(absl::StrCat("writer_id ", writer, " is none of the session's writers"));
  }
  const auto index = static_cast<size_t>(found - options_.writers.begin());
  std::function<void()> older;
  Lease lease{index, 0};
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return absl::UnavailableError("the session is stopping");
    lease.number = ++last_lease_;
    older = std::exchange(streams_[index].fenced, std::move(fenced));
    streams_[index].number = lease.number;
  }
  if (older) older();
  return lease;
}

void Session::Close(const Lease& lease) {
  const std::lock_guard lock(mutex_);
  if (Holds(lease)) streams_[lease.writer].fenced = nullptr;
}

absl::Status Session::Offer(const Lease& lease, uint64_t first, std::span<const Transition> batch) {
  const std::lock_guard lock(mutex_);
  if (!Holds(lease)) return Fenced();
  RETURN_IF_ERROR(failure_);
  RETURN_IF_ERROR(writers_[lease.writer].Offer(first, batch));
  idle_ = false;
  changed_.notify_all();
  return absl::OkStatus();
}

absl::Status Session::Finish(const Lease& lease, uint64_t last) {
  const std::lock_guard lock(mutex_);
  if (!Holds(lease)) return Fenced();
  RETURN_IF_ERROR(writers_[lease.writer].Finish(last));
  idle_ = false;
  changed_.notify_all();
  return absl::OkStatus();
}

absl::StatusOr<WriterProgress> Session::Progress(const Lease& lease) const {
  const std::lock_guard lock(mutex_);
  if (!Holds(lease)) return Fenced();
  const WriterQueue& queue = writers_[lease.writer];
  return WriterProgress{queue.accepted(), queue.accepted(), queue.credit()};
}

std::shared_ptr<const PolicySnapshot> Session::policy() const {
  const std::lock_guard lock(mutex_);
  return policy_;
}

uint64_t Session::Watch(std::function<void()> changed) {
  const std::lock_guard lock(watching_);
  watches_[++last_watch_] = std::move(changed);
  return last_watch_;
}

void Session::EndWatch(uint64_t watch) {
  const std::lock_guard lock(watching_);
  watches_.erase(watch);
}

Session::Counted Session::Counts() const {
  const std::lock_guard lock(learning_);
  return {learner_.Counts(), learner_.merged()};
}

SessionStatus Session::Status() const {
  SessionStatus status;
  status.merged = merged_;
  status.dropped = dropped_;
  const std::lock_guard lock(mutex_);
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
  changed_.wait(lock, [this] { return idle_ || stopping_; });
}

void Session::Stop() {
  std::call_once(stopped_, [this] { End(); });
}

void Session::End() {
  std::vector<std::function<void()>> fenced;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (Stream& open : streams_) {
      if (open.fenced) fenced.push_back(std::exchange(open.fenced, nullptr));
      open.number = ++last_lease_;
    }
    changed_.notify_all();
  }
  cancelled_ = true;
  for (const auto& react : fenced) react();
  thread_.join();
}

std::vector<Transition> Session::TakeBatch() {
  std::vector<Transition> batch;
  std::unique_lock lock(mutex_);
  while (true) {
    if (stopping_ || !failure_.ok()) return batch;
    while (batch.size() < kBatch) {
      const std::optional<MergeOrder::Merged> next = order_.Next(writers_);
      if (!next.has_value()) break;
      batch.push_back(next->transition);
    }
    if (!batch.empty()) return batch;
    idle_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !idle_ || stopping_; });
  }
}

void Session::Run() {
  while (true) {
    const std::vector<Transition> batch = TakeBatch();
    if (batch.empty()) {
      const std::lock_guard lock(mutex_);
      idle_ = true;
      changed_.notify_all();
      return;
    }
    Learn(batch);
    Publish();
  }
}

void Session::Learn(std::span<const Transition> batch) {
  const Interrupt interrupt(&cancelled_, std::nullopt);
  const std::lock_guard lock(learning_);
  for (const Transition& transition : batch) {
    learner_.Learn(transition);
    if (!learner_.due()) continue;
    absl::StatusOr<std::optional<PolicySnapshot>> made = learner_.Update(interrupt);
    const std::lock_guard status(mutex_);
    if (!made.ok()) {
      failure_ = made.status();
      return;
    }
    if (!made->has_value()) return;  // stopping
    policy_ = std::make_shared<const PolicySnapshot>(**std::move(made));
  }
  merged_ = learner_.merged();
  dropped_ = learner_.dropped();
}

void Session::Publish() {
  const std::lock_guard lock(watching_);
  for (const auto& [number, changed] : watches_) changed();
}

}  // namespace bilevel::server
