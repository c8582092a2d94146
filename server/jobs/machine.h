// What this process may use: the machine's processors and memory, or a container's share of them.

#ifndef BILEVEL_SERVER_JOBS_MACHINE_H_
#define BILEVEL_SERVER_JOBS_MACHINE_H_

#include <string>

namespace bilevel::server {

struct Machine {
  int threads = 1;          // >= 1
  double memory_bytes = 0;  // > 0
};

// Hardware threads and physical memory, lowered to the limits of this process's control group and of those above it
// (version 2: cpu.max, memory.max; version 1: the controllers' roots, as a container sees them). Unreadable files limit
// nothing. `root` stands before /proc and /sys.
Machine ReadMachine(const std::string& root = "");

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_JOBS_MACHINE_H_
