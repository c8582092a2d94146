// What all outer methods share: limits, progress, results, and the bookkeeping of the best point.

#ifndef BILEVEL_CORE_SOLVERS_OUTER_LOOP_H_
#define BILEVEL_CORE_SOLVERS_OUTER_LOOP_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/interrupt.h"
#include "core/base/parallel.h"
#include "core/hypergradient/hypergradient.h"
#include "core/solvers/limited_memory.h"
#include "core/solvers/optima.h"
#include "core/solvers/sensitivities.h"
#include "core/solvers/stationarity.h"

namespace bilevel {

struct OuterOptions {
  // Affects the answer: stops when the norm of the projected gradient map <= gradient_tolerance; >= 0.
  double gradient_tolerance = 1e-6;
  // Affects the answer: steps of x, >= 0.
  int max_iterations = 1000;
  // Affects the answer: evaluations of gradient or objective, >= 1; unset means no limit. The certification of the
  // best point counts and has its place kept free; 1 certifies the start.
  std::optional<int> max_evaluations;
  // Affects the answer: a seed of whatever the method draws.
  uint64_t seed = 0;
  // Affects the answer of descents: also stops when the last kStallWindow steps lowered F by less than this together,
  // >= 0; 0: never.
  double stall_decrease = 0;
  static constexpr int kStallWindow = 20;
  // Whether the best point comes back certified.
  bool certify_result = true;
  // Affects only the cost: where a method's independent parts run.
  ParallelFor parallel_for = RunInOrder;
  // Affects only the cost: progress and history carry a full certificate of the current x.
  bool certify_progress = false;
  // The result holds its history.
  bool record_history = false;
  // The result holds the sensitivities of the optimum.
  bool report_sensitivities = false;
  // The result says what kind of stationary point its best point is.
  bool describe_stationarity = false;
  // Inner solves.
  LowerLevelOptions lower_level;
  WarmStart warm_start;

  absl::Status Validate() const;
};

// Before the first evaluation ends, numbers are NaN and best_parameters is the start.
struct Progress {
  int iteration = 0;
  int evaluations = 0;
  double objective = kUnknown;      // at the current x; for M-SoBiRL at its current policy
  double gradient_norm = kUnknown;  // of the projected gradient map; for M-SoBiRL of its direction h
  double best_objective = kUnknown;
  Vector best_parameters;
  // At the current x. For methods with exact gradients: backward errors; with certify_progress, for all: everything.
  std::optional<Certificate> certificate;

  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
};

// Reports progress: of the first iteration, every `every` iterations when > 0, and whenever `interval` has passed;
// inside an iteration or a first evaluation that takes longer, the last report, or the start, again.
class ProgressReporter {
 public:
  using Clock = std::chrono::steady_clock;
  using Sink = std::function<void(const Progress&)>;

  ProgressReporter() = default;  // reports nothing
  ProgressReporter(Sink sink, int every, Clock::duration interval = std::chrono::milliseconds(500))
      : sink_(std::move(sink)), every_(every), interval_(interval) {}

  // Time runs from here, and until the first report MaybeRepeat reports the start.
  void Begin(const Vector& start);

  // `make` is called only when a report is due.
  void MaybeReport(int iteration, const std::function<Progress()>& make);

  // At once.
  void Report(const std::function<Progress()>& make);

  // The last report once more, if `interval` has passed.
  void MaybeRepeat();

  Clock::duration interval() const { return interval_; }

 private:
  Sink sink_;
  int every_ = 0;
  Clock::duration interval_{};
  std::optional<Clock::time_point> last_;  // of a report, or of Begin
  bool reported_ = false;                  // an iteration
  Progress progress_;                      // as last reported
};

struct IterationStats {
  int iteration = 0;
  int evaluations = 0;
  double objective = 0;
  double gradient_norm = 0;
  double error_bound = 0;  // infinite when not certified
};

// The iterations of a run: all of the first kMaxEntries, then every 2nd, 4th, ..., so that no more are kept.
class History {
 public:
  static constexpr size_t kMaxEntries = 4096;

  bool Due(int iteration) const { return iteration % stride_ == 0; }
  // iteration: due, and greater than the last one.
  void Add(const Progress& progress);
  std::vector<IterationStats> Take() && { return std::move(entries_); }

 private:
  std::vector<IterationStats> entries_;
  int stride_ = 1;
};

// What a method does once an iteration: reports it when that is due, and notes it in the history when there is one.
void ReportIteration(int iteration, const std::function<Progress()>& make, ProgressReporter& reporter,
                     History* history);

struct OuterResult {
  HypergradientPoint best;  // certified
  Termination termination;
  int iterations = 0;
  int evaluations = 0;
  int hessian_products = 0;        // of truncated_newton
  std::vector<std::string> notes;  // what the method did on its own account
  WarmStart warm_start;
  std::vector<IterationStats> history;           // on request
  std::optional<QuasiNewtonState> quasi_newton;  // of that method
  std::optional<Sensitivities> sensitivities;    // on request
  std::optional<Stationarity> stationarity;      // on request
  std::vector<LocalOptimum> optima;              // of a global search: those it met, best first
};

// The best point with its certificates, for the end of a method that stopped for `reason`. When time is over the
// certification gets kCertificationGrace more (the service keeps that much in reserve), and none after a cancellation;
// if it does not finish, `best` comes back as it is, with infinite bounds.
inline constexpr std::chrono::milliseconds kCertificationGrace{150};
absl::StatusOr<HypergradientPoint> Certify(HypergradientPoint best, HypergradientEvaluator& evaluator,
                                           const Interrupt& interrupt);

// The certificate of x for a progress report, by an evaluator of its own, so that reports, which come by the clock,
// change nothing of the run. Nothing when it fails.
std::optional<Certificate> CertifyForProgress(const BilevelProblem& problem, const Vector& x,
                                              const LowerLevelOptions& options, const WarmStart& start,
                                              const Interrupt& interrupt);

// What the certified best point says of why the method stopped: CONVERGED when it meets the tolerance although a limit
// came first.
Termination ConvergedAfterAll(const BilevelProblem& problem, const HypergradientPoint& best,
                              const OuterOptions& options, Termination termination);

// Whether `candidate` is better than `incumbent` in the problem's sense; NaN never is.
bool Better(const BilevelProblem& problem, double candidate, double incumbent);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_OUTER_LOOP_H_
