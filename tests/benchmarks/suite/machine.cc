#include "tests/benchmarks/suite/machine.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <thread>
#include <utility>

#include "Eigen/Core"
#include "absl/strings/str_cat.h"
#include "server/jobs/worker_pool.h"
#include "tests/benchmarks/suite/clock.h"

namespace bilevel::benchmarks {
namespace {

constexpr int64_t kLength = 10'000'000, kGrain = 100'000;

// The rest of the line of a file in /proc that begins with `key`.
std::string LineOf(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(key, 0) == 0) return line.substr(std::min(line.size(), line.find_first_not_of(" \t:", key.size())));
  }
  return "";
}

double Kilobytes(const std::string& key) { return std::strtod(LineOf("/proc/meminfo", key).c_str(), nullptr); }

}  // namespace

struct Triad::Arrays {
  Eigen::VectorXd a = Eigen::VectorXd::Zero(kLength), b = Eigen::VectorXd::Ones(kLength),
                  c = Eigen::VectorXd::Ones(kLength);
};

Triad::Triad(ParallelFor parallel_for) : parallel_for_(std::move(parallel_for)), arrays_(new Arrays) {}
Triad::~Triad() { delete arrays_; }

double Triad::Measure(int rounds) {
  Arrays& arrays = *arrays_;
  double best = 1e300;
  for (int round = 0; round < rounds; ++round) {
    best = std::min(best, Seconds([&] {
                      ForParts(parallel_for_, kLength, kGrain, [&](int64_t begin, int64_t end) {
                        for (int64_t i = begin; i < end; ++i) arrays.a[i] = arrays.b[i] + 3 * arrays.c[i];
                      });
                    }));
  }
  return 24.0 * kLength / best;
}

std::string DescribeMachine() {
  const std::time_t now = std::time(nullptr);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  return absl::StrCat(date, "; ", LineOf("/proc/cpuinfo", "model name"), ", ", std::thread::hardware_concurrency(),
                      " cores; ", std::lround(Kilobytes("MemTotal") / (1 << 20)), " GiB; load ", load, " at the start");
}

ParallelFor StandingThreads(int count) {
  if (count == 1) return RunInOrder;
  // As in the server: the pool's threads, of which the calling one takes the place of the last.
  static auto* pool = new server::WorkerPool({.long_threads = count - 1, .short_threads = 1});
  return [](int parts, const std::function<void(int)>& task) { pool->Share(parts, task); };
}

double AvailableBytes() { return 1024 * Kilobytes("MemAvailable"); }

}  // namespace bilevel::benchmarks
