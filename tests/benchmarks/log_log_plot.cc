#include "tests/benchmarks/log_log_plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace bilevel {
namespace {

constexpr double kWidth = 330, kHeight = 300, kLeft = 62, kTop = 34, kGap = 70, kBottom = 46, kLegend = 150;
constexpr const char* kColours[] = {"#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677",
                                    "#aa3377", "#000000", "#bbbbbb", "#ee7733"};

// Beyond the last colour they begin again, dashed.
std::string Pen(size_t curve) {
  const char* dash = curve < std::size(kColours) ? "" : " stroke-dasharray=\"6 3\"";
  return std::string("stroke-width=\"2\" stroke=\"") + kColours[curve % std::size(kColours)] + "\"" + dash;
}

std::string Format(const char* format, auto... values) {
  char text[256];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

struct Range {
  int low = 1000, high = -1000;  // decades
  void Take(double value) {
    low = std::min(low, static_cast<int>(std::floor(std::log10(value))));
    high = std::max(high, static_cast<int>(std::ceil(std::log10(value))));
  }
  double At(double value) const { return (std::log10(value) - low) / std::max(1, high - low); }
};

std::string Text(double x, double y, const char* anchor, const std::string& text, const char* more = "") {
  return Format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, more) + text + "</text>\n";
}

std::string Line(double x1, double y1, double x2, double y2, const char* style) {
  return Format("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2, style);
}

std::string DrawPanel(const LogLogPlot::Panel& panel, const Range& xs, const Range& ys, double left, double slope) {
  const auto x_at = [&](double x) { return left + kWidth * xs.At(x); };
  const auto y_at = [&](double y) { return kTop + kHeight * (1 - ys.At(y)); };
  std::string svg = Text(left + kWidth / 2, kTop - 14, "middle", panel.title, " font-weight=\"bold\"");
  for (int decade = xs.low; decade <= xs.high; ++decade) {
    const double x = x_at(std::pow(10, decade));
    svg += Line(x, kTop, x, kTop + kHeight, "stroke=\"#ddd\"");
    svg += Text(x, kTop + kHeight + 16, "middle", Format("1e%d", decade));
  }
  for (int decade = ys.low; decade <= ys.high; ++decade) {
    const double y = y_at(std::pow(10, decade));
    svg += Line(left, y, left + kWidth, y, "stroke=\"#ddd\"");
    svg += Text(left - 6, y + 4, "end", Format("1e%d", decade));
  }
  // The slope from the upper or lower left, as far as the panel goes.
  const double decades = std::min<double>(xs.high - xs.low, (ys.high - ys.low) / std::abs(slope));
  const int start = slope < 0 ? ys.high : ys.low;
  svg += Line(left, y_at(std::pow(10, start)), x_at(std::pow(10, xs.low + decades)),
              y_at(std::pow(10, start + slope * decades)), "stroke=\"#888\" stroke-dasharray=\"2 4\"");
  for (size_t c = 0; c < panel.curves.size(); ++c) {
    std::string points;
    for (const auto& [x, y] : panel.curves[c].points) {
      if (x > 0 && y > 0) points += Format("%.1f,%.1f ", x_at(x), y_at(y));
    }
    svg += "<polyline points=\"" + points + "\" fill=\"none\" " + Pen(c) + "/>\n";
  }
  return svg;
}

}  // namespace

std::string LogLogPlot::Draw(const std::vector<Panel>& panels, const std::string& x_label, const std::string& y_label,
                             double slope) {
  Range xs, ys;
  for (const Panel& panel : panels) {
    for (const Curve& curve : panel.curves) {
      for (const auto& [x, y] : curve.points) {
        if (!(x > 0 && y > 0)) continue;
        xs.Take(x);
        ys.Take(y);
      }
    }
  }
  const double width = kLeft + static_cast<double>(panels.size()) * (kWidth + kGap) + kLegend;
  const double height = kTop + kHeight + kBottom;
  std::string svg = Format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
      "fill=\"white\"/>\n",
      width, height);
  double left = kLeft;
  for (const Panel& panel : panels) {
    svg += DrawPanel(panel, xs, ys, left, slope);
    svg += Text(left + kWidth / 2, kTop + kHeight + 36, "middle", x_label);
    left += kWidth + kGap;
  }
  svg += Format("<text transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">", kTop + kHeight / 2) +
         y_label + "</text>\n";
  const double x = left - kGap + 16;
  for (size_t c = 0; !panels.empty() && c < panels[0].curves.size(); ++c) {
    const double y = kTop + 12 + 20 * static_cast<double>(c);
    svg += Line(x, y - 4, x + 22, y - 4, Pen(c).c_str());
    svg += Text(x + 28, y, "start", panels[0].curves[c].name);
  }
  return svg + "</svg>\n";
}

}  // namespace bilevel
