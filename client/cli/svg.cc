#include "client/cli/svg.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bilevel::client {
namespace {

std::string Escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else if (c == '&') {
      result += "&amp;";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      result += ' ';
    } else {
      result += c;
    }
  }
  return result;
}

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

Svg::Svg(double width, double height)
    : out_(absl::StrFormat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" "
                           "viewBox=\"0 0 %g %g\" font-family=\"sans-serif\">\n",
                           width, height, width, height)) {
  Rectangle({0, 0}, width, height, "white");
}

void Svg::Rectangle(Point corner, double width, double height, std::string_view fill) {
  absl::StrAppendFormat(&out_, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"/>\n", corner.x,
                        corner.y, width, height, View(fill));
}

void Svg::Circle(Point center, double radius, std::string_view fill) {
  absl::StrAppendFormat(&out_, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"%.2f\" fill=\"%s\" fill-opacity=\"0.8\"/>\n",
                        center.x, center.y, radius, View(fill));
}

void Svg::Line(Point from, Point to, std::string_view stroke, double width) {
  absl::StrAppendFormat(&out_,
                        "<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke=\"%s\" stroke-width=\"%g\"/>\n",
                        from.x, from.y, to.x, to.y, View(stroke), width);
}

void Svg::Arrow(Point from, Point to, std::string_view stroke) {
  const double dx = to.x - from.x, dy = to.y - from.y, length = std::hypot(dx, dy);
  if (length == 0) return;
  constexpr double kHead = 4, kSpread = 0.6;
  auto barb = [&](double side) -> Point {
    return {to.x - kHead * (dx - side * dy) / length, to.y - kHead * (dy + side * dx) / length};
  };
  const Point left = barb(-kSpread), right = barb(kSpread);
  absl::StrAppendFormat(
      &out_, "<path d=\"M%.1f %.1fL%.1f %.1fM%.1f %.1fL%.1f %.1fL%.1f %.1f\" fill=\"none\" stroke=\"%s\"/>\n", from.x,
      from.y, to.x, to.y, left.x, left.y, to.x, to.y, right.x, right.y, View(stroke));
}

void Svg::Path(std::span<const Point> points, std::string_view stroke) {
  out_ += "<polyline points=\"";
  for (const Point& point : points) absl::StrAppendFormat(&out_, "%.2f,%.2f ", point.x, point.y);
  absl::StrAppendFormat(&out_, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", View(stroke));
}

void Svg::Text(Point at, std::string_view text, Anchor anchor, double size) {
  constexpr const char* kAnchors[] = {"start", "middle", "end"};
  absl::StrAppendFormat(&out_, "<text x=\"%.2f\" y=\"%.2f\" font-size=\"%g\" text-anchor=\"%s\">%s</text>\n", at.x,
                        at.y, size, kAnchors[static_cast<int>(anchor)], Escape(text));
}

std::string Svg::Finish() && {
  out_ += "</svg>\n";
  return std::move(out_);
}

}  // namespace bilevel::client
