#include "client/act_link.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/status.h"

namespace bilevel::client {
namespace {

constexpr char kNoOpening[] = "the server did not answer the opening of the stream";

absl::Status Cancelled() { return absl::CancelledError("the stream was cancelled"); }

std::uint64_t SequenceOf(const v1::ActRequest& request) { return request.observation().sequence(); }

}  // namespace

ActStream::Link::Connection::Connection(v1::SessionService::StubInterface& stub, const v1::ActRequest& open,
                                        bool wait) {
  context_.set_wait_for_ready(wait);
  context_.set_initial_metadata_corked(true);  // it goes with the first message, so that nothing waits before that
  stream_ = stub.Act(&context_);
  reader_ = std::thread([this, open] { Run(open); });
}

ActStream::Link::Connection::~Connection() {
  context_.TryCancel();
  reader_.join();
}

void ActStream::Link::Connection::Run(const v1::ActRequest& open) {
  stream_->Write(open);  // waits for a connection
  v1::ActResponse response;
  while (stream_->Read(&response)) {
    const std::lock_guard lock(mutex_);
    if (response.has_draining()) {
      const google::protobuf::Duration& delay = response.draining().retry_delay();
      draining_ = std::chrono::duration<double>(static_cast<double>(delay.seconds()) + 1e-9 * delay.nanos());
    } else {
      response_ = std::move(response);
    }
    changed_.notify_all();
  }
  absl::Status status = FromGrpcStatus(stream_->Finish());
  const std::lock_guard lock(mutex_);
  end_ = std::move(status);
  changed_.notify_all();
}

ActStream::Link::Connection::Got ActStream::Link::Connection::Next(Clock::time_point deadline,
                                                                   v1::ActResponse& response, absl::Status& end) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_until(lock, deadline, [&] { return response_ || end_; })) return Got::kNothing;
  if (response_) {
    response = *std::exchange(response_, std::nullopt);
    return Got::kResponse;
  }
  end = *end_;
  return Got::kEnd;
}

std::optional<std::chrono::duration<double>> ActStream::Link::Connection::draining() const {
  const std::lock_guard lock(mutex_);
  return draining_;
}

ActStream::Link::Link(v1::SessionService::StubInterface& stub, std::shared_ptr<const void> owner, std::string session,
                      const ActOptions& options)
    : stub_(stub),
      owner_(std::move(owner)),
      session_(std::move(session)),
      options_(options),
      backoff_(options.reconnect.initial_delay, options.reconnect.max_delay, std::random_device()()) {}

ActStream::Link::~Link() { Cancel(); }

void ActStream::Link::Cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (connection_ != nullptr) connection_->Cancel();
  changed_.notify_all();
}

std::uint64_t ActStream::Link::accepted() const {
  const std::lock_guard lock(mutex_);
  return accepted_;
}

bool ActStream::Link::Sleep(std::chrono::duration<double> delay) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, delay, [&] { return cancelled_; });
}

void ActStream::Link::Drop() {
  std::shared_ptr<Connection> dropped;
  const std::lock_guard lock(mutex_);
  dropped.swap(connection_);
}

absl::Status ActStream::Link::HandleOpened(const v1::WriterProgress& progress) {
  const std::uint64_t accepted = progress.accepted_sequence();
  const std::lock_guard lock(mutex_);
  if (!opened_) last_ = accepted;
  opened_ = true;
  if (accepted < last_) {
    return absl::DataLossError(
        absl::StrCat("the server has ", accepted, " transitions of this writer, and had taken ", last_));
  }
  if (accepted > last_ + (unanswered_ && SequenceOf(*unanswered_) > 0 ? 1 : 0)) {
    return absl::AbortedError(absl::StrCat("the server has ", accepted, " transitions of this writer, of which ", last_,
                                           " came from here: somebody else writes, too"));
  }
  accepted_ = accepted;
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<ActStream::Link::Connection>> ActStream::Link::Connect(Clock::time_point deadline,
                                                                                      bool again, bool& late) {
  if (!Sleep(std::min(not_before_, deadline) - Clock::now())) return Cancelled();
  v1::ActRequest open;
  open.mutable_open()->set_session(session_);
  open.mutable_open()->set_writer_id(options_.writer);
  open.mutable_open()->set_walks(options_.walks);
  if (options_.exploration.ByteSizeLong() > 0) *open.mutable_open()->mutable_exploration() = options_.exploration;
  auto connection = std::make_shared<Connection>(stub_, open, again);
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return Cancelled();
    connection_ = connection;
  }
  v1::ActResponse response;
  absl::Status end;
  const Clock::time_point patience = Clock::now() + options_.reconnect.answer_timeout;
  switch (connection->Next(std::min(deadline, patience), response, end)) {
    case Connection::Got::kResponse:
      if (absl::Status opened = HandleOpened(response.opened()); !opened.ok()) return opened;
      return connection;
    case Connection::Got::kEnd:
      return end.ok() ? absl::UnavailableError("the server ended the stream") : end;
    case Connection::Got::kNothing:
      break;
  }
  late = deadline < patience;
  return absl::UnavailableError(kNoOpening);
}

absl::StatusOr<std::optional<v1::ActResponse>> ActStream::Link::AskOnce(const v1::ActRequest* request,
                                                                        Clock::time_point deadline, bool again,
                                                                        bool& late) {
  std::shared_ptr<Connection> connection;
  {
    const std::lock_guard lock(mutex_);
    connection = connection_;
  }
  if (connection == nullptr) {
    absl::StatusOr<std::shared_ptr<Connection>> opened = Connect(deadline, again, late);
    if (!opened.ok()) return opened.status();
    connection = *std::move(opened);
  }
  if (request == nullptr) return std::nullopt;
  // A write that fails has an end to tell of.
  connection->Write(*request);
  if (request->has_finish()) connection->WritesDone();
  v1::ActResponse response;
  absl::Status end;
  switch (connection->Next(deadline, response, end)) {
    case Connection::Got::kResponse:
      if (const auto delay = connection->draining()) {
        not_before_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(*delay);
        Drop();
      }
      return response;
    case Connection::Got::kEnd:
      if (!end.ok()) return end;
      if (request->has_finish() && !connection->draining()) return std::nullopt;
      return absl::UnavailableError("the server ended the stream");
    case Connection::Got::kNothing:
      break;
  }
  late = true;
  return absl::UnavailableError("the server did not answer");
}

absl::StatusOr<std::optional<v1::ActResponse>> ActStream::Link::Ask(const v1::ActRequest* request,
                                                                    Clock::time_point deadline) {
  const Clock::time_point give_up = Clock::now() + options_.reconnect.retry_for;
  std::string last;
  while (true) {
    bool late = false;
    // The first attempt learns at once what is wrong; later ones wait for a connection.
    absl::StatusOr<std::optional<v1::ActResponse>> answer = AskOnce(request, deadline, !last.empty(), late);
    if (answer.ok()) {
      backoff_.Reset();
      return answer;
    }
    Drop();
    {
      const std::lock_guard lock(mutex_);
      if (cancelled_) return Cancelled();
    }
    if (IsFinal(answer.status())) {
      final_ = answer.status();
      return answer;
    }
    const std::chrono::duration<double> delay = backoff_.Next();
    if (last.empty() || answer.status().message() != kNoOpening) last = std::string(answer.status().message());
    if (late || Clock::now() + delay > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("the deadline passed; the last attempt: ", last));
    }
    if (Clock::now() >= give_up) {
      return absl::UnavailableError(
          absl::StrCat("no connection for ", options_.reconnect.retry_for.count(), " ms; the last attempt: ", last));
    }
    if (!Sleep(delay)) return Cancelled();
  }
}

absl::Status ActStream::Link::Open(Clock::time_point deadline) {
  const std::lock_guard lock(asking_);
  return Ask(nullptr, deadline).status();
}

absl::StatusOr<v1::Action> ActStream::Link::Observe(const v1::Observation& observation, Clock::time_point deadline) {
  const std::lock_guard lock(asking_);
  if (!final_.ok()) return final_;
  v1::ActRequest request;
  *request.mutable_observation() = observation;
  if (observation.sequence() > 0) request.mutable_observation()->set_sequence(last_ + 1);
  if (unanswered_ && unanswered_->SerializeAsString() != request.SerializeAsString()) {
    return absl::FailedPreconditionError("another observation is unanswered; call again with the same one");
  }
  unanswered_ = request;
  absl::StatusOr<std::optional<v1::ActResponse>> answer = Ask(&request, deadline);
  if (!answer.ok()) return answer.status();
  unanswered_.reset();
  const v1::ActResponse& response = **answer;
  if (response.has_rejected()) {
    const v1::rpc::Status& status = response.rejected().status();
    return FromGrpcStatus(
        grpc::Status(static_cast<grpc::StatusCode>(status.code()), status.message(), status.SerializeAsString()));
  }
  if (!response.has_action()) return absl::InternalError("the server's answer to an observation is no action");
  if (SequenceOf(request) > 0) last_ = SequenceOf(request);
  const std::lock_guard accepting(mutex_);
  accepted_ = std::max(accepted_, response.action().accepted_sequence());
  return response.action();
}

absl::Status ActStream::Link::Finish(Clock::time_point deadline) {
  const std::lock_guard lock(asking_);
  if (!final_.ok()) return final_;
  if (unanswered_) {
    return absl::FailedPreconditionError("an observation is unanswered; call again with the same one");
  }
  v1::ActRequest request;
  request.mutable_finish()->set_last_sequence(last_);
  const absl::StatusOr<std::optional<v1::ActResponse>> answer = Ask(&request, deadline);
  if (!answer.ok()) return answer.status();
  Drop();
  if (!answer->has_value() || (*answer)->has_opened()) {
    final_ = absl::FailedPreconditionError("the writer is finished; nothing may follow");
    return absl::OkStatus();
  }
  const v1::rpc::Status& status = (*answer)->rejected().status();
  return FromGrpcStatus(
      grpc::Status(static_cast<grpc::StatusCode>(status.code()), status.message(), status.SerializeAsString()));
}

}  // namespace bilevel::client
