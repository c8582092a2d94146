// Ctrl-C (SIGINT, SIGTERM) as a call in an ordinary thread, where locks may be taken.

#ifndef BILEVEL_CLIENT_CLI_INTERRUPT_H_
#define BILEVEL_CLIENT_CLI_INTERRUPT_H_

#include <functional>
#include <thread>

namespace bilevel::client {

// Blocks the signals in this thread and in those that it starts later. Call it before gRPC starts any.
void BlockInterrupts();

// While it lives, the first signal runs `action`; another one, more than a second later, ends the process.
class OnInterrupt {
 public:
  explicit OnInterrupt(std::function<void()> action);

 private:
  std::jthread watcher_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_INTERRUPT_H_
