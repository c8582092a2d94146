#include "client/transition_buffer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bilevel::client {
namespace {

constexpr std::size_t kMostOfABatch = 8192;

// Transitions of one batch have the same columns.
bool SameColumns(const Transition& one, const Transition& other) {
  return one.leader_reward.has_value() == other.leader_reward.has_value() &&
         one.behavior_log_probability.has_value() == other.behavior_log_probability.has_value() &&
         one.parameters_version.has_value() == other.parameters_version.has_value() &&
         one.features.size() == other.features.size();
}

// On the wire, about.
std::size_t BytesOf(const Transition& transition) {
  constexpr std::size_t kNumbers = 64;
  return kNumbers + 2 * sizeof(double) * transition.features.size();
}

absl::Status LateBy(const char* what) {
  return absl::DeadlineExceededError(absl::StrCat("the deadline passed while waiting for ", what));
}

}  // namespace

absl::Status TransitionBufferOptions::Validate() const {
  if (capacity < 1) return absl::InvalidArgumentError("capacity is 0; must be >= 1");
  if (batch_size < 1 || batch_size > kMostOfABatch) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch_size is ", batch_size, "; must be in [1, ", kMostOfABatch, "]"));
  }
  if (max_delay.count() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("max_delay is ", max_delay.count(), " ms; must be >= 0"));
  }
  return absl::OkStatus();
}

absl::Status TransitionBuffer::Trouble() const {
  if (!end_.ok()) return end_;
  return rejection_ ? rejection_->status : absl::OkStatus();
}

absl::StatusOr<std::uint64_t> TransitionBuffer::Append(Transition transition, Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  const auto settled = [&] {
    return !Trouble().ok() || finishing_ || (ever_opened_ && entries_.size() < options_.capacity);
  };
  const bool in_time = changed_.wait_until(lock, deadline, settled);
  if (absl::Status trouble = Trouble(); !trouble.ok()) return trouble;
  if (finishing_) return absl::FailedPreconditionError("the writer is finished; nothing may follow");
  if (!in_time) return LateBy(ever_opened_ ? "room in the buffer" : "the stream to open");
  entries_.push_back({std::move(transition), Clock::now()});
  const std::uint64_t number = appended();
  // The sender sleeps until the oldest has waited long enough, or a batch is full.
  if (number == sent_ + 1 || number - sent_ >= options_.batch_size) changed_.notify_all();
  return number;
}

absl::Status TransitionBuffer::WaitDurable(std::unique_lock<std::mutex>& lock, Clock::time_point deadline) {
  const std::uint64_t last = appended();
  flush_until_ = std::max(flush_until_, last);
  changed_.notify_all();
  const bool in_time = changed_.wait_until(lock, deadline, [&] {
    // What was dropped meanwhile is not waited for.
    return !Trouble().ok() || (ever_opened_ && held_after_ >= std::min(last, appended()));
  });
  if (absl::Status trouble = Trouble(); !trouble.ok()) return trouble;
  if (in_time) return absl::OkStatus();
  return LateBy("the server to take what was appended");
}

absl::Status TransitionBuffer::Flush(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return WaitDurable(lock, deadline);
}

absl::Status TransitionBuffer::Finish(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  if (absl::Status durable = WaitDurable(lock, deadline); !durable.ok()) return durable;
  finishing_ = true;
  changed_.notify_all();
  const bool in_time = changed_.wait_until(lock, deadline, [&] { return finished_ || !Trouble().ok(); });
  if (finished_) return absl::OkStatus();
  if (absl::Status trouble = Trouble(); !trouble.ok()) return trouble;
  if (in_time) return absl::OkStatus();
  finishing_ = finish_sent_;  // else the stream goes on
  return LateBy("the server to take the finish");
}

std::optional<TransitionRejection> TransitionBuffer::rejection() const {
  const std::lock_guard lock(mutex_);
  return rejection_;
}

std::vector<Transition> TransitionBuffer::NotTaken() const {
  const std::lock_guard lock(mutex_);
  std::vector<Transition> transitions;
  for (std::uint64_t number = std::max(accepted_, held_after_) + 1; number <= appended(); ++number) {
    transitions.push_back(At(number).transition);
  }
  return transitions;
}

absl::Status TransitionBuffer::ReplaceRejected(std::vector<Transition> transitions) {
  const std::lock_guard lock(mutex_);
  if (!rejection_) return absl::FailedPreconditionError("nothing is rejected");
  const auto at = entries_.begin() + static_cast<std::ptrdiff_t>(rejection_->first - held_after_ - 1);
  auto to = entries_.erase(at, at + static_cast<std::ptrdiff_t>(rejection_->count));
  for (Transition& transition : transitions) to = entries_.insert(to, {std::move(transition), Clock::now()}) + 1;
  // Numbers from here on name other transitions now; the server has seen none of them.
  most_sent_ = std::min(most_sent_, rejection_->first - 1);
  flush_until_ = std::min(flush_until_, appended());
  suspect_.reset();
  rejection_.reset();
  changed_.notify_all();
  return absl::OkStatus();
}

TrainProgress TransitionBuffer::progress() const {
  const std::lock_guard lock(mutex_);
  return {.appended = appended(), .sent = sent_, .accepted = accepted_, .durable = held_after_, .credit = credit_};
}

absl::Status TransitionBuffer::status() const {
  const std::lock_guard lock(mutex_);
  return end_;
}

void TransitionBuffer::Fail(absl::Status status) {
  const std::lock_guard lock(mutex_);
  if (end_.ok() && !finished_) end_ = std::move(status);
  state_ = State::kClosed;
  changed_.notify_all();
}

// The buffer forgets what is durable.
void TransitionBuffer::Advance(std::uint64_t accepted, std::uint64_t durable, std::uint64_t credit) {
  accepted_ = accepted;
  credit_ = credit;
  for (const std::uint64_t until = std::min(durable, accepted); held_after_ < until; ++held_after_) {
    entries_.pop_front();
  }
  while (!in_flight_.empty() && in_flight_.front().first + in_flight_.front().count - 1 <= accepted) {
    in_flight_.pop_front();
  }
  if (suspect_ && *suspect_ <= accepted) suspect_.reset();
  if (rejection_ && rejection_->first <= accepted) rejection_.reset();
  changed_.notify_all();
}

void TransitionBuffer::Opening() {
  const std::lock_guard lock(mutex_);
  if (end_.ok()) state_ = State::kOpening;
}

absl::Status TransitionBuffer::Opened(std::uint64_t accepted, std::uint64_t durable, std::uint64_t credit) {
  const std::lock_guard lock(mutex_);
  if (!end_.ok()) return end_;
  if (!ever_opened_) {
    ever_opened_ = true;
    held_after_ = most_sent_ = accepted;
  }
  if (accepted > most_sent_) {
    return absl::AbortedError(absl::StrCat("the server has ", accepted, " transitions of this writer, of which ",
                                           most_sent_, " came from here: somebody else writes, too"));
  }
  if (accepted < held_after_) {
    return absl::DataLossError(absl::StrCat("the server has ", accepted,
                                            " transitions of this writer; this stream no longer holds those before ",
                                            held_after_ + 1, ": feed again from ", accepted + 1));
  }
  sent_ = accepted;
  in_flight_.clear();
  doomed_.clear();
  finish_sent_ = false;
  state_ = State::kOpen;
  Advance(accepted, durable, credit);
  return absl::OkStatus();
}

void TransitionBuffer::Acknowledged(std::uint64_t accepted, std::uint64_t durable, std::uint64_t credit) {
  const std::lock_guard lock(mutex_);
  // One that was overtaken by a rejection is old, and one beyond what was sent is no answer to us.
  Advance(std::clamp(accepted, accepted_, std::max(accepted_, sent_)), durable, std::max(credit, credit_));
}

absl::Status TransitionBuffer::Rejected(std::uint64_t first, std::optional<std::uint64_t> index,
                                        const std::string& column, const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  if (first == 0 && finish_sent_) {
    end_ = status;
    changed_.notify_all();
    return absl::OkStatus();
  }
  if (!doomed_.empty() && doomed_.front().first == first) {
    doomed_.pop_front();
    changed_.notify_all();
    return absl::OkStatus();
  }
  const auto sent = std::find_if(in_flight_.begin(), in_flight_.end(), [&](const Span& s) { return s.first == first; });
  if (!doomed_.empty() || sent == in_flight_.end()) {
    return absl::InternalError(absl::StrCat("the server rejected a batch from ", first, ", which was not under way"));
  }
  // Answers come in order: what was sent before it is taken, or this would be a gap.
  const Span span = *sent;
  in_flight_.erase(in_flight_.begin(), sent + 1);
  doomed_ = std::exchange(in_flight_, {});
  accepted_ = std::max(accepted_, first - 1);
  sent_ = first - 1;
  if (index && *index > 0 && *index < span.count) {
    suspect_ = first + *index;
  } else {
    rejection_ = {.first = first, .count = index ? 1 : span.count, .column = column, .status = status};
  }
  changed_.notify_all();
  return absl::OkStatus();
}

void TransitionBuffer::Closing() {
  const std::lock_guard lock(mutex_);
  if (state_ == State::kOpen) state_ = State::kClosing;
  changed_.notify_all();
}

void TransitionBuffer::Closed() {
  const std::lock_guard lock(mutex_);
  state_ = State::kClosed;
  changed_.notify_all();
}

void TransitionBuffer::Finished() {
  const std::lock_guard lock(mutex_);
  finished_ = end_.ok();
  changed_.notify_all();
}

std::uint64_t TransitionBuffer::SendableUntil() const {
  if (!doomed_.empty()) return sent_;
  std::uint64_t until = std::min(appended(), credit_);
  if (rejection_) until = std::min(until, rejection_->first - 1);
  if (suspect_) until = std::min(until, sent_ + 1 < *suspect_ ? *suspect_ - 1 : *suspect_);
  return std::max(until, sent_);
}

std::size_t TransitionBuffer::BatchCount(std::uint64_t until) const {
  const std::size_t most = std::min<std::size_t>(options_.batch_size, until - sent_);
  std::size_t count = 0;
  std::size_t bytes = 0;
  while (count < most) {
    const Transition& transition = At(sent_ + 1 + count).transition;
    bytes += BytesOf(transition);
    if (count > 0 && (bytes > options_.batch_bytes || !SameColumns(At(sent_ + 1).transition, transition))) break;
    ++count;
  }
  return count;
}

TransitionBuffer::Turn TransitionBuffer::Next(Batch& batch) {
  std::unique_lock lock(mutex_);
  while (state_ == State::kOpen) {
    if (finishing_ && !finish_sent_ && accepted_ == appended()) {
      finish_sent_ = true;
      batch = {.first = accepted_, .transitions = {}};
      return Turn::kFinish;
    }
    const std::uint64_t until = SendableUntil();
    if (until == sent_) {
      changed_.wait(lock);
      continue;
    }
    // The suspect and what precedes it are overdue.
    const bool full = until - sent_ >= options_.batch_size || sent_ < flush_until_ || suspect_.has_value();
    const Clock::time_point due = At(sent_ + 1).since + options_.max_delay;
    if (!full && Clock::now() < due) {
      changed_.wait_until(lock, due);
      continue;
    }
    const std::size_t count = BatchCount(until);
    batch = {.first = sent_ + 1, .transitions = {}};
    batch.transitions.reserve(count);
    for (std::size_t i = 0; i < count; ++i) batch.transitions.push_back(At(batch.first + i).transition);
    sent_ += count;
    most_sent_ = std::max(most_sent_, sent_);
    in_flight_.push_back({batch.first, count});
    return Turn::kBatch;
  }
  return Turn::kClosed;
}

bool TransitionBuffer::WaitUntilOpened(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] { return state_ != State::kOpening; });
}

bool TransitionBuffer::WaitUntilClosed(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] { return state_ == State::kClosed; });
}

}  // namespace bilevel::client
