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
    : terminal_(isatty(STDERR_FILENO) != 0),
      shown_(when == When::kAlways || (when == When::kOnTerminal && terminal_)),
      max_iterations_(request.has_max_iterations() ? request.max_iterations() : kDefaultMaxIterations) {
  if (request.has_time_limit()) {
    time_limit_seconds_ = static_cast<double>(request.time_limit().seconds()) + 1e-9 * request.time_limit().nanos();
  }
}

double ProgressLine::Rate(const v1::OptimizeProgress& progress) {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const double seconds = elapsed.count() - last_seconds_;
  const double rate = seconds > 0 ? (progress.iteration() - last_iteration_) / seconds : 0.0;
  last_seconds_ = elapsed.count();
  last_iteration_ = progress.iteration();
  return rate;
}

std::optional<double> ProgressLine::SecondsLeft(const v1::OptimizeProgress& progress, double rate) const {
  std::optional<double> left;
  if (max_iterations_ && rate > 0) left = (*max_iterations_ - progress.iteration()) / rate;
  if (time_limit_seconds_) {
    const double to_limit = std::max(0.0, *time_limit_seconds_ - last_seconds_);
    left = left ? std::min(*left, to_limit) : to_limit;
  }
  return left;
}

void ProgressLine::Show(const v1::OptimizeProgress& progress) {
  if (!shown_) return;
  const double rate = Rate(progress);
  const std::optional<double> left = SecondsLeft(progress, rate);
  std::string line = progress.evaluations() == 0
                         ? "first evaluation"
                         : absl::StrFormat("iteration %d  objective %.8g  |h| %.3g", progress.iteration(),
                                           progress.objective(), progress.gradient_norm());
  // Bounds on the gradient are not computed on the way; the backward error is free.
  if (progress.has_certificate()) {
    line += absl::StrFormat("  backward error %.2g", progress.certificate().backward_error());
  }
  line += absl::StrFormat("  %.3g it/s", rate);
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
