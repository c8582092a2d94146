// Progress of an optimisation, one line on standard error: rewritten in place on a terminal, else one after another.

#ifndef BILEVEL_CLIENT_CLI_PROGRESS_H_
#define BILEVEL_CLIENT_CLI_PROGRESS_H_

#include <chrono>
#include <optional>
#include <string>

#include "bilevel/v1/solver_service.pb.h"

namespace bilevel::client {

class ProgressLine {
 public:
  enum class When { kNever, kOnTerminal, kAlways };

  // The request gives the limits from which the time left is known.
  ProgressLine(When when, const v1::OptimizeRequest& request);

  void Show(const v1::OptimizeProgress& progress);
  // Ends the line, so that other output starts on a fresh one.
  void Finish();

 private:
  // Iterations, or evaluations of portfolio, whose rounds are long.
  int CountOf(const v1::OptimizeProgress& progress) const;
  // To the nearest limit, in seconds, at the mean pace so far; nullopt when there is none.
  std::optional<double> SecondsLeft(int count, double seconds) const;

  bool portfolio_;
  bool terminal_;
  bool shown_;
  std::optional<int> limit_;  // of what is counted
  std::optional<double> time_limit_seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  bool open_ = false;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_PROGRESS_H_
