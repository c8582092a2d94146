#include "client/cli/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/svg.h"

namespace bilevel::client {
namespace {

constexpr double kWidth = 720, kLeft = 90, kRight = 20, kTop = 40, kPanel = 210, kGap = 60;
constexpr const char* kBlue = "#1f5fa8";
constexpr const char* kRed = "#b5402c";

struct Curve {
  const char* name;
  const char* color;
  std::vector<Point> points;  // iteration, value
};

// Drops what has no place on the axis.
void Add(Curve& curve, double iteration, double value, bool logarithmic) {
  if (!std::isfinite(value) || (logarithmic && !(value > 0))) return;
  curve.points.push_back({iteration, logarithmic ? std::log10(value) : value});
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void Take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // Never empty, with a little room.
  Range Widened() const {
    if (!(low <= high)) return {0, 1};
    const double scale = std::max(std::abs(low), std::abs(high));
    const double room = high - low > 1e-9 * scale ? 0.05 * (high - low) : std::max(0.5 * scale, 1e-300);
    return {low - room, high + room};
  }
};

// Steps of 1, 2 or 5 times a power of ten, about `count` in the range.
std::vector<double> Ticks(const Range& range, int count) {
  const double rough = (range.high - range.low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power >= rough) step = factor * power;
  }
  std::vector<double> ticks;
  const double first = std::ceil(range.low / step);
  for (int i = 0; i <= 10 * count && (first + i) * step <= range.high; ++i) ticks.push_back((first + i) * step);
  return ticks;
}

void DrawPanel(Svg& svg, double top, const Range& iterations, const std::vector<Curve>& curves, bool logarithmic) {
  Range values;
  for (const Curve& curve : curves) {
    for (const Point& point : curve.points) values.Take(point.y);
  }
  values = values.Widened();
  const double right = kWidth - kRight, bottom = top + kPanel;
  auto place = [&](const Point& point) -> Point {
    return {kLeft + (point.x - iterations.low) / (iterations.high - iterations.low) * (right - kLeft),
            bottom - (point.y - values.low) / (values.high - values.low) * kPanel};
  };
  for (const double tick : Ticks(values, 5)) {
    if (logarithmic && tick != std::round(tick)) continue;
    const Point at = place({iterations.low, tick});
    svg.Line(at, {right, at.y}, "#dddddd");
    svg.Text({kLeft - 6, at.y + 4}, logarithmic ? absl::StrFormat("1e%g", tick) : absl::StrFormat("%.6g", tick),
             Svg::Anchor::kEnd);
  }
  for (const double tick : Ticks(iterations, 6)) {
    if (tick != std::round(tick)) continue;
    svg.Text({place({tick, values.low}).x, bottom + 16}, absl::StrFormat("%g", tick), Svg::Anchor::kMiddle);
  }
  svg.Line({kLeft, top}, {kLeft, bottom}, "black");
  svg.Line({kLeft, bottom}, {right, bottom}, "black");
  double legend = kLeft;
  for (const Curve& curve : curves) {
    std::vector<Point> placed;
    for (const Point& point : curve.points) placed.push_back(place(point));
    svg.Path(placed, curve.color);
    svg.Line({legend, top - 12}, {legend + 18, top - 12}, curve.color, 2);
    svg.Text({legend + 24, top - 8}, curve.name);
    legend += 200;
  }
}

}  // namespace

std::string PlotHistory(const google::protobuf::RepeatedPtrField<v1::IterationStats>& history) {
  Curve objective{"objective", kBlue, {}};
  Curve gradient{"|h|", kBlue, {}}, bound{"bound on the gradient's error", kRed, {}};
  Range iterations;
  for (const v1::IterationStats& entry : history) {
    iterations.Take(entry.iteration());
    Add(objective, entry.iteration(), entry.objective(), false);
    Add(gradient, entry.iteration(), entry.gradient_norm(), true);
    Add(bound, entry.iteration(), entry.error_bound(), true);
  }
  if (!(iterations.low < iterations.high)) iterations = iterations.Widened();
  Svg svg(kWidth, kTop + 2 * kPanel + kGap + 50);
  DrawPanel(svg, kTop, iterations, {objective}, false);
  DrawPanel(svg, kTop + kPanel + kGap, iterations, {gradient, bound}, true);
  svg.Text({(kLeft + kWidth - kRight) / 2, kTop + 2 * kPanel + kGap + 38}, "iteration", Svg::Anchor::kMiddle);
  return std::move(svg).Finish();
}

}  // namespace bilevel::client
