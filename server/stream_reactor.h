// What the two streams of a session have in common: one read and one write at a time, answers before news, an end.
//
// Messages are handled in gRPC's threads: that is decoding and a copy under a lock, never learning. The next message is
// read when the answer to the last is on its way, so what waits to be written is bounded: one answer, and whatever
// slots a stream has for news, where newer replaces older.

#ifndef BILEVEL_SERVER_STREAM_REACTOR_H_
#define BILEVEL_SERVER_STREAM_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"

namespace bilevel::server {

// Whether an error is of the stream, not of one message.
inline bool EndsStream(const absl::Status& status) { return absl::IsAborted(status) || absl::IsUnavailable(status); }

template <typename Request, typename Response>
class StreamReactor : public grpc::ServerBidiReactor<Request, Response> {
 protected:
  // How other threads reach the reactor while it lives.
  struct Link {
    std::mutex mutex;
    StreamReactor* reactor;
  };

  StreamReactor() : link_(std::make_shared<Link>()) { link_->reactor = this; }

  // A message was read; ends with Read, Answer or End.
  virtual void Handle(const Request& request) = 0;
  // Under mutex_: moves the next news, if there is any, into an empty `response`.
  virtual bool TakeNews(Response& response) = 0;
  // The stream is over, and nobody reaches it any more.
  virtual void Release() = 0;

  // Calls use(reactor) while it lives, from any thread.
  template <typename Reactor, typename Use>
  static void Reach(Link& link, const Use& use) {
    const std::lock_guard lock(link.mutex);
    if (link.reactor != nullptr) use(static_cast<Reactor&>(*link.reactor));
  }
  const std::shared_ptr<Link>& link() const { return link_; }

  // The next message, unless the stream ends.
  void Read() {
    const std::lock_guard lock(mutex_);
    if (!finished_ && !end_.has_value()) this->StartRead(&request_);
  }

  // Written first; then the next message is read.
  void Answer(Response response) {
    {
      const std::lock_guard lock(mutex_);
      answer_ = std::move(response);
    }
    Push();
  }

  // The stream ends once what is being written is written; errors overtake what is due.
  void End(const grpc::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (!end_.has_value()) end_ = status;
    }
    Push();
  }

  // Writes what is due, or ends.
  void Push() {
    std::optional<grpc::Status> end;
    {
      const std::lock_guard lock(mutex_);
      if (writing_ || finished_) return;
      const bool failed = end_.has_value() && !end_->ok();
      if (!failed && TakeNext()) {
        writing_ = true;
      } else if (end_.has_value()) {
        finished_ = true;
        end = end_;
      } else {
        return;
      }
    }
    if (end.has_value()) {
      this->Finish(*end);
    } else {
      this->StartWrite(&in_flight_);
    }
  }

  std::mutex mutex_;  // of news as of the rest

 private:
  void OnReadDone(bool ok) override {
    // Without another message the other side has said all it has to say; what it was not told yet goes first.
    if (ok) {
      Handle(request_);
    } else {
      End(grpc::Status::OK);
    }
  }

  void OnWriteDone(bool ok) override {
    bool read = false;
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok && !end_.has_value()) end_ = grpc::Status(grpc::StatusCode::CANCELLED, "the caller is gone");
      read = std::exchange(answered_, false);
    }
    if (read) Read();
    Push();
  }

  void OnCancel() override { End(grpc::Status(grpc::StatusCode::CANCELLED, "the caller is gone")); }

  void OnDone() override {
    {
      const std::lock_guard lock(link_->mutex);
      link_->reactor = nullptr;
    }
    Release();
    delete this;
  }

  // Under mutex_.
  bool TakeNext() {
    if (answer_.has_value()) {
      in_flight_ = *std::exchange(answer_, std::nullopt);
      answered_ = true;
      return true;
    }
    in_flight_.Clear();
    return TakeNews(in_flight_);
  }

  const std::shared_ptr<Link> link_;
  Request request_;
  Response in_flight_;
  std::optional<Response> answer_;
  bool answered_ = false;  // what is being written is an answer
  bool writing_ = false, finished_ = false;
  std::optional<grpc::Status> end_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_STREAM_REACTOR_H_
