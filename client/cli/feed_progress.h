// Progress of `bilevel session feed`, one line on standard error: rewritten in place on a terminal, else one after
// another.

#ifndef BILEVEL_CLIENT_CLI_FEED_PROGRESS_H_
#define BILEVEL_CLIENT_CLI_FEED_PROGRESS_H_

#include <chrono>
#include <cstdint>

#include "client/train_stream.h"

namespace bilevel::client {

class FeedProgress {
 public:
  // always: even where standard error is no terminal.
  FeedProgress(const TrainStream& stream, bool always);

  // At most ten times a second; cheap in between.
  void Show();
  // Ends the line, so that other output starts on a fresh one.
  void Finish();

 private:
  using Clock = std::chrono::steady_clock;

  void Print();

  const TrainStream& stream_;
  bool terminal_;
  bool shown_;
  std::uint64_t accepted_;  // at the start
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_;
  bool open_ = false;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_FEED_PROGRESS_H_
