// What the two streams of a session have in common: one read and one write at a time, answers before news, an end.
//
// Messages are handled in gRPC's threads, one after the other: that is decoding and a check under a lock, never
// learning. While one is handled the next is read, and no more: it waits until the answer to the last is written. So
// what waits is bounded: one message, one answer, and whatever slots a stream has for news, where newer replaces older.

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

  // A message was read; then, now or later, Done, Answer or End is called once.
  virtual void Handle(const Request& request) = 0;
  // Under mutex_: moves the next news, if there is any, into an empty `response`.
  virtual bool TakeNews(Response& response) = 0;
  // Nothing more will come: what is due is to be told.
  virtual void AddLastNews() {}
  // The stream is over, and nobody reaches it any more.
  virtual void Release() = 0;

  // Calls use(reactor) while it lives, from any thread.
  template <typename Reactor, typename Use>
  static void Reach(Link& link, const Use& use) {
    const std::lock_guard lock(link.mutex);
    if (link.reactor != nullptr) use(static_cast<Reactor&>(*link.reactor));
  }
  const std::shared_ptr<Link>& link() const { return link_; }

  // The constructor's last words.
  void Begin() { this->StartRead(&read_); }

  // The message needs no answer. From within Handle.
  void Done() {
    bool ends;
    {
      const std::lock_guard lock(mutex_);
      handling_one_ = false;
      ends = ends_after_this_;
    }
    if (ends) EndWell();
  }

  // The answer to the message.
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

  // Under mutex_: nothing more is to be told.
  bool ending() const { return end_.has_value(); }

  std::mutex mutex_;  // of news as of the rest

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      // The other side has said all it has to say; what it was not told yet goes first.
      {
        const std::lock_guard lock(mutex_);
        if (handling_one_ && !end_.has_value()) {
          ends_after_this_ = true;
          return;
        }
      }
      EndWell();
      return;
    }
    HandleNext(/*waited=*/false);
  }

  // Handles the message that was read, unless the answer to the last is still to be written. waited: for that.
  void HandleNext(bool waited) {
    const std::lock_guard one_at_a_time(handling_);
    {
      const std::lock_guard lock(mutex_);
      if (!waited && handling_one_) {
        waits_ = true;
        return;
      }
      if (finished_ || end_.has_value()) return;
      handling_one_ = true;
      std::swap(read_, handled_);
      this->StartRead(&read_);
    }
    Handle(handled_);
  }

  void OnWriteDone(bool ok) override {
    bool next = false, ends = false;
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok && !end_.has_value()) end_ = grpc::Status(grpc::StatusCode::CANCELLED, "the caller is gone");
      if (std::exchange(answered_, false)) {
        handling_one_ = false;
        next = std::exchange(waits_, false);
        ends = ends_after_this_;
      }
    }
    if (next) HandleNext(/*waited=*/true);
    if (ends) EndWell();
    Push();
  }

  void EndWell() {
    AddLastNews();
    End(grpc::Status::OK);
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
  std::mutex handling_;  // taken before mutex_
  Request read_, handled_;
  bool handling_one_ = false;     // it is neither done nor is its answer written
  bool waits_ = false;            // the next was read, and waits for that
  bool ends_after_this_ = false;  // there is no next
  Response in_flight_;
  std::optional<Response> answer_;
  bool answered_ = false;  // what is being written is an answer
  bool writing_ = false, finished_ = false;
  std::optional<grpc::Status> end_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_STREAM_REACTOR_H_
