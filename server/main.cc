// bilevel_server: flags, signals, wiring.
//
// SIGTERM or SIGINT: health says NOT_SERVING; calls are served for --drain_delay more; then new ones are refused,
// running solvers return what they have, and the process exits with status 0.

#include <signal.h>
#include <time.h>

#include <iostream>

#include "absl/synchronization/mutex.h"
#include "server/bilevel_server.h"
#include "server/flags.h"
#include "server/jobs/allocator.h"

namespace {

int Fail(const absl::Status& status) {
  std::cerr << "bilevel_server: " << status.message() << std::endl;
  return 1;
}

// Blocks the signals in every thread to come; they are waited for instead of handled.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// Until one more signal, or for so long.
void WaitAtMost(std::chrono::milliseconds limit, const sigset_t& signals) {
  const timespec timeout{.tv_sec = limit.count() / 1000, .tv_nsec = (limit.count() % 1000) * 1'000'000};
  sigtimedwait(&signals, nullptr, &timeout);
}

// Debian builds Abseil so that it records the order of all locks that gRPC takes and ends the process where two orders
// could meet: a help to developers of gRPC, not to a service.
void TrustLocks() { absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore); }

}  // namespace

int main(int argc, char** argv) {
  bilevel::server::ConfigureAllocator(argv);
  TrustLocks();
  const sigset_t signals = BlockStopSignals();
  const auto flags = bilevel::server::ParseFlags(argc, argv);
  if (!flags.ok()) return Fail(flags.status());
  const auto server = bilevel::server::BilevelServer::Start(flags->server);
  if (!server.ok()) return Fail(server.status());
  std::cout << "bilevel_server listening on " << (*server)->address() << std::endl;

  int signal = 0;
  sigwait(&signals, &signal);
  (*server)->AnnounceStop();
  WaitAtMost(flags->drain_delay, signals);
  (*server)->Shutdown();
  return 0;
}
