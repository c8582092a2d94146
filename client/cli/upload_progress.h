// Progress of `bilevel env upload`, one line on standard error: rewritten in place on a terminal, else one after
// another.

#ifndef BILEVEL_CLIENT_CLI_UPLOAD_PROGRESS_H_
#define BILEVEL_CLIENT_CLI_UPLOAD_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace bilevel::client {

// From any thread.
class UploadProgress {
 public:
  // always: even where standard error is no terminal.
  explicit UploadProgress(bool always);

  // On a terminal alone: what comes before the first byte is sent.
  void Announce(const std::string& what);
  // At most ten times a second; cheap in between.
  void Show(std::uint64_t sent, std::uint64_t total);
  // Ends the line, so that other output starts on a fresh one. Nothing is shown from then on.
  void Finish();

  // What was told last; 0 and 0 before anything was sent.
  std::uint64_t sent() const;
  std::uint64_t total() const;

 private:
  using Clock = std::chrono::steady_clock;

  void Print();

  const bool terminal_;
  mutable std::mutex mutex_;
  bool shown_;
  bool open_ = false;
  std::uint64_t sent_ = 0;
  std::uint64_t total_ = 0;
  std::optional<std::uint64_t> first_;  // that an earlier upload sent
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_UPLOAD_PROGRESS_H_
