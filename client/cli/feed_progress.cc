#include "client/cli/feed_progress.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/str_format.h"

namespace bilevel::client {
namespace {

constexpr std::chrono::milliseconds kBetweenLines{100};

}  // namespace

FeedProgress::FeedProgress(const TrainStream& stream, bool always)
    : stream_(stream),
      terminal_(isatty(STDERR_FILENO) != 0),
      shown_(always || terminal_),
      accepted_(stream.accepted_sequence()) {}

void FeedProgress::Show() {
  if (!shown_ || Clock::now() < next_) return;
  next_ = Clock::now() + kBetweenLines;
  Print();
}

void FeedProgress::Print() {
  const TrainProgress progress = stream_.progress();
  const std::chrono::duration<double> elapsed = Clock::now() - start_;
  const auto sent_here = static_cast<double>(progress.accepted - std::min(progress.accepted, accepted_));
  std::string line = absl::StrFormat("%d accepted, %d waiting  %.3g/s  credit %d", progress.accepted,
                                     progress.appended - progress.accepted, sent_here / std::max(elapsed.count(), 1e-3),
                                     progress.credit - std::min(progress.credit, progress.accepted));
  if (const auto policy = stream_.policy()) line += absl::StrFormat("  policy %.0f", policy->version());
  if (stream_.connections() > 1) line += absl::StrFormat("  connection %d", stream_.connections());
  // On a terminal: back to the start of the line, and clear what the line before leaves.
  std::cerr << (terminal_ ? "\r" : "") << line << (terminal_ ? "\x1b[K" : "\n") << std::flush;
  open_ = terminal_;
}

void FeedProgress::Finish() {
  if (shown_) Print();
  if (open_) std::cerr << "\n";
  open_ = false;
}

}  // namespace bilevel::client
