#include "tests/benchmarks/suite/row.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace bilevel::benchmarks {
namespace {

constexpr std::string_view kMark = "ROW";

// Calls visit(key, field) for every field.
template <typename AnyRow, typename Visitor>
void ForEachField(AnyRow& row, Visitor visit) {
  visit("table", row.table);
  visit("name", row.name);
  visit("states", row.states);
  visit("discount", row.discount);
  visit("temperature", row.temperature);
  visit("threads", row.threads);
  visit("seconds", row.seconds);
  visit("sweeps", row.sweeps);
  visit("products", row.products);
  visit("peak_megabytes", row.peak_megabytes);
  visit("bound", row.bound);
  visit("ratio", row.ratio);
  visit("against", row.against);
  visit("target", row.target);
  visit("at_least", row.at_least);
  visit("missed", row.missed);
  visit("note", row.note);
}

std::string Format(const char* format, double value) {
  if (std::isnan(value)) return "";
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string ToField(double value) { return Format("%.17g", value); }
std::string ToField(bool value) { return value ? "1" : "0"; }
std::string ToField(const std::string& value) {
  std::string result = value;
  for (char& c : result) {
    if (c == '\t' || c == '\n') c = ' ';
  }
  return result;
}

void FromField(const std::string& text, double& value) {
  value = text.empty() ? kUnknown : std::strtod(text.c_str(), nullptr);
}
void FromField(const std::string& text, bool& value) { value = text == "1"; }
void FromField(const std::string& text, std::string& value) { value = text; }

// With a unit that leaves up to three digits before the point.
std::string Duration(double seconds) {
  if (std::isnan(seconds)) return "";
  if (seconds < 1e-3) return Format("%.3g us", 1e6 * seconds);
  if (seconds < 1) return Format("%.3g ms", 1e3 * seconds);
  return Format("%.3g s", seconds);
}

std::string Ratio(const Row& row) {
  if (std::isnan(row.ratio)) return "";
  return Format("%.3g", row.ratio) + " x " + row.against;
}

std::string Target(const Row& row) {
  return row.HasTarget() ? (row.at_least ? ">= " : "<= ") + Format("%.3g", row.target) : "";
}

std::string Verdict(const Row& row) {
  std::string verdict = row.Passes() ? "ok" : "**FAIL**";
  if (!row.missed.empty()) verdict += " " + row.missed;
  return row.note.empty() ? verdict : verdict + "; " + row.note;
}

}  // namespace

std::string Encode(const Row& row) {
  std::string line(kMark);
  ForEachField(row,
               [&](const char* key, const auto& value) { line += std::string("\t") + key + "=" + ToField(value); });
  return line;
}

bool Decode(const std::string& line, Row& row) {
  if (line.rfind(std::string(kMark) + "\t", 0) != 0) return false;
  for (size_t begin = line.find('\t'); begin != std::string::npos;) {
    const size_t end = line.find('\t', begin + 1);
    const std::string field = line.substr(begin + 1, end == std::string::npos ? end : end - begin - 1);
    const size_t equals = field.find('=');
    if (equals != std::string::npos) {
      ForEachField(row, [&](const char* key, auto& value) {
        if (field.compare(0, equals, key) == 0) FromField(field.substr(equals + 1), value);
      });
    }
    begin = end;
  }
  return true;
}

std::string MarkdownHeader() {
  return "| | S | gamma | tau | threads | time | sweeps | products | peak MB | bound | ratio | target | |\n"
         "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
}

std::string ToMarkdown(const Row& row) {
  std::string line = "|";
  for (const std::string& cell :
       {row.name, Format("%.7g", row.states), Format("%g", row.discount), Format("%g", row.temperature),
        Format("%g", row.threads), Duration(row.seconds), Format("%.0f", row.sweeps), Format("%.0f", row.products),
        Format("%.0f", row.peak_megabytes), Format("%.1e", row.bound), Ratio(row), Target(row), Verdict(row)}) {
    line += " " + cell + " |";
  }
  return line + "\n";
}

}  // namespace bilevel::benchmarks
