#include "client/cli/interrupt.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <utility>

namespace bilevel::client {
namespace {

sigset_t Interrupts() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

constexpr int kExitBySignal = 128;
// Signals that follow this fast are one: timeout(1) signals the process and then its group.
constexpr std::chrono::seconds kOneInterrupt{1};

void Watch(const std::stop_token& stop, const std::function<void()>& action) {
  using Clock = std::chrono::steady_clock;
  const sigset_t signals = Interrupts();
  const timespec patience{.tv_sec = 0, .tv_nsec = 20'000'000};
  std::optional<Clock::time_point> first;
  while (!stop.stop_requested()) {
    const int signal = sigtimedwait(&signals, nullptr, &patience);
    if (signal < 0) continue;
    if (!first) {
      first = Clock::now();
      action();
    } else if (Clock::now() - *first > kOneInterrupt) {
      std::_Exit(kExitBySignal + signal);
    }
  }
}

}  // namespace

void BlockInterrupts() {
  const sigset_t signals = Interrupts();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

OnInterrupt::OnInterrupt(std::function<void()> action)
    : watcher_([action = std::move(action)](const std::stop_token& stop) { Watch(stop, action); }) {}

}  // namespace bilevel::client
