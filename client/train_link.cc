#include "client/train_link.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/status.h"
#include "client/transition_batch.h"

namespace bilevel::client {
namespace {

std::chrono::duration<double> ToSeconds(const google::protobuf::Duration& duration) {
  return std::chrono::duration<double>(static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos());
}

// The rejection in numbers of transitions: "transition 17: state is 9; must be in [0, 4]".
absl::Status Translate(const v1::Rejected& rejected, const BatchPlace& place) {
  const auto code = static_cast<grpc::StatusCode>(rejected.status().code());
  const absl::Status status =
      FromGrpcStatus(grpc::Status(code, rejected.status().message(), rejected.status().SerializeAsString()));
  std::string what(status.message());
  if (const auto bad = StatusDetail<v1::rpc::BadRequest>(status); bad && bad->field_violations_size() > 0) {
    what = absl::StrCat(place.column, " ", bad->field_violations(0).description());
  }
  const std::string where = rejected.first_sequence() == 0 ? std::string("finish")
                            : place.index ? absl::StrCat("transition ", rejected.first_sequence() + *place.index)
                                          : absl::StrCat("the batch from transition ", rejected.first_sequence());
  absl::Status translated(status.code(), absl::StrCat(where, ": ", what));
  status.ForEachPayload([&](auto url, const absl::Cord& payload) { translated.SetPayload(url, payload); });
  return translated;
}

}  // namespace

TrainStream::Link::Link(v1::SessionService::StubInterface& stub, std::shared_ptr<const void> owner, std::string session,
                        const TrainOptions& options)
    : stub_(stub),
      owner_(std::move(owner)),
      session_(std::move(session)),
      options_(options),
      buffer_(options.buffer),
      backoff_(options.reconnect.initial_delay, options.reconnect.max_delay, std::random_device()()),
      thread_([this] { Run(); }) {}

TrainStream::Link::~Link() {
  Cancel(absl::CancelledError("the stream is destroyed"));
  thread_.join();
}

absl::Status TrainStream::Link::WaitUntilOpened(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  const bool in_time = changed_.wait_until(lock, deadline, [&] { return first_accepted_ || !buffer_.status().ok(); });
  if (first_accepted_) return absl::OkStatus();
  if (in_time) return buffer_.status();
  if (!last_end_.ok()) return last_end_;
  return absl::DeadlineExceededError("the deadline passed while waiting for the stream to open");
}

void TrainStream::Link::Cancel(absl::Status why) {
  buffer_.Fail(std::move(why));
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (context_ != nullptr) context_->TryCancel();
  changed_.notify_all();
}

std::uint64_t TrainStream::Link::first_accepted() const {
  const std::lock_guard lock(mutex_);
  return first_accepted_.value_or(0);
}

int TrainStream::Link::connections() const {
  const std::lock_guard lock(mutex_);
  return connections_;
}

std::optional<v1::PolicyUpdate> TrainStream::Link::policy() const {
  const std::lock_guard lock(mutex_);
  return policy_;
}

void TrainStream::Link::Sleep(std::chrono::duration<double> delay) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, delay, [&] { return cancelled_; });
}

void TrainStream::Link::Run() {
  bool again = false;
  while (true) {
    const std::uint64_t accepted = buffer_.progress().accepted;
    const int connections = this->connections();
    const absl::Status ended = RunStream(again);
    if (ended.ok()) buffer_.Finished();  // unless the server rejected that
    if (ended.ok() || !buffer_.status().ok()) break;
    // Progress, not an opening alone, makes the next delay short again.
    if (buffer_.progress().accepted > accepted) backoff_.Reset();
    std::chrono::duration<double> delay = backoff_.Next();
    absl::Status gave_up;
    {
      const std::lock_guard lock(mutex_);
      if (cancelled_) break;
      last_end_ = ended;
      if (connections_ > connections) last_success_ = Clock::now();
      const std::chrono::duration<double> left = last_success_ + options_.reconnect.retry_for - Clock::now();
      if (draining_) {
        delay = *draining_;
      } else if (left.count() <= 0) {
        gave_up = absl::UnavailableError(absl::StrCat("no connection for ", options_.reconnect.retry_for.count(),
                                                      " ms; the last attempt: ", std::string(ended.message())));
      } else {
        delay = std::min(delay, left);
      }
    }
    if (IsFinal(ended) || !gave_up.ok()) {
      Cancel(gave_up.ok() ? ended : gave_up);
      break;
    }
    Sleep(delay);
    again = true;
  }
}

absl::Status TrainStream::Link::RunStream(bool again) {
  grpc::ClientContext context;
  // The first attempt learns at once what is wrong. Later ones wait for a connection: without that each would be told
  // of the failure before it.
  context.set_wait_for_ready(again);
  context.set_initial_metadata_corked(true);  // it goes with the first message, so that nothing waits before that
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return absl::CancelledError("cancelled");
    context_ = &context;
    broken_ = absl::OkStatus();
    draining_.reset();
  }
  buffer_.Opening();
  const std::unique_ptr<Stream> stream = stub_.Train(&context);
  std::thread reader([&] { Receive(*stream, context); });
  const bool finishing = Send(*stream, context);
  stream->WritesDone();
  // What the server still has to say; a stream that was cut says it at once.
  if (!buffer_.WaitUntilClosed(Clock::now() + options_.reconnect.answer_timeout)) {
    Break(absl::UnavailableError("the server did not end the stream"), context);
  }
  reader.join();
  absl::Status status = FromGrpcStatus(stream->Finish());
  const std::lock_guard lock(mutex_);
  context_ = nullptr;
  if (!broken_.ok()) return broken_;
  if (!status.ok()) return status;
  if (finishing && !draining_) return absl::OkStatus();
  return absl::UnavailableError("the server ended the stream");
}

void TrainStream::Link::Break(const absl::Status& why, grpc::ClientContext& context) {
  const std::lock_guard lock(mutex_);
  if (broken_.ok()) broken_ = why;
  context.TryCancel();
}

absl::Status TrainStream::Link::NoAnswer() const {
  const std::lock_guard lock(mutex_);
  if (!last_end_.ok()) return last_end_;
  return absl::UnavailableError("the server did not answer the opening of the stream");
}

TrainStream::Link::Clock::time_point TrainStream::Link::OpenDeadline() const {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  const Clock::time_point patience = now + options_.reconnect.answer_timeout;
  if (last_end_.ok()) return patience;
  return std::clamp(last_success_ + options_.reconnect.retry_for, now, patience);
}

bool TrainStream::Link::Send(Stream& stream, grpc::ClientContext& context) {
  if (!buffer_.WaitUntilOpened(OpenDeadline())) {
    Break(NoAnswer(), context);
    return false;
  }
  TransitionBuffer::Batch batch;
  while (true) {
    v1::TrainRequest request;
    const TransitionBuffer::Turn turn = buffer_.Next(batch);
    if (turn == TransitionBuffer::Turn::kClosed) return false;
    if (turn == TransitionBuffer::Turn::kFinish) {
      request.mutable_finish()->set_last_sequence(batch.first);
      return stream.Write(request);
    }
    *request.mutable_batch() = EncodeBatch(batch.first, batch.transitions);
    if (!stream.Write(request)) return false;
  }
}

void TrainStream::Link::Receive(Stream& stream, grpc::ClientContext& context) {
  // Written here, because it waits for a connection, and Send for no longer than it wants to.
  v1::TrainRequest open;
  open.mutable_open()->set_session(session_);
  open.mutable_open()->set_writer_id(options_.writer);
  stream.Write(open);
  v1::TrainResponse response;
  while (stream.Read(&response)) {
    if (const absl::Status handled = Handle(response); !handled.ok()) Break(handled, context);
  }
  buffer_.Closed();
}

absl::Status TrainStream::Link::Handle(const v1::TrainResponse& response) {
  switch (response.message_case()) {
    case v1::TrainResponse::kOpened:
      return HandleOpened(response.opened());
    case v1::TrainResponse::kAck:
      buffer_.Acknowledged(response.ack().accepted_sequence(), response.ack().durable_sequence(),
                           response.ack().credit_until());
      break;
    case v1::TrainResponse::kRejected:
      return HandleRejected(response.rejected());
    case v1::TrainResponse::kPolicy: {
      const std::lock_guard lock(mutex_);
      if (!policy_ || response.policy().version() >= policy_->version()) policy_ = response.policy();
      break;
    }
    case v1::TrainResponse::kDraining: {
      {
        const std::lock_guard lock(mutex_);
        draining_ = ToSeconds(response.draining().retry_delay());
      }
      buffer_.Closing();
      break;
    }
    default:
      break;  // of a newer server
  }
  return absl::OkStatus();
}

absl::Status TrainStream::Link::HandleOpened(const v1::WriterProgress& progress) {
  absl::Status opened =
      buffer_.Opened(progress.accepted_sequence(), progress.durable_sequence(), progress.credit_until());
  if (!opened.ok()) return opened;
  const std::lock_guard lock(mutex_);
  ++connections_;
  last_end_ = absl::OkStatus();
  if (!first_accepted_) first_accepted_ = progress.accepted_sequence();
  changed_.notify_all();
  return absl::OkStatus();
}

absl::Status TrainStream::Link::HandleRejected(const v1::Rejected& rejected) {
  const BatchPlace place = PlaceOf(rejected);
  return buffer_.Rejected(rejected.first_sequence(), place.index, place.column, Translate(rejected, place));
}

}  // namespace bilevel::client
