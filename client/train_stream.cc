#include "client/train_stream.h"

#include <utility>

#include "client/train_link.h"

namespace bilevel::client {
namespace {

using Clock = TransitionBuffer::Clock;

Clock::time_point After(std::optional<std::chrono::milliseconds> timeout) {
  // A time that does not overflow when it is converted to another clock's.
  constexpr std::chrono::hours kForEver{24 * 365 * 10};
  return Clock::now() + (timeout ? std::chrono::duration_cast<Clock::duration>(*timeout) : kForEver);
}

}  // namespace

TrainStream::TrainStream(std::unique_ptr<Link> link) : link_(std::move(link)) {}
TrainStream::TrainStream(TrainStream&&) noexcept = default;
TrainStream& TrainStream::operator=(TrainStream&&) noexcept = default;
TrainStream::~TrainStream() = default;

std::uint64_t TrainStream::accepted_sequence() const { return link_->first_accepted(); }

absl::StatusOr<std::uint64_t> TrainStream::Append(Transition transition,
                                                  std::optional<std::chrono::milliseconds> timeout) {
  return link_->buffer().Append(std::move(transition), After(timeout));
}

absl::Status TrainStream::Flush(std::optional<std::chrono::milliseconds> timeout) {
  return link_->buffer().Flush(After(timeout));
}

absl::Status TrainStream::Finish(std::optional<std::chrono::milliseconds> timeout) {
  return link_->buffer().Finish(After(timeout));
}

std::optional<TransitionRejection> TrainStream::rejection() const { return link_->buffer().rejection(); }
std::vector<Transition> TrainStream::NotTaken() const { return link_->buffer().NotTaken(); }
absl::Status TrainStream::ReplaceRejected(std::vector<Transition> transitions) {
  return link_->buffer().ReplaceRejected(std::move(transitions));
}

TrainProgress TrainStream::progress() const { return link_->buffer().progress(); }
int TrainStream::connections() const { return link_->connections(); }
std::optional<v1::PolicyUpdate> TrainStream::policy() const { return link_->policy(); }
absl::Status TrainStream::status() const { return link_->buffer().status(); }

void TrainStream::Cancel() { link_->Cancel(absl::CancelledError("the stream was cancelled")); }

}  // namespace bilevel::client
