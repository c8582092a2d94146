#include "client/cli/upload_progress.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/str_format.h"
#include "client/cli/report.h"

namespace bilevel::client {
namespace {

constexpr std::chrono::milliseconds kBetweenLines{100};
// A rate from less time says nothing.
constexpr double kShortest = 0.3;
constexpr int kBarWidth = 24;

}  // namespace

UploadProgress::UploadProgress(bool always) : terminal_(isatty(STDERR_FILENO) != 0), shown_(always || terminal_) {}

void UploadProgress::Announce(const std::string& what) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!terminal_ || !shown_) return;
  std::cerr << "\r" << what << "\x1b[K" << std::flush;
  open_ = true;
}

void UploadProgress::Show(std::uint64_t sent, std::uint64_t total) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!first_) {
    first_ = sent;
    start_ = Clock::now();
  }
  sent_ = sent;
  total_ = total;
  if (!shown_ || Clock::now() < next_) return;
  next_ = Clock::now() + kBetweenLines;
  Print();
}

void UploadProgress::Print() {
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = static_cast<double>(sent_ - std::min(sent_, *first_)) / std::max(elapsed, 1e-3);
  const double share = total_ == 0 ? 1 : static_cast<double>(sent_) / static_cast<double>(total_);
  const auto full = static_cast<std::size_t>(share * kBarWidth);
  std::string line =
      absl::StrFormat("[%s%s] %3.0f %%  %s of %s", std::string(full, '#'), std::string(kBarWidth - full, ' '),
                      100 * share, Bytes(static_cast<double>(sent_)), Bytes(static_cast<double>(total_)));
  if (elapsed > kShortest && rate > 0) {
    line += absl::StrFormat("  %s/s  %.0f s left", Bytes(rate), static_cast<double>(total_ - sent_) / rate);
  }
  // On a terminal: back to the start of the line, and clear what the line before leaves.
  std::cerr << (terminal_ ? "\r" : "") << line << (terminal_ ? "\x1b[K" : "\n") << std::flush;
  open_ = terminal_;
}

void UploadProgress::Finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (shown_ && first_) Print();
  if (open_) std::cerr << "\n";
  open_ = false;
  shown_ = false;
}

std::uint64_t UploadProgress::sent() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return sent_;
}

std::uint64_t UploadProgress::total() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return total_;
}

}  // namespace bilevel::client
