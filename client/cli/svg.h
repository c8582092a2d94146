// A scalable picture, element by element. Coordinates are pixels from the top left corner.

#ifndef BILEVEL_CLIENT_CLI_SVG_H_
#define BILEVEL_CLIENT_CLI_SVG_H_

#include <span>
#include <string>
#include <string_view>

namespace bilevel::client {

struct Point {
  double x;
  double y;
};

class Svg {
 public:
  enum class Anchor { kStart, kMiddle, kEnd };

  Svg(double width, double height);

  // Colours as CSS has them.
  void Rectangle(Point corner, double width, double height, std::string_view fill);
  void Circle(Point center, double radius, std::string_view fill);
  void Line(Point from, Point to, std::string_view stroke, double width = 1);
  // With a head at `to`.
  void Arrow(Point from, Point to, std::string_view stroke);
  void Path(std::span<const Point> points, std::string_view stroke);
  void Text(Point at, std::string_view text, Anchor anchor = Anchor::kStart, double size = 12);

  std::string Finish() &&;

 private:
  std::string out_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_SVG_H_
