#include "client/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/str_format.h"

namespace bilevel::client {
namespace {

// OptimizeRequest.max_iterations where the request is silent.
constexpr int kDefaultMaxIterations = 1000;

}  // namespace

ProgressLine::ProgressLine(When when, const v1::OptimizeRequest& request)
    : portfolio_(request.has_portfolio()),
      terminal_(isatty(STDERR_FILENO) != 0),
      shown_(when == When::kAlways || (when == When::kOnTerminal && terminal_)) {
  if (!portfolio_) {
    limit_ = request.has_max_iterations() ? request.max_iterations() : kDefaultMaxIterations;
  } else if (request.has_max_evaluations()) {
    limit_ = request.max_evaluations();
  }
  if (request.has_time_limit()) {
    time_limit_seconds_ = static_cast<double>(request.time_limit().seconds()) + 1e-9 * request.time_limit().nanos();
  }
}

int ProgressLine::CountOf(const v1::OptimizeProgress& progress) const {
  return portfolio_ ? progress.evaluations() : progress.iteration();
}

std::optional<double> ProgressLine::SecondsLeft(int count, double seconds) const {
  std::optional<double> left;
  if (limit_ && count > 0) left = std::max(0, *limit_ - count) * seconds / count;
  if (time_limit_seconds_) {
    const double to_limit = std::max(0.0, *time_limit_seconds_ - seconds);
    left = left ? std::min(*left, to_limit) : to_limit;
  }
  return left;
}

void ProgressLine::Show(const v1::OptimizeProgress& progress) {
  if (!shown_) return;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const int count = CountOf(progress);
  const std::optional<double> left = SecondsLeft(count, elapsed.count());
  std::string line = "first evaluation";
  if (progress.evaluations() > 0) {
    line = portfolio_ ? absl::StrFormat("round %d  evaluations %d  best", progress.iteration(), progress.evaluations())
                      : absl::StrFormat("iteration %d ", progress.iteration());
    line += absl::StrFormat(" objective %.8g  |h| %.3g", progress.objective(), progress.gradient_norm());
  }
  // Bounds on the gradient are not computed on the way; the backward error is free.
  if (progress.has_certificate()) {
    line += absl::StrFormat("  backward error %.2g", progress.certificate().backward_error());
  }
  if (count > 0) line += absl::StrFormat("  %.3g %s/s", count / elapsed.count(), portfolio_ ? "evaluations" : "it");
  if (left) line += absl::StrFormat("  at most %.0f s left", *left);
  // On a terminal: back to the start of the line, and clear what the line before leaves.
  std::cerr << (terminal_ ? "\r" : "") << line << (terminal_ ? "\x1b[K" : "\n") << std::flush;
  open_ = terminal_;
}

void ProgressLine::Finish() {
  if (open_) std::cerr << "\n";
  open_ = false;
}

}  // namespace bilevel::client
