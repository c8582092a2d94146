#include "client/cli/grid_map.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/array.h"
#include "client/cli/svg.h"

namespace bilevel::client {
namespace {

constexpr double kCell = 34, kMargin = 20, kHeader = 44, kFooter = 30;
// Starts are marked from this probability on: a uniform start marks nothing.
constexpr double kMarkedStart = 0.2;
// Probabilities that differ by less are the same.
constexpr double kEqual = 1e-9;

std::vector<double> Elements(const v1::Array& array) { return ToVector(array).value_or(std::vector<double>{}); }

absl::StatusOr<GridMap> MapOf(const v1::Context& context, const v1::LowerLevelSolution& solution, int index) {
  const v1::Environment& environment = context.environment();
  if (!context.environment_name().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("contexts[", index, "] names its environment, which has no map; a problem whose environment ",
                     "stands in it may have one"));
  }
  if (!environment.has_grid()) {
    return absl::InvalidArgumentError(
        absl::StrCat("contexts[", index, "].environment has no grid, so there is no map"));
  }
  const v1::GridLayout& grid = environment.grid();
  GridMap map{
      .label = solution.label(), .rows = grid.rows(), .cols = grid.cols(), .has_moves = grid.has_moves(), .states = {}};
  const std::vector<double> cells = Elements(grid.cells()), moves = Elements(grid.moves());
  const std::vector<double> value = Elements(solution.value()), policy = Elements(solution.policy());
  const std::vector<double> incentive = Elements(solution.incentive());
  if (grid.cols() < 1 || cells.size() != value.size()) {
    return absl::InvalidArgumentError(absl::StrCat("contexts[", index, "].environment.grid does not fit its states"));
  }
  const std::vector<double> mask = Elements(environment.available_actions());
  const std::vector<double> start = Elements(environment.initial_distribution());
  const std::vector<double> termination = Elements(environment.termination_probability());
  const auto actions = static_cast<std::size_t>(environment.num_actions());
  for (std::size_t s = 0; s < value.size(); ++s) {
    GridMap::State state;
    const int cell = static_cast<int>(cells[s]);
    if (cells[s] >= double{1} * grid.rows() * grid.cols()) {
      return absl::InvalidArgumentError(absl::StrCat("contexts[", index, "].environment.grid has a cell outside"));
    }
    state.row = cell / grid.cols();
    state.col = cell % grid.cols();
    state.value = value[s];
    if (!start.empty()) state.start = start[s];
    state.ends = !termination.empty();
    std::size_t likely = s * actions;
    double second = 0;  // probability of the runner-up
    for (std::size_t row = s * actions; row < (s + 1) * actions; ++row) {
      state.incentive += policy[row] * incentive[row];
      if (mask.empty() || mask[row] != 0) state.ends = state.ends && termination[row] > 1 - kEqual;
      if (row != likely) {
        second = std::max(second, std::min(policy[row], policy[likely]));
        if (policy[row] > policy[likely]) likely = row;
      }
      if (!map.has_moves) continue;
      state.down += policy[row] * moves[2 * (row - s * actions)];
      state.right += policy[row] * moves[2 * (row - s * actions) + 1];
    }
    if (map.has_moves && policy[likely] - second > kEqual) {
      state.likely_down = moves[2 * (likely - s * actions)];
      state.likely_right = moves[2 * (likely - s * actions) + 1];
    }
    map.states.push_back(state);
  }
  return map;
}

char ArrowOf(double down, double right) {
  if (down == 0 && right == 0) return 'o';
  if (std::abs(down) >= std::abs(right)) return down > 0 ? 'v' : '^';
  return right > 0 ? '>' : '<';
}

// White to blue.
std::string Shade(double share) {
  const auto mix = [share](int from, int to) { return static_cast<int>(std::lround(from + share * (to - from))); };
  return absl::StrFormat("#%02x%02x%02x", mix(0xf4, 0x6b), mix(0xf7, 0x9f), mix(0xfb, 0xd6));
}

void DrawMap(Svg& svg, double left, const GridMap& map) {
  double low = std::numeric_limits<double>::infinity(), high = -low, largest = 0;
  for (const GridMap::State& state : map.states) {
    low = std::min(low, state.value);
    high = std::max(high, state.value);
    largest = std::max(largest, std::abs(state.incentive));
  }
  svg.Text({left, 18}, map.label, Svg::Anchor::kStart, 14);
  svg.Text({left, 36}, absl::StrFormat("value %.4g (white) to %.4g (blue)", low, high));
  svg.Rectangle({left, kHeader}, map.cols * kCell, map.rows * kCell, "#555555");
  for (const GridMap::State& state : map.states) {
    const Point corner{left + state.col * kCell, kHeader + state.row * kCell};
    const Point center{corner.x + kCell / 2, corner.y + kCell / 2};
    svg.Rectangle(corner, kCell - 1, kCell - 1, Shade(high > low ? (state.value - low) / (high - low) : 0));
    if (state.incentive != 0) {
      svg.Circle(center, kCell / 2 * std::sqrt(std::abs(state.incentive) / largest),
                 state.incentive < 0 ? "#d98a7b" : "#8fc08a");
    }
    const double reach = kCell * 0.38;
    if (map.has_moves && !state.ends) {
      svg.Arrow({center.x - reach * state.right, center.y - reach * state.down},
                {center.x + reach * state.right, center.y + reach * state.down}, "black");
    }
    if (state.start >= kMarkedStart) svg.Text({corner.x + 2, corner.y + 11}, "S", Svg::Anchor::kStart, 11);
    if (state.ends) svg.Text({center.x, center.y + 5}, "E", Svg::Anchor::kMiddle, 14);
  }
  if (largest > 0) {
    svg.Text({left, kHeader + map.rows * kCell + 18},
             absl::StrFormat("discs: incentives, red takes, green pays; largest %.3g a step", largest));
  }
}

}  // namespace

absl::StatusOr<std::vector<GridMap>> GridMaps(const v1::Problem& problem, const v1::SolveLowerLevelResponse& answer) {
  std::vector<GridMap> maps;
  for (int c = 0; c < answer.contexts_size(); ++c) {
    absl::StatusOr<GridMap> map = MapOf(problem.contexts(c), answer.contexts(c), c);
    if (!map.ok()) return map.status();
    maps.push_back(*std::move(map));
  }
  return maps;
}

std::string PrintMaps(std::span<const GridMap> maps) {
  std::string text;
  for (const GridMap& map : maps) {
    const auto width = static_cast<std::size_t>(map.cols);
    std::vector<std::string> lines(static_cast<std::size_t>(map.rows), std::string(width, '#'));
    for (const GridMap::State& state : map.states) {
      lines[static_cast<std::size_t>(state.row)][static_cast<std::size_t>(state.col)] =
          state.ends      ? '*'
          : map.has_moves ? ArrowOf(state.likely_down, state.likely_right)
                          : '.';
    }
    absl::StrAppend(&text, map.label, map.label.empty() ? "" : "\n");
    for (const std::string& line : lines) absl::StrAppend(&text, "  ", line, "\n");
  }
  return text;
}

std::string DrawMaps(std::span<const GridMap> maps) {
  double width = kMargin, height = 0;
  for (const GridMap& map : maps) {
    width += std::max(map.cols * kCell, 220.0) + kMargin;
    height = std::max(height, kHeader + map.rows * kCell + kFooter);
  }
  Svg svg(width, height);
  double left = kMargin;
  for (const GridMap& map : maps) {
    DrawMap(svg, left, map);
    left += std::max(map.cols * kCell, 220.0) + kMargin;
  }
  return std::move(svg).Finish();
}

}  // namespace bilevel::client
