#include "core/solvers/portfolio.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/rng.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/solvers/kick.h"
#include "core/solvers/projected_gradient.h"
#include "core/solvers/quasi_newton.h"
#include "core/solvers/shares_chart.h"
#include "core/solvers/worst_case_stages.h"

namespace bilevel {
namespace {

constexpr int kMigration = 4;  // rounds between two
constexpr int kDescentEvaluations = 300;
constexpr double kStall = 1e-4;        // a descent ends when 20 steps gain less, relative to the island's scale
constexpr double kImprovement = 1e-6;  // relative; less is none
constexpr int kDescentMemory = 20;
constexpr int kPolished = 8;  // optima at a time
constexpr int kPolishings = 4;
constexpr int kPolishEvaluations = 2000;
constexpr int kFewestEvaluations = 5;  // a smaller share of a round is not worth beginning
constexpr double kTimeForSearch = 0.9;
constexpr double kHeat[] = {2, 4};

// One island's state between rounds.
struct Island {
  Rng rng{0};
  std::optional<HypergradientPoint> incumbent;
  double scale = 0;  // of objectives
};

// What one island did in one round.
struct Round {
  Island island;
  std::vector<LocalOptimum> ends;
  int evaluations = 0;
  absl::Status status;
};

// The best point that any thread knows of, for progress alone.
class Board {
 public:
  Board(const BilevelProblem& problem, const OuterOptions& options, const Interrupt& interrupt,
        ProgressReporter& reporter)
      : problem_(problem), options_(options), interrupt_(interrupt), reporter_(reporter) {}

  void Count(int evaluations) { evaluations_ += evaluations; }

  void Offer(const HypergradientPoint& point) {
    {
      const std::lock_guard lock(mutex_);
      if (!IsNews(point)) return;
    }
    const std::optional<Certificate> certificate = CertificateOf(point);
    const std::lock_guard lock(mutex_);
    if (!IsNews(point)) return;
    Show(point, certificate);
    reporter_.Report([this] { return Now(); });
  }

  void Beat() {
    const std::lock_guard lock(mutex_);
    if (known_) {
      reporter_.MaybeReport(progress_.iteration, [this] { return Now(); });
    } else {
      reporter_.MaybeRepeat();
    }
  }

  // After a round, no other thread running: its report, and its line in the history, which are the same whatever
  // threads offered on the way.
  void EndRound(int round, const HypergradientPoint& best, int evaluations, History* history) {
    const std::optional<Certificate> certificate = CertificateOf(best);
    const std::lock_guard lock(mutex_);
    progress_.iteration = round;
    evaluations_ = evaluations;
    Show(best, certificate);
    ReportIteration(
        round, [this] { return Now(); }, reporter_, history);
  }

 private:
  bool IsNews(const HypergradientPoint& point) const {
    return !known_ || Better(problem_, point.objective, progress_.best_objective);
  }

  std::optional<Certificate> CertificateOf(const HypergradientPoint& point) const {
    if (!options_.certify_progress) return point.certificate;
    return CertifyForProgress(WithMultipliers(problem_, point.multipliers), point.x, options_.lower_level, {},
                              interrupt_);
  }

  void Show(const HypergradientPoint& point, const std::optional<Certificate>& certificate) {
    known_ = true;
    progress_.objective = progress_.best_objective = point.objective;
    progress_.gradient_norm = point.gradient_norm;
    progress_.best_parameters = point.x;
    progress_.certificate = certificate;
  }

  Progress Now() {
    progress_.evaluations = evaluations_;
    return progress_;
  }

  const BilevelProblem& problem_;
  const OuterOptions& options_;
  const Interrupt interrupt_;
  ProgressReporter& reporter_;
  std::mutex mutex_;
  Progress progress_;
  bool known_ = false;
  std::atomic<int> evaluations_ = 0;
};

// What an interrupted evaluation leaves is no evaluation.
bool Interrupted(const HypergradientPoint& point) {
  return point.termination.reason == StopReason::kTimeLimit || point.termination.reason == StopReason::kCancelled;
}

// x by descents under a common budget of evaluations, all of one thread.
class Searcher {
 public:
  Searcher(const OuterOptions& options, const Interrupt& interrupt, int budget, Board& board)
      : options_(options), interrupt_(interrupt), budget_(budget), board_(board) {}

  int evaluations() const { return evaluations_; }
  bool Spent() const { return evaluations_ + 2 > budget_ || interrupt_.Check().has_value(); }

  absl::StatusOr<HypergradientPoint> Descend(const BilevelProblem& problem, const Vector& x, int evaluations,
                                             double stall) {
    ASSIGN_OR_RETURN(OuterResult result, SolveQuasiNewton(problem, x, {.memory = kDescentMemory},
                                                          Limited(evaluations, stall), interrupt_, silent_));
    Count(result.evaluations);
    cut_short_ = result.termination.reason == StopReason::kEvaluationLimit;
    return std::move(result.best);
  }

  // Whether the last Descend ended by its evaluations alone.
  bool cut_short() const { return cut_short_; }

  absl::StatusOr<Vector> DescendInShares(const SharesChart& chart, const Vector& x, double stall) {
    ASSIGN_OR_RETURN(const OuterResult result,
                     SolveProjectedGradient(chart.problem(), chart.ToShares(x), {}, Limited(kDescentEvaluations, stall),
                                            interrupt_, silent_));
    Count(result.evaluations);
    return chart.FromShares(result.best.x);
  }

 private:
  void Count(int evaluations) {
    evaluations_ += evaluations;
    board_.Count(evaluations);
  }

  OuterOptions Limited(int evaluations, double stall) const {
    OuterOptions options;
    options.gradient_tolerance = options_.gradient_tolerance;
    options.max_iterations = kDescentEvaluations * kPolishEvaluations;
    options.max_evaluations = std::max(1, std::min(evaluations, budget_ - evaluations_));
    options.stall_decrease = stall;
    options.certify_result = false;
    options.lower_level = options_.lower_level;
    return options;
  }

  const OuterOptions& options_;
  const Interrupt& interrupt_;
  int budget_;
  Board& board_;
  int evaluations_ = 0;
  bool cut_short_ = false;
  ProgressReporter silent_;
};

class PortfolioSearch {
 public:
  PortfolioSearch(const BilevelProblem& problem, const PortfolioOptions& method, const OuterOptions& options,
                  const Interrupt& interrupt, ProgressReporter& reporter)
      : problem_(problem),
        method_(method),
        options_(options),
        relaxed_(options),
        interrupt_(interrupt),
        search_interrupt_(interrupt.WithShareOfTime(kTimeForSearch).WithoutPulse()),
        space_(problem),
        shares_(SharesChart::Create(problem)),
        pulse_(reporter.interval()),
        board_(problem, options, interrupt.WithoutPulse(), reporter),
        optima_(problem) {
    for (const double heat : kHeat) {
      heated_.push_back(problem);
      for (Context& context : heated_.back().contexts) context.temperature = std::min(heat * context.temperature, 1e12);
    }
  }

  absl::StatusOr<OuterResult> Run(const Vector& start) {
    origin_ = problem_.feasible_set.Project(start);
    islands_.resize(static_cast<size_t>(method_.islands));
    for (size_t t = 0; t < islands_.size(); ++t) islands_[t].rng = Rng(options_.seed, t);
    {
      HypergradientEvaluator evaluator(problem_, options_.lower_level, options_.warm_start);
      ASSIGN_OR_RETURN(best_, evaluator.Evaluate(origin_, interrupt_));
    }
    // What the start could reach, other points reach as far as they can.
    relaxed_.lower_level.refuse_unreachable = false;
    evaluations_ = 1;
    board_.EndRound(0, *best_, evaluations_, options_.record_history ? &history_ : nullptr);
    while (!Finished()) {
      RETURN_IF_ERROR(RunRound());
      ++rounds_;
      board_.EndRound(rounds_, *best_, evaluations_, options_.record_history ? &history_ : nullptr);
      if (rounds_ % kMigration == 0) Migrate();
    }
    return Conclude();
  }

 private:
  double Signed(const HypergradientPoint& point) const { return problem_.sign() * point.objective; }

  // The next round: evaluations for each of the first `islands`.
  struct RoundPlan {
    int islands, share;
  };
  RoundPlan Plan() const {
    if (!options_.max_evaluations.has_value()) return {method_.islands, method_.evaluations_per_round};
    // Room for polishing the best, and for its certification.
    const int reserve = 1 + std::min(kPolishEvaluations, *options_.max_evaluations / 10);
    const int left = std::max(0, *options_.max_evaluations - reserve - evaluations_);
    const int islands = std::clamp(left / kFewestEvaluations, 1, method_.islands);
    return {islands, std::min(method_.evaluations_per_round, left / islands)};
  }

  bool Finished() {
    const std::string facts =
        absl::StrCat("after ", Counted(rounds_, "round"), " and ", Counted(evaluations_, "evaluation"), " of search; ",
                     Counted(optima_.entries().size(), "distinct end"), " of descents");
    if (!std::isfinite(best_->objective) || !best_->gradient.allFinite()) {
      termination_ = {StopReason::kDiverged, "objective or gradient is not finite at the start; begin elsewhere"};
    } else if (const auto reason = interrupt_.Check(); reason.has_value()) {
      termination_ = {*reason, "stopped " + facts};
    } else if (search_interrupt_.Check().has_value()) {
      termination_ = {StopReason::kTimeLimit, "stopped " + facts};
    } else if (unimproved_ >= method_.patience) {
      termination_ = {StopReason::kIterationLimit,
                      absl::StrCat("no better optimum in the last ",
                                   unimproved_ == 1 ? "round, " : absl::StrCat(unimproved_, " rounds, "), facts)};
    } else if (rounds_ >= options_.max_iterations) {
      termination_ = {StopReason::kIterationLimit, absl::StrCat("all max_iterations rounds are done: ", facts)};
    } else if (Plan().share < std::min(kFewestEvaluations, method_.evaluations_per_round)) {
      termination_ = {StopReason::kEvaluationLimit, absl::StrCat("stopped ", facts, "; raise max_evaluations")};
    } else {
      return false;
    }
    return true;
  }

  absl::Status RunRound() {
    const RoundPlan plan = Plan();
    std::vector<Vector> incumbents;
    for (const Island& island : islands_) {
      if (island.incumbent.has_value()) incumbents.push_back(island.incumbent->x);
    }
    std::vector<Round> rounds(static_cast<size_t>(plan.islands));
    options_.parallel_for(plan.islands,
                          [&](int t) { rounds[static_cast<size_t>(t)] = RunIsland(t, plan.share, incumbents); });
    const double before = Signed(*best_);
    double scale = 0;
    for (size_t t = 0; t < rounds.size(); ++t) {
      RETURN_IF_ERROR(rounds[t].status);
      evaluations_ += rounds[t].evaluations;
      islands_[t] = std::move(rounds[t].island);
      scale = std::max(scale, islands_[t].scale);
      for (LocalOptimum& end : rounds[t].ends) optima_.Add(std::move(end), 2 * kStall * islands_[t].scale);
      const auto& incumbent = islands_[t].incumbent;
      if (incumbent.has_value() && Signed(*incumbent) < Signed(*best_)) best_ = incumbent;
    }
    unimproved_ = Signed(*best_) < before - kImprovement * scale ? 0 : unimproved_ + 1;
    return absl::OkStatus();
  }

  Round RunIsland(int t, int share, const std::vector<Vector>& incumbents) {
    Round round;
    round.island = islands_[static_cast<size_t>(t)];
    Pulse pulse([this] { board_.Beat(); }, pulse_);
    const Interrupt interrupt = search_interrupt_.WithPulse(pulse);
    Searcher searcher(relaxed_, interrupt, share, board_);
    round.status = Hop(t, incumbents, searcher, round);
    round.evaluations = searcher.evaluations();
    return round;
  }

  absl::Status Hop(int t, const std::vector<Vector>& incumbents, Searcher& searcher, Round& round) {
    Island& island = round.island;
    while (!searcher.Spent()) {
      Vector x;
      bool heat = false;
      if (!island.incumbent.has_value()) {
        x = t < 2 ? origin_ : DrawStart(space_, origin_, island.rng);
        if (t == 1 && !searcher.Spent()) {
          ASSIGN_OR_RETURN(const HypergradientPoint hot, Search(heated_[1], x, island, searcher));
          x = hot.x;
          heat = true;
        }
      } else {
        const Kick kick = kAllKicks[island.rng.Below(kAllKicks.size())];
        x = ApplyKick(kick, space_, island.incumbent->x, origin_, incumbents, island.rng);
        heat = kick == Kick::kHeat;
      }
      if (heat && !searcher.Spent()) {
        const size_t level = island.incumbent.has_value() && island.rng.Uniform() < 0.5 ? 1 : 0;
        ASSIGN_OR_RETURN(const HypergradientPoint hot, Search(heated_[level], x, island, searcher));
        x = hot.x;
      }
      const bool by_shares = shares_.has_value() && island.rng.Uniform() < 0.5;
      if (by_shares && !searcher.Spent()) {
        ASSIGN_OR_RETURN(x, searcher.DescendInShares(*shares_, x, kStall * island.scale));
      }
      if (searcher.Spent()) break;
      ASSIGN_OR_RETURN(HypergradientPoint end,
                       searcher.Descend(problem_, x, kDescentEvaluations, kStall * island.scale));
      if (Interrupted(end)) break;
      if (!std::isfinite(end.objective)) continue;
      island.scale = std::max(island.scale, std::abs(end.objective));
      if (!searcher.cut_short()) Note({end.x, end.objective, end.gradient_norm, 1}, round.ends);
      const bool better =
          !island.incumbent.has_value() || Signed(end) < Signed(*island.incumbent) - kImprovement * island.scale;
      if (!better) continue;
      board_.Offer(end);
      island.incumbent = std::move(end);
    }
    return absl::OkStatus();
  }

  // Of the ends of a round no more are kept than the islands together may: the best.
  void Note(LocalOptimum end, std::vector<LocalOptimum>& ends) const {
    const size_t capacity = static_cast<size_t>(std::max(4, Optima::Capacity(problem_.num_parameters) / 8));
    ends.push_back(std::move(end));
    if (ends.size() <= capacity) return;
    ends.erase(std::max_element(ends.begin(), ends.end(), [this](const LocalOptimum& a, const LocalOptimum& b) {
      return problem_.sign() * a.objective < problem_.sign() * b.objective;
    }));
  }

  // At another temperature: half the evaluations, a tenth of the accuracy.
  absl::StatusOr<HypergradientPoint> Search(const BilevelProblem& heated, const Vector& x, const Island& island,
                                            Searcher& searcher) {
    return searcher.Descend(heated, x, kDescentEvaluations / 2, 10 * kStall * island.scale);
  }

  // The worst quarter of the islands take over the incumbents of the best quarter.
  void Migrate() {
    std::vector<size_t> order(islands_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [this](size_t a, size_t b) {
      const auto value = [this](size_t t) {
        return islands_[t].incumbent.has_value() ? Signed(*islands_[t].incumbent) : HUGE_VAL;
      };
      return value(a) < value(b);
    });
    for (size_t i = 0; i < islands_.size() / 4; ++i) {
      Island& worst = islands_[order[order.size() - 1 - i]];
      worst.incumbent = islands_[order[i]].incumbent;
      worst.scale = islands_[order[i]].scale;
    }
  }

  // The best ends of descents to gradient_tolerance, as far as the limits allow, until enough distinct optima are
  // known; ends that turn out to be one optimum are counted together.
  absl::Status Polish() {
    std::vector<LocalOptimum> rough = optima_.entries();
    // The incumbent may come from a descent that was cut short.
    const bool known = std::any_of(rough.begin(), rough.end(), [&](const LocalOptimum& o) { return o.x == best_->x; });
    if (!known) rough.insert(rough.begin(), {best_->x, best_->objective, best_->gradient_norm, 1});
    Optima polished(problem_);
    for (int i = 0; i < kPolishings && !rough.empty(); ++i) {
      if (polished.entries().size() >= static_cast<size_t>(std::max(1, method_.max_optima))) break;
      const size_t count = std::min<size_t>(kPolished, rough.size());
      ASSIGN_OR_RETURN(const bool finished,
                       PolishSome({rough.begin(), rough.begin() + static_cast<int64_t>(count)}, polished));
      if (!finished) break;
      rough.erase(rough.begin(), rough.begin() + static_cast<int64_t>(count));
    }
    // Without time for any, the ends as they are.
    found_ = polished.entries();
    if (found_.empty()) found_ = std::move(rough);
    return absl::OkStatus();
  }

  // False when a limit came first: those that were finished are in `polished`.
  absl::StatusOr<bool> PolishSome(const std::vector<LocalOptimum>& rough, Optima& polished) {
    if (interrupt_.Check().has_value()) return false;
    const auto count = static_cast<int>(rough.size());
    int share = kPolishEvaluations;
    if (options_.max_evaluations.has_value()) {
      share = std::min(share, (*options_.max_evaluations - 1 - evaluations_) / count);
    }
    if (share < 2) return false;
    std::vector<absl::StatusOr<HypergradientPoint>> points(rough.size(), HypergradientPoint());
    std::vector<int> evaluations(rough.size(), 0);
    options_.parallel_for(count, [&](int i) {
      const auto at = static_cast<size_t>(i);
      Pulse pulse([this] { board_.Beat(); }, pulse_);
      const Interrupt interrupt = interrupt_.WithPulse(pulse);
      Searcher searcher(relaxed_, interrupt, share, board_);
      points[at] = searcher.Descend(problem_, rough[at].x, share, 0);
      evaluations[at] = searcher.evaluations();
    });
    bool finished = true;
    for (size_t i = 0; i < rough.size(); ++i) {
      if (!points[i].ok()) return points[i].status();
      evaluations_ += evaluations[i];
      const HypergradientPoint& point = *points[i];
      if (Interrupted(point)) {
        finished = false;
        continue;
      }
      board_.Offer(point);
      // A polished point may be worse by what multipliers leave.
      const double rounding = point.multipliers.empty() ? 0 : WorstCaseStages::kGap * (1 + std::abs(best_->objective));
      if (Signed(point) <= Signed(*best_) + rounding) best_ = point;
      polished.Add({point.x, point.objective, point.gradient_norm, rough[i].hits},
                   kImprovement * std::abs(point.objective));
    }
    return finished;
  }

  absl::StatusOr<OuterResult> Conclude() {
    RETURN_IF_ERROR(Polish());
    const BilevelProblem problem = WithMultipliers(problem_, best_->multipliers);
    HypergradientEvaluator evaluator(problem, relaxed_.lower_level, options_.warm_start);
    OuterResult result;
    ASSIGN_OR_RETURN(result.best, Certify(*std::move(best_), evaluator, interrupt_));
    result.termination = ConvergedAfterAll(problem_, result.best, options_, termination_);
    if (result.termination.reason != termination_.reason) {
      absl::StrAppend(&result.termination.detail, "; the search: ", termination_.detail);
    }
    result.iterations = rounds_;
    result.evaluations = evaluations_ + evaluator.evaluations();
    result.history = std::move(history_).Take();
    result.warm_start = evaluator.warm_start();
    if (found_.size() > static_cast<size_t>(method_.max_optima)) found_.resize(static_cast<size_t>(method_.max_optima));
    result.optima = std::move(found_);
    return result;
  }

  const BilevelProblem& problem_;
  const PortfolioOptions& method_;
  const OuterOptions& options_;
  OuterOptions relaxed_;  // of the descents
  const Interrupt& interrupt_;
  const Interrupt search_interrupt_;
  const SearchSpace space_;
  const std::optional<SharesChart> shares_;
  std::vector<BilevelProblem> heated_;  // at the temperatures of kHeat
  const ProgressReporter::Clock::duration pulse_;
  Board board_;
  Optima optima_;
  std::vector<LocalOptimum> found_;
  Vector origin_;
  std::vector<Island> islands_;
  std::optional<HypergradientPoint> best_;
  int rounds_ = 0, evaluations_ = 0, unimproved_ = 0;
  Termination termination_;
  History history_;
};

absl::Status CheckRange(const char* field, int value, int low, int high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be in [", low, ", ", high, "]"));
}

}  // namespace

absl::Status PortfolioOptions::Validate() const {
  RETURN_IF_ERROR(CheckRange("islands", islands, 1, 256));
  RETURN_IF_ERROR(CheckRange("evaluations_per_round", evaluations_per_round, 10, 1'000'000));
  RETURN_IF_ERROR(CheckRange("patience", patience, 1, 1'000'000));
  return CheckRange("max_optima", max_optima, 0, Optima::kMaxEntries);
}

absl::StatusOr<OuterResult> SolvePortfolio(const BilevelProblem& problem, const Vector& start,
                                           const PortfolioOptions& method, const OuterOptions& options,
                                           const Interrupt& interrupt, ProgressReporter& reporter) {
  return PortfolioSearch(problem, method, options, interrupt, reporter).Run(start);
}

}  // namespace bilevel
