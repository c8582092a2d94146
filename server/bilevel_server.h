// The server: listening socket, services, workers, and their graceful end.

#ifndef BILEVEL_SERVER_BILEVEL_SERVER_H_
#define BILEVEL_SERVER_BILEVEL_SERVER_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/dispatcher.h"
#include "server/jobs/pace.h"

namespace grpc {
class Server;
}

namespace bilevel::server {

class EnvironmentService;
class EnvironmentStore;
class RequestIntake;
class SessionRegistry;
class SessionService;
class SolverService;
class UploadRegistry;

struct ServerOptions {
  // host:port; port 0 lets the system choose.
  std::string listen = "127.0.0.1:50051";
  // Allows plaintext on an address that other machines can reach.
  bool insecure = false;
  DispatcherOptions dispatcher;
  // Of requests and answers in chunks.
  PaceOptions pace;
};

class BilevelServer {
 public:
  // Listening when it returns; health says SERVING for "" and for every service. INVALID_ARGUMENT when the
  // options break a rule (plaintext beyond loopback included), UNAVAILABLE when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<BilevelServer>> Start(const ServerOptions& options);

  // Shuts down.
  ~BilevelServer();

  // host:port as bound.
  const std::string& address() const { return address_; }

  // Health says NOT_SERVING from now on; calls are still served.
  void AnnounceStop();

  // Refuses new calls; gives those in progress `grace` to finish, then asks solvers to stop and return what they have;
  // what is still open about 5 s later is cancelled. Returns when all is quiet. May be called twice.
  void Shutdown(std::chrono::milliseconds grace = std::chrono::milliseconds(500));

 private:
  explicit BilevelServer(const ServerOptions& options);

  Dispatcher dispatcher_;
  std::unique_ptr<SessionRegistry> sessions_;
  std::unique_ptr<EnvironmentStore> environments_;
  std::unique_ptr<UploadRegistry> uploads_;
  std::unique_ptr<RequestIntake> intake_;
  std::unique_ptr<PaceWatch> answers_;
  std::unique_ptr<SolverService> service_;
  std::unique_ptr<EnvironmentService> environment_service_;
  std::unique_ptr<SessionService> session_service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_BILEVEL_SERVER_H_
