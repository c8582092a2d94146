#include "tests/benchmarks/suite/isolated.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace bilevel::benchmarks {
namespace {

std::string WhyItEnded(int status) {
  if (WIFSIGNALED(status)) return absl::StrCat("ended by signal ", WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? "" : absl::StrCat("ended with status ", WEXITSTATUS(status));
}

// The rows that a child writes until it closes the pipe, with its peak and its end.
std::vector<Row> Collect(const Row& blank, pid_t child, int in) {
  std::vector<Row> rows;
  FILE* lines = fdopen(in, "r");
  char* line = nullptr;
  size_t capacity = 0;
  for (ssize_t length = 0; (length = getline(&line, &capacity, lines)) > 0;) {
    std::string text(line, static_cast<size_t>(length));
    if (text.back() == '\n') text.pop_back();
    Row row = blank;
    if (Decode(text, row)) {
      rows.push_back(row);
    } else {
      std::fprintf(stderr, "%s\n", text.c_str());
    }
  }
  std::free(line);
  std::fclose(lines);
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  if (const std::string end = WhyItEnded(status); !end.empty()) {
    rows.push_back(blank);
    rows.back().missed = end;
  }
  for (Row& row : rows) {
    if (std::isnan(row.peak_megabytes)) row.peak_megabytes = static_cast<double>(usage.ru_maxrss) / 1024;
  }
  return rows;
}

std::vector<Row> InChild(const Row& blank, const std::function<void(int)>& run) {
  std::array<int, 2> ends{};
  // What the child starts must not keep the pipe open beyond its end.
  if (pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) std::abort();
  if (child == 0) {
    close(ends[0]);
    run(ends[1]);
    _exit(127);
  }
  close(ends[1]);
  return Collect(blank, child, ends[0]);
}

}  // namespace

std::vector<Row> RunIsolated(const Row& blank, const std::function<std::vector<Row>()>& measure) {
  return InChild(blank, [&](int out) {
    std::string lines;
    for (const Row& row : measure()) lines += Encode(row) + "\n";
    for (size_t done = 0; done < lines.size();) {
      const ssize_t count = write(out, lines.data() + done, lines.size() - done);
      if (count <= 0) _exit(1);
      done += static_cast<size_t>(count);
    }
    std::fflush(nullptr);
    _exit(0);
  });
}

std::vector<Row> RunProgram(const Row& blank, const std::vector<std::string>& command) {
  return InChild(blank, [&](int out) {
    dup2(out, STDOUT_FILENO);
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
  });
}

double PeakMegabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

}  // namespace bilevel::benchmarks
