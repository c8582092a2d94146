#include "server/jobs/machine.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace bilevel::server {
namespace {

// The numbers a file begins with; "max" and anything else end them.
std::vector<double> Numbers(const std::string& path) {
  std::ifstream file(path);
  std::vector<double> numbers;
  for (double number = 0; file >> number;) numbers.push_back(number);
  return numbers;
}

void LimitMemory(const std::vector<double>& bytes, Machine& machine) {
  if (!bytes.empty() && bytes[0] > 0) machine.memory_bytes = std::min(machine.memory_bytes, bytes[0]);
}

// Microseconds of processor time in a period of so many.
void LimitThreads(const std::vector<double>& quota, Machine& machine) {
  if (quota.size() < 2 || !(quota[0] > 0) || !(quota[1] > 0)) return;
  machine.threads = static_cast<int>(std::min<double>(machine.threads, std::ceil(quota[0] / quota[1])));
}

// The path of this process's group in the unified hierarchy.
std::string OwnGroup(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return line.substr(3);
  }
  return "/";
}

}  // namespace

Machine ReadMachine(const std::string& root) {
  Machine machine;
  machine.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  machine.memory_bytes = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  const std::string groups = root + "/sys/fs/cgroup";

  for (std::string group = OwnGroup(root);;) {
    if (group == "/") group.clear();
    LimitMemory(Numbers(groups + group + "/memory.max"), machine);
    LimitThreads(Numbers(groups + group + "/cpu.max"), machine);
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos) break;
    group.resize(slash);
  }

  LimitMemory(Numbers(groups + "/memory/memory.limit_in_bytes"), machine);
  std::vector<double> quota = Numbers(groups + "/cpu/cpu.cfs_quota_us");
  for (const double period : Numbers(groups + "/cpu/cpu.cfs_period_us")) quota.push_back(period);
  LimitThreads(quota, machine);
  return machine;
}

}  // namespace bilevel::server
