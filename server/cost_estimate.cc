#include "server/cost_estimate.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/mdp/block_lu.h"
#include "core/mdp/lower_level.h"
#include "core/solvers/outer_loop.h"
#include "core/solvers/portfolio.h"
#include "core/solvers/quasi_newton.h"
#include "core/solvers/stationarity.h"
#include "core/solvers/truncated_newton.h"
#include "server/convert/environment.h"
#include "server/convert/in_field.h"
#include "server/convert/problem.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

// Measured on one 2020s core, to a factor of a few.
constexpr double kSecondsForFactorFlop = 0.1e-9;
constexpr double kSecondsForEntry = 2e-9;
constexpr double kSecondsForRow = 30e-9;
constexpr double kSecondsForMessageByte = 1e-9;
constexpr double kFactorizations = 6;  // of one evaluation from a cold start
constexpr double kProducts = 400;      // with P^pi of one evaluation with Krylov methods

// Sums over contexts.
struct ProblemSize {
  double n = 0;
  double contexts = 0;
  double states = 0;
  double rows = 0;
  double entries = 0;
  double decoded_bytes = 0;  // environments that the message brings
  double system_bytes = 0;
  double advice_bytes = 0;  // what each context holds before it is solved, and what advice looks at
  double advice_seconds = 0;
  double term_bytes = 0;
  double text_bytes = 0;          // labels, terminations, certificates in a response
  double evaluation_seconds = 0;  // one certified evaluation of all contexts
};

bool IsDense(v1::LowerLevelMethod method, double states) {
  if (method == v1::LOWER_LEVEL_METHOD_NEWTON_DIRECT) return true;
  if (method == v1::LOWER_LEVEL_METHOD_NEWTON_KRYLOV) return false;
  return states <= kDirectStates;
}

double DistinctDiscounts(const v1::Context& context) {
  std::set<double> discounts = {context.discount()};
  for (const v1::ObjectiveTerm& term : context.objective()) {
    if (term.leader_return().has_discount()) discounts.insert(term.leader_return().discount());
    if (term.feature_matching().has_discount()) discounts.insert(term.feature_matching().discount());
  }
  return static_cast<double>(discounts.size());
}

void AddContext(const v1::Context& context, const EnvironmentSize& size, const v1::LowerLevelOptions& options,
                ProblemSize& total) {
  const auto S = static_cast<double>(size.states), rows = static_cast<double>(size.rows());
  const auto entries = static_cast<double>(size.entries);
  total.contexts += 1;
  total.states += S;
  total.rows += rows;
  total.entries += entries;
  const double sweep = kSecondsForEntry * entries + kSecondsForRow * rows;
  if (IsDense(options.method(), S)) {
    total.system_bytes += 8 * S * S * (3 + DistinctDiscounts(context));
    total.evaluation_seconds += kFactorizations * kSecondsForFactorFlop * S * S * S * 2 / 3;
  } else {
    // P^pi, its transpose and multigrid while it is made, on at most 0.75 pairs of states for each entry, or,
    // within these bytes, P^pi as a dense matrix of at most four pairs for each; and factorisations within a band.
    total.system_bytes += 80 * entries + 80 * S;
    if (S <= kMaxDirectStates) total.system_bytes += BlockLu::Bytes(S, kDirectBand) * DistinctDiscounts(context);
    total.evaluation_seconds += kProducts * kSecondsForEntry * entries;
  }
  // Base and weights of states; rewards at x, and where each state leads.
  total.advice_bytes += 8 * (6 * rows + 6 * S) + 4 * entries;
  total.advice_seconds += 4 * kSecondsForEntry * entries + kSecondsForRow * rows;
  // Each term keeps vectors of its own, decoded and in every evaluation, however few bytes say so on the wire.
  const double terms = context.objective_size();
  total.term_bytes += 8 * terms * (12 * rows + 6 * S);
  total.evaluation_seconds += terms * 12 * kSecondsForEntry * rows;
  total.advice_seconds += terms * 12 * kSecondsForEntry * rows;
  // An environment of its own that moves with x; and each reward for transitions becomes features of the same size, 4
  // bytes or more of a message for each.
  if (context.has_dynamics()) {
    total.system_bytes += 40 * entries + 16 * S;
    total.advice_bytes += 40 * entries + 16 * S;
    const double features = static_cast<double>(context.dynamics().transition_features().ByteSizeLong()) / 4;
    double rewards = context.reward().has_transition_rewards() ? 1 : 0;
    for (const v1::ObjectiveTerm& term : context.objective()) {
      rewards += term.leader_return().reward().has_transition_rewards() ? 1 : 0;
    }
    total.term_bytes += rewards * 72 * features;
  }
  total.text_bytes += 800 + 2 * static_cast<double>(context.label().size());
  // A policy is evaluated in a handful of sweeps by Newton's method, in 1 / (1 - gamma) times that many otherwise.
  const double horizon = 1 / std::max(1 - context.discount(), 1e-6);
  total.evaluation_seconds += sweep * (options.method() == v1::LOWER_LEVEL_METHOD_SWEEPS ? 25 * horizon : 40);
}

// What is named was measured when it was uploaded.
EnvironmentSize SizeOf(const TabularMdp& mdp) {
  return {.states = mdp.num_states(), .actions = mdp.num_actions(), .entries = static_cast<int64_t>(mdp.num_entries())};
}

absl::StatusOr<ProblemSize> Measure(const v1::Problem& problem, const v1::LowerLevelOptions& options,
                                    const Limits& limits, const NamedEnvironments& environments) {
  ProblemSize total;
  total.n = problem.num_parameters();
  for (int c = 0; c < problem.contexts_size(); ++c) {
    const v1::Context& context = problem.contexts(c);
    absl::StatusOr<EnvironmentSize> size;
    if (context.has_environment()) {
      size = MeasureEnvironment(context.environment(), limits);
      if (!size.ok()) return WithField(absl::StrCat("problem.contexts[", c, "].environment"), size.status());
      total.decoded_bytes += 32 * static_cast<double>(size->entries) + 20 * static_cast<double>(size->rows());
    } else if (const auto named = environments.find(context.environment_name()); named != environments.end()) {
      size = SizeOf(*named->second);
    } else {
      continue;  // refused when decoded
    }
    if (options.method() == v1::LOWER_LEVEL_METHOD_NEWTON_DIRECT && size->states > kMaxDirectStates) {
      return FieldError("lower_level.method",
                        absl::StrCat("is LOWER_LEVEL_METHOD_NEWTON_DIRECT and context ", c, " has ", size->states,
                                     " states; factorisations are limited to ", kMaxDirectStates));
    }
    AddContext(context, *size, options, total);
  }
  return total;
}

// What one evaluator and one evaluation hold.
double EvaluatorBytes(const ProblemSize& size) {
  return size.system_bytes + size.term_bytes + 8 * (40 * size.rows + 20 * size.states);
}

// The message and what is decoded of it, terms and rows apart. points: x that are held at once.
double DecodedBytes(const ProblemSize& size, double message_bytes, double points) {
  constexpr double kContext = 16 << 10;
  return LeastBytes(message_bytes) + size.decoded_bytes + kContext * size.contexts +
         8 * size.n * (20 + 6 * size.contexts + points);
}

// The answer to validate_only and termination texts are small; everything that grows is in `bytes`.
absl::Status CheckResponse(double bytes, const Limits& limits) {
  constexpr double kRest = 64 << 10;
  const auto fits = [bytes](int64_t limit) { return bytes + kRest <= static_cast<double>(limit); };
  if (fits(limits.in_chunks ? kMaxChunkedBytes : limits.message_bytes)) return absl::OkStatus();
  const std::string limit = limits.in_chunks ? absl::StrCat("chunks can bring ", kMaxChunkedBytes)
                                             : absl::StrCat("max_message_bytes is ", limits.message_bytes);
  const char* chunks = !limits.in_chunks && fits(kMaxChunkedBytes) ? "call it by CallInChunks, or " : "";
  return MakeRefusal(absl::StatusCode::kResourceExhausted,
                     {.reason = reasons::kResponseTooLarge,
                      .subject = limits.in_chunks ? "total_bytes" : "message_bytes",
                      .description = absl::StrCat(
                          "the response would have about ", bytes, " bytes and ", limit, "; ", chunks,
                          "ask for fewer points, contexts or optima, or leave out policies, q, log_policy, warm "
                          "starts, sensitivities and transition gradients"),
                      .retry_delay = std::nullopt});
}

template <typename Request>
absl::StatusOr<Cost> Finish(const Request& request, const ProblemSize& size, double evaluations, double points,
                            double response_bytes, const Limits& limits) {
  RETURN_IF_ERROR(CheckResponse(response_bytes, limits));
  const auto message_bytes = static_cast<double>(request.ByteSizeLong());
  const double decoded = DecodedBytes(size, message_bytes, points);
  Cost cost{.bytes = decoded + EvaluatorBytes(size) + 2 * response_bytes,
            .seconds = evaluations * size.evaluation_seconds,
            .response_bytes = response_bytes};
  cost.check_bytes = std::min(decoded + size.term_bytes + size.advice_bytes, cost.bytes);
  cost.check_seconds = kSecondsForMessageByte * message_bytes + size.advice_seconds;
  return cost;
}

// That quasi_newton keeps. More than its range allows are refused when the request is decoded.
double CountPairs(const v1::OptimizeRequest& request) {
  if (!request.has_quasi_newton()) return 0;
  const QuasiNewtonOptions defaults;
  const int memory = request.quasi_newton().has_memory() ? request.quasi_newton().memory() : defaults.memory;
  return std::clamp(memory, 0, QuasiNewtonOptions::kMaxMemory);
}

// That a step of truncated_newton keeps, [n] each; clamped likewise.
double CountDirections(const v1::OptimizeRequest& request) {
  if (!request.has_truncated_newton()) return 0;
  const TruncatedNewtonOptions defaults;
  const v1::TruncatedNewtonOptions& options = request.truncated_newton();
  return std::clamp(options.has_max_products() ? options.max_products() : defaults.max_products, 0,
                    TruncatedNewtonOptions::kMaxProducts);
}

double PointBytes(const ProblemSize& size, bool policies, bool warm_start) {
  return 600 + 16 * size.n + size.text_bytes + 8 * size.states + (policies ? 8 * size.rows : 0) +
         (warm_start ? 16 * size.states : 0);
}

}  // namespace

bool PointsGoTogether(double points, const EnvironmentTotals& totals) {
  constexpr double kMostRows = 1 << 14, kMostPairs = 1 << 20;
  return points > kPointsInRun && totals.rows <= kMostRows &&
         totals.entries + totals.states * totals.states <= kMostPairs;
}

double LeastBytes(double message_bytes) { return (1 << 20) + 4 * message_bytes; }

absl::StatusOr<Cost> EstimateCost(const v1::SolveLowerLevelRequest& request, const Limits& limits,
                                  const NamedEnvironments& environments) {
  ASSIGN_OR_RETURN(const ProblemSize size, Measure(request.problem(), request.lower_level(), limits, environments));
  const double arrays =
      1.0 + (request.return_q() ? 1 : 0) + (request.return_log_policy() ? 1 : 0) + (request.return_reward() ? 2 : 0);
  return Finish(request, size, 1, 1, 8 * size.states + 8 * size.rows * arrays, limits);
}

absl::StatusOr<Cost> EstimateCost(const v1::EvaluateHypergradientRequest& request, const Limits& limits,
                                  const NamedEnvironments& environments) {
  ASSIGN_OR_RETURN(const ProblemSize size, Measure(request.problem(), request.lower_level(), limits, environments));
  const auto points = static_cast<double>(CountPoints(request.parameters()));
  const double one = PointBytes(size, request.return_policies(), request.return_warm_start());
  ASSIGN_OR_RETURN(Cost cost, Finish(request, size, points, 2 * points, points * one, limits));
  // Each thread has an evaluator: the call's own and idle ones of long calls.
  if (PointsGoTogether(points, {.states = size.states, .rows = size.rows, .entries = size.entries})) {
    cost.bytes += EvaluatorBytes(size) * std::min<double>(limits.threads, std::ceil(points / kPointsInRun) - 1);
  }
  return cost;
}

absl::StatusOr<Cost> EstimateCost(const v1::PullbackRequest& request, const Limits& limits,
                                  const NamedEnvironments& environments) {
  ASSIGN_OR_RETURN(const ProblemSize size, Measure(request.problem(), request.lower_level(), limits, environments));
  const double arrays = 2.0 + (request.return_log_policy() ? 1 : 0) + (request.cotangents_size() != 0 ? 1 : 0);
  const bool transitions = request.return_transition_gradient() && request.cotangents_size() != 0;
  const double response = 8 * size.states + 8 * size.rows * arrays + (transitions ? 8 * size.entries : 0) +
                          (request.return_warm_start() ? 16 * size.states : 0);
  return Finish(request, size, 1, 1, response, limits);
}

absl::StatusOr<Cost> EstimateCost(const v1::CheckGradientRequest& request, const Limits& limits,
                                  const NamedEnvironments& environments) {
  ASSIGN_OR_RETURN(const ProblemSize size, Measure(request.problem(), request.lower_level(), limits, environments));
  // More are refused when the request is decoded.
  const double directions = request.directions() > 0 ? std::min(request.directions(), 10'000) : size.n;
  return Finish(request, size, 1 + 2 * directions, 3, PointBytes(size, false, false) + 16 * directions, limits);
}

// What portfolio does and holds; options out of range are refused when the request is decoded.
struct PortfolioSize {
  double evaluations = 0;
  double islands = 0;
  double optima = 0;
};

// Whose sensitivities are asked for.
double CountNumbers(const v1::OptimizeRequest& request) {
  if (!request.return_sensitivities()) return 0;
  double numbers = 4 + request.problem().parameter_groups_size() + request.problem().feasible_set_size();
  for (const v1::Context& context : request.problem().contexts()) numbers += 3 + context.objective_size();
  return numbers;
}

PortfolioSize MeasurePortfolio(const v1::PortfolioOptions& options) {
  const PortfolioOptions defaults;
  const auto clamped = [](bool has, int value, int otherwise, int most) -> double {
    return std::clamp(has ? value : otherwise, 0, most);
  };
  PortfolioSize size;
  size.islands = clamped(options.has_islands(), options.islands(), defaults.islands, 256);
  size.optima = clamped(options.has_max_optima(), options.max_optima(), defaults.max_optima, 256);
  const double patience = clamped(options.has_patience(), options.patience(), defaults.patience, 1'000'000);
  size.evaluations = (1 + patience) * size.islands *
                     clamped(options.has_evaluations_per_round(), options.evaluations_per_round(),
                             defaults.evaluations_per_round, 1'000'000);
  return size;
}

absl::StatusOr<Cost> EstimateCost(const v1::OptimizeRequest& request, const Limits& limits,
                                  const NamedEnvironments& environments) {
  ASSIGN_OR_RETURN(const ProblemSize size, Measure(request.problem(), request.lower_level(), limits, environments));
  const PortfolioSize portfolio = request.has_portfolio() ? MeasurePortfolio(request.portfolio()) : PortfolioSize{};
  double evaluations = request.has_max_iterations() ? request.max_iterations() : 1000;
  if (request.has_portfolio()) evaluations = portfolio.evaluations;
  if (request.has_max_evaluations()) evaluations = std::min(evaluations, 1.0 * request.max_evaluations());
  evaluations = 1 + std::max(evaluations, 0.0);
  const double history =
      request.return_history() ? 48 * std::min(evaluations, static_cast<double>(History::kMaxEntries)) : 0;
  const double pairs = CountPairs(request), pair = 16 * size.n;
  const double numbers = CountNumbers(request);
  const double response = history + numbers * (16 + (size.n <= kMaxSensitivityParameters ? 8 * size.n : 0)) +
                          (numbers > 0 ? 16 * size.n : 0) + portfolio.optima * (40 + 8 * size.n) +
                          PointBytes(size, request.return_policies(), request.return_warm_start()) +
                          (request.return_warm_start() ? pairs * pair : 0) +
                          (request.return_stationarity() ? 100 + 8 * size.n : 0);
  // With the Hessian, for stationarity.
  const double products = request.return_stationarity() ? std::min<double>(size.n, Stationarity::kDenseDimension) : 0;
  ASSIGN_OR_RETURN(Cost cost, Finish(request, size, evaluations * (request.certify_progress() ? 3 : 1) + products / 4,
                                     30, response, limits));
  // Decoded, kept, scaled for the model, and once more while one is added.
  cost.bytes += 5 * pairs * pair;
  // A second evaluator for the certificates.
  if (request.certify_progress()) cost.bytes += EvaluatorBytes(size);
  // A further evaluator, dx* by every number, and the Hessian with its eigenvectors.
  if (request.return_sensitivities()) {
    const double n = std::min<double>(size.n, kMaxSensitivityParameters);
    cost.bytes += EvaluatorBytes(size) + 8 * numbers * n + 8 * 6 * n * n + 40 * size.n;
    cost.seconds += (n + numbers) * size.evaluation_seconds;
  }
  // Another for the Hessian, and the directions of its conjugate gradients.
  if (request.has_truncated_newton()) cost.bytes += EvaluatorBytes(size) + 8 * size.n * CountDirections(request);
  // A basis of the Krylov space, its projected Hessian and the decomposition of that; its evaluator comes after the
  // method's.
  cost.bytes += 8 * products * (size.n + 4 * products);
  // The worst case: the problem smoothed, once for each thread, and with multipliers.
  if (request.problem().aggregation() == v1::AGGREGATION_WORST_CASE) {
    const double copies = 2 + (request.has_portfolio() ? limits.threads : 0);
    cost.bytes += copies * (4 * static_cast<double>(request.problem().ByteSizeLong()) + size.term_bytes);
  }
  // The problem at two other temperatures and in shares, an evaluator in each further thread, islands, optima.
  if (request.has_portfolio()) {
    const double optima = static_cast<double>(Optima::Capacity(static_cast<int>(size.n)));
    cost.bytes += 12 * static_cast<double>(request.problem().ByteSizeLong()) + 3 * size.term_bytes +
                  (limits.threads - 1) * EvaluatorBytes(size) +
                  2 * portfolio.islands * 8 * (8 * size.rows + 4 * size.states + 4 * size.n) +
                  (3 * optima + portfolio.islands * optima / 8) * 16 * size.n;
  }
  return cost;
}

}  // namespace bilevel::server
