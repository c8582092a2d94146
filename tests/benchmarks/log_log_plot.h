// Curves in double logarithmic axes as an SVG, panel beside panel.

#ifndef BILEVEL_TESTS_BENCHMARKS_LOG_LOG_PLOT_H_
#define BILEVEL_TESTS_BENCHMARKS_LOG_LOG_PLOT_H_

#include <string>
#include <utility>
#include <vector>

namespace bilevel {

struct LogLogPlot {
  struct Curve {
    std::string name;
    std::vector<std::pair<double, double>> points;  // > 0; others are left out
  };
  struct Panel {
    std::string title;
    std::vector<Curve> curves;
  };

  // Decades as grid, a slope other than 0 dotted, the legend to the right.
  static std::string Draw(const std::vector<Panel>& panels, const std::string& x_label, const std::string& y_label,
                          double slope = -0.5);
};

}  // namespace bilevel

#endif  // BILEVEL_TESTS_BENCHMARKS_LOG_LOG_PLOT_H_
