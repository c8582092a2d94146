// suite: every benchmark family in one table, as Markdown, with the machine and the date. See README.md beside it.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/mdp/lower_level.h"
#include "server/jobs/allocator.h"
#include "tests/benchmarks/log_log_plot.h"
#include "tests/benchmarks/suite/clock.h"
#include "tests/benchmarks/suite/dense_sobirl.h"
#include "tests/benchmarks/suite/isolated.h"
#include "tests/benchmarks/suite/machine.h"
#include "tests/benchmarks/suite/sparse.h"
#include "tests/benchmarks/suite/wire.h"
#include "tests/support/families.h"

namespace bilevel::benchmarks {
namespace {

constexpr const char* kUsage =
    "usage: suite [--quick] [--tables NAME,...] [--markdown FILE] [--svg FILE] [--single-precision]\n"
    "             [--family NAME,...] [--states N,...] [--discount G,...] [--temperature T,...] [--threads N,...]\n"
    "families: rand-4 grid-slip queue-2d birth-death\n"
    "tables: sweep instructions solve adjoint gradient outer size dense wire scipy\n";

struct Table {
  const char* name;
  const char* title;
  const char* about;
};

constexpr Table kTables[] = {
    {"sweep", "One soft sweep", "Beside the bytes of its CSR and vectors at the bandwidth of a triad, taking turns."},
    {"instructions", "The same in each instruction set", "One thread, near caches, taking turns."},
    {"solve", "The follower's problem solved to a residual of 1e-8",
     "Setting up linear systems included. Bound: of |V - V*|_inf. At S = 1e5, tau = 0.1 and one thread beside the "
     "prototype's time at the bandwidth of this run (26.5 GB/s there)."},
    {"adjoint", "ADJ: the adjoint of f = 0.5 |pi|^2",
     "From zero to 1e-8 of the right-hand side. Bound: of |lambda - exact|_1 / |lambda|_1 at the policy found."},
    {"gradient", "Certified hyper-gradients, warm",
     "After moves of the rewards by 0.1 %; medians, of the sweeps too. Memory: the peak of the process beside the "
     "environment's CSR, 8 (S A + 1) + 12 E bytes. Bound: of the gradient's error, relative."},
    {"outer", "OUTER: 20 steps of 0.1 % each, warm", "Time, sweeps and products of one step; the worst bound."},
    {"size", "Certified hyper-gradients from zero, by size", "gamma = 0.99. Bound: of the gradient's error, relative."},
    {"dense", "DENSE-SOBIRL: one exact outer iteration",
     "Warm. LU: Eigen's with partial pivoting, of the same size; 2 J: the reward's Jacobian and its transpose times a "
     "vector, dense; timed in turns. Medians."},
    {"wire", "The wire",
     "Over loopback to a server process with two workers; Train with server, peer and client in one process. Threads: "
     "callers at a time. Time: of empty calls and evaluations the duration over their number, of all callers together; "
     "under load the 99th percentile of a call; medians of the upload and Train."},
    {"scipy", "SciPy and NumPy", "peers.py on the same problems, one thread. Ratio: its time to ours."},
};

struct Flags {
  bool quick = false, single_precision = false;
  std::set<std::string> tables;
  std::string markdown, svg;
  // What the tables of the families are measured at, in place of their own choice.
  std::vector<std::string> families;
  std::vector<double> states, discounts, temperatures, threads;
};

[[noreturn]] void Usage() {
  std::fputs(kUsage, stderr);
  std::exit(2);
}

std::vector<double> Numbers(const std::string& text, double least, double most) {
  std::vector<double> numbers;
  for (const auto part : absl::StrSplit(text, ',')) {
    double number = 0;
    if (!absl::SimpleAtod(part, &number) || !(number >= least && number <= most)) Usage();
    numbers.push_back(number);
  }
  return numbers;
}

Flags Parse(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--quick") {
      flags.quick = true;
      continue;
    }
    if (name == "--single-precision") {
      flags.single_precision = true;
      continue;
    }
    if (++i == argc) Usage();
    const std::string value = argv[i];
    if (name == "--tables") {
      flags.tables = absl::StrSplit(value, ',');
      for (const std::string& table : flags.tables) {
        if (std::none_of(std::begin(kTables), std::end(kTables), [&](const Table& t) { return t.name == table; }))
          Usage();
      }
    } else if (name == "--markdown") {
      flags.markdown = value;
    } else if (name == "--svg") {
      flags.svg = value;
    } else if (name == "--family") {
      flags.families = absl::StrSplit(value, ',');
      for (const std::string& family : flags.families) {
        if (std::count(std::begin(testing::kFamilies), std::end(testing::kFamilies), family) == 0) Usage();
      }
    } else if (name == "--states") {
      flags.states = Numbers(value, 4, 1e8);
    } else if (name == "--discount") {
      flags.discounts = Numbers(value, 0, 0.999999);
    } else if (name == "--temperature") {
      flags.temperatures = Numbers(value, 1e-6, 1e6);
    } else if (name == "--threads") {
      flags.threads = Numbers(value, 1, 64);
    } else {
      Usage();
    }
  }
  return flags;
}

// What a table is measured at unless flags say otherwise: all combinations.
struct Grid {
  std::vector<std::string> families;
  std::vector<double> states, discounts, temperatures, threads;
};

template <typename T>
std::vector<T> Or(const std::vector<T>& chosen, const std::vector<T>& otherwise) {
  return chosen.empty() ? otherwise : chosen;
}

// At gamma = 0.99, tau = 0.1 and so many threads unless said otherwise.
std::vector<Cell> Cells(const Flags& flags, const Grid& grid) {
  std::vector<Cell> cells;
  for (const std::string& family : Or(flags.families, grid.families)) {
    const auto known = std::find(std::begin(testing::kFamilies), std::end(testing::kFamilies), family);
    for (const double states : Or(flags.states, grid.states)) {
      for (const double temperature : Or(flags.temperatures, grid.temperatures)) {
        for (const double discount : Or(flags.discounts, grid.discounts)) {
          for (const double threads : Or(flags.threads, grid.threads)) {
            cells.push_back({.family = *known,
                             .states = static_cast<int>(states),
                             .discount = discount,
                             .temperature = temperature,
                             .threads = static_cast<int>(threads),
                             .single_precision = flags.single_precision});
          }
        }
      }
    }
  }
  return cells;
}

// Where this program, its siblings and its sources are.
struct Places {
  std::string programs, sources;
};

class Suite {
 public:
  Suite(const Flags& flags, Places places) : flags_(flags), places_(std::move(places)) {}

  bool Run() {
    std::printf("%s\n", machine_.c_str());
    const std::pair<const char*, void (Suite::*)()> tables[] = {
        {"sweep", &Suite::Sweeps},       {"instructions", &Suite::Instructions},
        {"solve", &Suite::Solves},       {"adjoint", &Suite::Adjoints},
        {"gradient", &Suite::Gradients}, {"outer", &Suite::Outer},
        {"size", &Suite::Sizes},         {"dense", &Suite::Dense},
        {"wire", &Suite::Wire},          {"scipy", &Suite::Scipy}};
    for (const auto& [name, measure] : tables) {
      if (flags_.tables.empty() || flags_.tables.contains(name)) (this->*measure)();
    }
    Write();
    return std::all_of(rows_.begin(), rows_.end(), [&](const Row& row) {
      // A short run on a busy machine says whether answers are right, not how fast they come.
      return flags_.quick ? row.missed.empty() : row.Passes();
    });
  }

 private:
  const std::vector<std::string> kAll{std::begin(testing::kFamilies), std::end(testing::kFamilies)};
  const std::vector<std::string> kThree{"rand-4", "grid-slip", "queue-2d"};

  void Take(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      std::fputs(ToMarkdown(row).c_str(), stdout);
      rows_.push_back(row);
    }
    std::fflush(stdout);
  }

  void Begin(const char* table) {
    std::printf("\n%s\n%s", table, MarkdownHeader().c_str());
    std::fflush(stdout);
  }

  void Measure(const char* table, const std::vector<Cell>& cells,
               const std::function<std::vector<Row>(const Cell&)>& measure) {
    Begin(table);
    for (const Cell& cell : cells) Take(RunIsolated(RowOf(cell, table), [&] { return measure(cell); }));
  }

  // And once more with probabilities in single precision, on two threads, where nothing else is asked for.
  std::vector<Cell> WithSinglePrecision(std::vector<Cell> cells) const {
    if (flags_.single_precision || !flags_.families.empty()) return cells;
    for (size_t i = 0, end = cells.size(); i < end; ++i) {
      if (cells[i].threads != 2) continue;
      cells.push_back(cells[i]);
      cells.back().single_precision = true;
    }
    return cells;
  }

  void Sweeps() {
    const Grid grid{kAll, {flags_.quick ? 1e5 : 1e6}, {0.99}, {0.1}, {1, 2}};
    Measure("sweep", WithSinglePrecision(Cells(flags_, grid)), [](const Cell& cell) {
      std::vector<Row> rows = MeasureSweep(cell);
      if (cell.threads == 2 && cell.states == 1'000'000 && !cell.single_precision) {
        if (cell.family == "grid-slip") rows[0].target = 1.25;
        if (cell.family == "rand-4") rows[0].target = 1.7;
      }
      return rows;
    });
  }

  void Instructions() {
    Measure("instructions", Cells(flags_, {kAll, {1e4}, {0.99}, {0.1}, {1}}), MeasureInstructions);
  }

  void Solves() {
    const std::vector<double> discounts = flags_.quick ? std::vector{0.99} : std::vector{0.9, 0.99, 0.999};
    std::vector<Cell> cells = Cells(flags_, {kAll, {flags_.quick ? 1e4 : 1e5}, discounts, {0.1}, {1}});
    if (!flags_.quick && flags_.states.empty()) {
      for (const Grid& more : {Grid{kAll, {1e4}, discounts, {0.1}, {1}}, Grid{kAll, {1e6}, discounts, {0.1}, {2}},
                               Grid{{"rand-4", "grid-slip"}, {1e4, 1e5}, discounts, {0.01}, {1}},
                               Grid{{"grid-slip"}, {1e4, 1e5}, discounts, {0.001}, {1}}}) {
        for (const Cell& cell : Cells(flags_, more)) cells.push_back(cell);
      }
    }
    Measure("solve", cells, [](const Cell& cell) {
      std::vector<Row> rows = MeasureSolve(cell, PrototypeSeconds(cell));
      // Beyond what is promised a limit that says so is an answer.
      if (cell.discount > 0.99 && rows[0].note == "time limit") rows[0].missed.clear();
      return rows;
    });
  }

  // Of benchmarks.md: seconds to 1e-8 at S = 1e5, tau = 0.1, one thread.
  static double PrototypeSeconds(const Cell& cell) {
    static const std::map<std::string_view, std::map<double, double>> kPrototype = {
        {"rand-4", {{0.9, 0.061}, {0.99, 0.069}, {0.999, 0.068}}},
        {"grid-slip", {{0.9, 0.13}, {0.99, 0.43}, {0.999, 2.1}}},
        {"queue-2d", {{0.9, 0.086}, {0.99, 0.19}, {0.999, 0.41}}}};
    const auto family = kPrototype.find(cell.family);
    if (cell.states != 100'000 || cell.threads != 1 || cell.temperature != 0.1 || family == kPrototype.end())
      return kUnknown;
    const auto seconds = family->second.find(cell.discount);
    return seconds == family->second.end() ? kUnknown : seconds->second;
  }

  void Adjoints() {
    const Grid grid{kAll, {flags_.quick ? 1e4 : 1e5}, {0.99, 0.999}, {0.1}, {1}};
    std::vector<Cell> cells = Cells(flags_, grid);
    if (!flags_.quick && flags_.states.empty()) {
      for (const Cell& cell : Cells(flags_, {kAll, {1e6}, {0.99}, {0.1}, {2}})) cells.push_back(cell);
    }
    Measure("adjoint", cells, MeasureAdjoint);
  }

  void Gradients() {
    const Grid grid{kThree, {flags_.quick ? 1e4 : 1e6}, {0.99}, {0.1}, {2}};
    Measure("gradient", WithSinglePrecision(Cells(flags_, grid)), [](const Cell& cell) {
      const bool promised =
          cell.states == 1'000'000 && cell.threads == 2 && cell.discount == 0.99 && !cell.single_precision;
      return MeasureGradient(cell, promised ? (cell.family == "rand-4" ? 110 : 250) : kUnknown,
                             promised ? 5 : kUnknown);
    });
  }

  void Outer() {
    const Grid grid{kThree, {flags_.quick ? 1e4 : 1e5}, {0.99, 0.999}, {0.1}, {2}};
    std::vector<Cell> cells = Cells(flags_, grid);
    if (!flags_.quick && flags_.states.empty()) {
      for (const Cell& cell : Cells(flags_, {kThree, {1e6}, {0.99}, {0.1}, {2}})) cells.push_back(cell);
    }
    Measure("outer", cells, MeasureOuterSteps);
  }

  // Each family up to where memory or patience ends, then how time and memory grow.
  void Sizes() {
    constexpr double kPatience = 600;
    const std::vector<double> sizes = flags_.quick ? std::vector{1e3, 1e4} : std::vector{1e3, 1e4, 1e5, 1e6, 1e7};
    Begin("size");
    LogLogPlot::Panel time{.title = "seconds", .curves = {}}, memory{.title = "peak MB", .curves = {}};
    for (const std::string& family : Or(flags_.families, kThree)) {
      LogLogPlot::Curve seconds{.name = NameOf(family), .points = {}}, megabytes{.name = NameOf(family), .points = {}};
      for (const Cell& cell : Cells(flags_, {{family}, sizes, {0.99}, {0.1}, {2}})) {
        if (cell.family != family) continue;  // flags may name several
        Cell patient = cell;
        patient.time_limit = kPatience;
        const bool promised = family == "rand-4" && cell.states == 10'000'000;
        if (const std::string why = WhyNotMeasured(cell, seconds, megabytes, kPatience); !why.empty()) {
          Skip(cell, why, promised);
          continue;
        }
        Take(RunIsolated(RowOf(cell, "size"),
                         [&] { return MeasureColdGradient(patient, promised ? 12.0 * (1 << 30) : kUnknown); }));
        const Row& row = rows_.back();
        if (!row.missed.empty()) break;
        seconds.points.emplace_back(row.states, row.seconds);
        megabytes.points.emplace_back(row.states, row.peak_megabytes);
      }
      Slopes(seconds, megabytes);
      time.curves.push_back(std::move(seconds));
      memory.curves.push_back(std::move(megabytes));
    }
    if (!flags_.svg.empty()) std::ofstream(flags_.svg) << LogLogPlot::Draw({time, memory}, "states", "", 1);
  }

  // Empty where the cell, by what smaller ones took, fits into memory and patience.
  static std::string WhyNotMeasured(const Cell& cell, const LogLogPlot::Curve& seconds,
                                    const LogLogPlot::Curve& megabytes, double patience) {
    if (megabytes.points.empty()) return "";
    const double grows = cell.states / megabytes.points.back().first;
    const double needed = 1e6 * grows * megabytes.points.back().second, most = 0.9 * AvailableBytes();
    if (needed > most) {
      return absl::StrCat("not measured: needs some ", static_cast<int>(needed / 1e6), " MB; must be at most ",
                          static_cast<int>(most / 1e6), ", 0.9 of what is free");
    }
    const double takes = grows * seconds.points.back().second;
    if (takes > patience) {
      return absl::StrCat("not measured: takes some ", static_cast<int>(takes), " s; must be at most ", patience);
    }
    return "";
  }

  // What is promised must not go missing silently.
  void Skip(const Cell& cell, const std::string& why, bool promised) {
    if (promised) {
      Row row = RowOf(cell, "size");
      row.missed = why;
      Take({row});
      return;
    }
    remarks_.push_back(absl::StrCat(NameOf(cell.family), " at S = ", cell.states, ": ", why));
    std::printf("%s\n", remarks_.back().c_str());
  }

  // Of the last decade.
  void Slopes(const LogLogPlot::Curve& seconds, const LogLogPlot::Curve& megabytes) {
    const auto slope = [](const LogLogPlot::Curve& curve) {
      const auto& [x1, y1] = curve.points[curve.points.size() - 2];
      const auto& [x2, y2] = curve.points.back();
      return std::log(y2 / y1) / std::log(x2 / x1);
    };
    if (seconds.points.size() < 2) return;
    char text[160];
    std::snprintf(text, sizeof text, "%s: time ~ S^%.2f, memory ~ S^%.2f over the last decade", seconds.name.c_str(),
                  slope(seconds), slope(megabytes));
    std::printf("%s\n", text);
    remarks_.emplace_back(text);
  }

  void Dense() {
    Begin("dense");
    const std::vector<double> sizes =
        flags_.quick ? std::vector<double>{10} : std::vector<double>{10, 50, 100, 200, 500};
    for (const double discount : Or(flags_.discounts, flags_.quick ? std::vector{0.5} : std::vector{0.5, 0.99})) {
      for (const double states : Or(flags_.states, sizes)) {
        if (states > kMaxDirectStates) continue;
        Row blank;
        blank.table = "dense";
        Take(RunIsolated(blank, [&] {
          std::vector<Row> rows = MeasureDenseSobirl(static_cast<int>(states), discount);
          if (states > 100 || discount != 0.5) rows[0].target = kUnknown;
          return rows;
        }));
      }
    }
  }

  void Wire() {
    Begin("wire");
    WireOptions options{.server = absl::StrCat(places_.programs, "/bilevel_server")};
    if (flags_.quick) {
      options.seconds = 0.2;
      options.states = 0;
    }
    Row blank;
    blank.table = "wire";
    for (const auto& measure : {MeasureEmptyCalls, MeasureEvaluations, MeasureUpload}) {
      Take(RunIsolated(blank, [&] { return measure(options); }));
    }
    if (flags_.quick) return;
    blank.name = "Train";
    Take(RunProgram(blank, {absl::StrCat(places_.programs, "/ingest"), "--rows"}));
  }

  void Scipy() {
    Begin("scipy");
    if (std::system("/usr/bin/python3 -c 'import scipy.sparse.linalg' 2>/dev/null") != 0) {
      remarks_.emplace_back("SciPy: skipped, /usr/bin/python3 has none");
      std::printf("%s\n", remarks_.back().c_str());
      return;
    }
    const std::filesystem::path directory = std::filesystem::temp_directory_path() / absl::StrCat("suite.", getpid());
    const std::vector<double> discounts = flags_.quick ? std::vector{0.9} : std::vector{0.9, 0.99, 0.999};
    std::filesystem::create_directories(directory);
    for (const Cell& cell : Cells(flags_, {kThree, {flags_.quick ? 1e4 : 1e5}, discounts, {0.1}, {1}})) {
      const std::vector<Row> ours = RunIsolated(RowOf(cell, "scipy"), [&] { return MeasureSolve(cell, kUnknown); });
      RunIsolated(RowOf(cell, "scipy"), [&] {
        WriteCell(cell, directory);
        return std::vector<Row>();
      });
      for (const char* method : {"iteration", "value"}) {
        Row blank = RowOf(cell, "scipy");
        blank.name += std::string(", soft ") + (std::string(method) == "value" ? "value" : "policy") + " iteration";
        blank.states = ours[0].states;
        std::vector<Row> rows = RunProgram(blank, {"/usr/bin/python3", places_.sources + "/peers.py", "solve", method,
                                                   directory, absl::StrCat(static_cast<int>(ours[0].states)), "4",
                                                   absl::StrCat(cell.discount), absl::StrCat(cell.temperature)});
        TakePeer(std::move(rows), ours[0]);
      }
    }
    for (const double states : flags_.quick ? std::vector<double>{10} : std::vector<double>{10, 50, 100}) {
      const int S = static_cast<int>(states);
      Row blank;
      blank.table = "scipy";
      const std::vector<Row> ours = RunIsolated(blank, [&] { return MeasureDenseSobirl(S, 0.5); });
      WriteDenseSobirl(S, 0.5, directory);
      blank.name = "DENSE-SOBIRL, NumPy";
      blank.states = S;
      blank.discount = 0.5;
      blank.temperature = 1;
      std::vector<Row> rows = RunProgram(
          blank, {"/usr/bin/python3", places_.sources + "/peers.py", "dense", directory, absl::StrCat(S), "0.5"});
      // It says where it ended.
      const double end = std::exchange(rows[0].products, kUnknown);
      if (rows[0].missed.empty() && !(std::abs(end / EndOfDenseSobirl(S, 0.5) - 1) < 1e-7)) {
        rows[0].missed = "ends elsewhere than ours";
      }
      TakePeer(std::move(rows), ours[0]);
    }
    std::filesystem::remove_all(directory);
  }

  // A peer that misses the tolerance says so in a note: that is no failure of ours.
  void TakePeer(std::vector<Row> rows, const Row& ours) {
    for (Row& row : rows) {
      row.ratio = row.seconds / ours.seconds;
      row.against = "ours";
      if (!ours.missed.empty()) row.missed = "ours: " + ours.missed;
    }
    Take(rows);
  }

  void Write() const {
    if (flags_.markdown.empty()) return;
    std::ofstream out(flags_.markdown);
    out << "# Benchmark suite\n\n" << machine_ << (flags_.quick ? "; quick" : "") << ".\n";
    for (const Table& table : kTables) {
      if (std::none_of(rows_.begin(), rows_.end(), [&](const Row& row) { return row.table == table.name; })) continue;
      out << "\n## " << table.title << "\n\n" << table.about << "\n\n" << MarkdownHeader();
      for (const Row& row : rows_) {
        if (row.table == table.name) out << ToMarkdown(row);
      }
    }
    if (!remarks_.empty()) out << "\n";
    for (const std::string& remark : remarks_) out << "- " << remark << "\n";
  }

  const Flags& flags_;
  const Places places_;
  const std::string machine_ = DescribeMachine();
  std::vector<Row> rows_;
  std::vector<std::string> remarks_;
};

}  // namespace
}  // namespace bilevel::benchmarks

int main(int argc, char** argv) {
  namespace benchmarks = bilevel::benchmarks;
  const benchmarks::Flags flags = benchmarks::Parse(argc, argv);
  bilevel::server::ConfigureAllocator(argv);
  const std::string self = std::filesystem::canonical("/proc/self/exe").parent_path();
  return benchmarks::Suite(flags, {self, SUITE_SOURCES}).Run() ? 0 : 1;
}
