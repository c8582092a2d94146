#include "tests/benchmarks/suite/echo.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/jobs/worker_pool.h"

namespace bilevel::benchmarks {
namespace {

constexpr int kUnlimited = -1;

// Methods are /echo/unary/BYTES and /echo/stream/BYTES: answered after the first message, or after the last.
class Service final : public grpc::CallbackGenericService {
 public:
  explicit Service(std::function<void()> work) : work_(std::move(work)) {}

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    class Reactor final : public grpc::ServerGenericBidiReactor {
     public:
      Reactor(Service& service, const std::string& method)
          : service_(service),
            unary_(method.find("unary") != std::string::npos),
            reply_(Zeros(std::strtoull(method.substr(method.rfind('/') + 1).c_str(), nullptr, 10))) {
        StartRead(&message_);
      }

     private:
      void OnReadDone(bool ok) override {
        if (ok && !unary_) {
          StartRead(&message_);
        } else if (!ok || !unary_ || service_.work_ == nullptr) {
          StartWriteAndFinish(&reply_, {}, grpc::Status::OK);
        } else if (!service_.pool_.TrySubmit(server::Lane::kShort, [this](auto) { Work(); }).ok()) {
          Finish(grpc::Status::CANCELLED);
        }
      }
      void Work() {
        service_.work_();
        StartWriteAndFinish(&reply_, {}, grpc::Status::OK);
      }
      void OnDone() override { delete this; }

      Service& service_;
      const bool unary_;
      grpc::ByteBuffer message_, reply_;
    };
    return new Reactor(*this, context->method());
  }

 private:
  const std::function<void()> work_;
  server::WorkerPool pool_{{.long_threads = 1, .short_threads = 2}};
};

// Of what is inherited, pipes that others wait to see closed among it; keeps standard input, output and error.
void CloseAllBut(int kept) {
  close_range(STDERR_FILENO + 1, static_cast<unsigned>(kept) - 1, 0);
  close_range(static_cast<unsigned>(kept) + 1, ~0U, 0);
}

[[noreturn]] void Serve(int out, std::function<void()> work) {
  Service service(std::move(work));
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  builder.SetMaxReceiveMessageSize(kUnlimited);
  const auto server = builder.BuildAndStart();
  const std::string line = absl::StrCat("127.0.0.1:", port, "\n");
  if (write(out, line.data(), line.size()) < 0) _exit(1);
  close(out);
  for (;;) pause();
}

}  // namespace

EchoProcess::EchoProcess(std::function<void()> work) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) std::abort();
  child_ = fork();
  if (child_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    CloseAllBut(ends[1]);
    Serve(ends[1], std::move(work));
  }
  close(ends[1]);
  char c = 0;
  while (read(ends[0], &c, 1) == 1 && c != '\n') address_ += c;
  close(ends[0]);
}

EchoProcess::~EchoProcess() {
  kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
}

struct EchoCaller::Stub {
  explicit Stub(const std::shared_ptr<grpc::Channel>& channel) : generic(channel) {}

  // Waits for the one operation in flight.
  bool Wait() {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  }

  grpc::GenericStub generic;
  grpc::CompletionQueue queue;
};

EchoCaller::EchoCaller(const std::shared_ptr<grpc::Channel>& channel) : stub_(std::make_unique<Stub>(channel)) {}
EchoCaller::~EchoCaller() { stub_->queue.Shutdown(); }

bool EchoCaller::Call(const grpc::ByteBuffer& request, size_t reply_bytes) {
  grpc::ClientContext context;
  const auto call =
      stub_->generic.PrepareUnaryCall(&context, absl::StrCat("/echo/unary/", reply_bytes), request, &stub_->queue);
  call->StartCall();
  grpc::ByteBuffer reply;
  grpc::Status status;
  call->Finish(&reply, &status, nullptr);
  return stub_->Wait() && status.ok() && reply.Length() == reply_bytes;
}

bool EchoCaller::Stream(const grpc::ByteBuffer& message, int count, size_t reply_bytes) {
  grpc::ClientContext context;
  const auto call = stub_->generic.PrepareCall(&context, absl::StrCat("/echo/stream/", reply_bytes), &stub_->queue);
  call->StartCall(nullptr);
  if (!stub_->Wait()) return false;
  for (int i = 0; i < count; ++i) {
    call->Write(message, nullptr);
    if (!stub_->Wait()) return false;
  }
  call->WritesDone(nullptr);
  if (!stub_->Wait()) return false;
  grpc::ByteBuffer reply;
  call->Read(&reply, nullptr);
  const bool answered = stub_->Wait();
  grpc::Status status;
  call->Finish(&status, nullptr);
  return stub_->Wait() && answered && status.ok() && reply.Length() == reply_bytes;
}

grpc::ByteBuffer Zeros(size_t size) {
  const std::string zeros(size, '\0');
  const grpc::Slice slice(zeros);
  return {&slice, 1};
}

}  // namespace bilevel::benchmarks
