// The bare gRPC that the wire is measured beside: a server that reads messages, whatever they are, and answers with as
// many bytes as it is told; and its client. Neither parses anything.

#ifndef BILEVEL_TESTS_BENCHMARKS_SUITE_ECHO_H_
#define BILEVEL_TESTS_BENCHMARKS_SUITE_ECHO_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include <sys/types.h>

namespace bilevel::benchmarks {

// In a process of its own, as the server that it stands beside; made before this process uses gRPC.
class EchoProcess {
 public:
  // work: what each unary call waits for, done by as many workers as the server starts with; none: answered at once.
  explicit EchoProcess(std::function<void()> work = nullptr);
  ~EchoProcess();
  EchoProcess(const EchoProcess&) = delete;
  EchoProcess& operator=(const EchoProcess&) = delete;

  const std::string& address() const { return address_; }

 private:
  pid_t child_ = -1;
  std::string address_;
};

// Calls of one thread, one after the other.
class EchoCaller {
 public:
  explicit EchoCaller(const std::shared_ptr<grpc::Channel>& channel);
  ~EchoCaller();

  // A unary call of so many bytes each way. False when it failed.
  bool Call(const grpc::ByteBuffer& request, size_t reply_bytes);
  // A stream of so many equal messages, answered once by one of so many bytes.
  bool Stream(const grpc::ByteBuffer& message, int count, size_t reply_bytes);

 private:
  struct Stub;
  std::unique_ptr<Stub> stub_;
};

grpc::ByteBuffer Zeros(size_t size);

}  // namespace bilevel::benchmarks

#endif  // BILEVEL_TESTS_BENCHMARKS_SUITE_ECHO_H_
