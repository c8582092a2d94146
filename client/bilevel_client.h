// The client library: one method for each call of bilevel.v1.SolverService, EnvironmentService and SessionService, with
// a deadline on every call.
//
//   absl::StatusOr<BilevelClient> client = BilevelClient::Connect("127.0.0.1:50051");
//   v1::EvaluateHypergradientRequest request;
//   *request.mutable_problem() = ...;
//   absl::StatusOr<v1::EvaluateHypergradientResponse> response = client->EvaluateHypergradient(request);
//
// Requests and responses are the messages of bilevel/v1/*.proto, which state shapes, units, ranges and defaults;
// client/array.h moves numbers in and out of them. A reached limit is not an error: read `termination`.
//
// Errors carry the server's code and one readable line that names the field; client/status.h gets at the details.
// UNAVAILABLE: no server, or it is stopping (already retried). DEADLINE_EXCEEDED: the deadline passed without an
// answer.
//
// Of any size up to 2 GiB: what is larger than a message goes, or comes, in chunks by itself.
//
// A BilevelClient is a cheap handle: copy it freely, use it from any number of threads.

#ifndef BILEVEL_CLIENT_BILEVEL_CLIENT_H_
#define BILEVEL_CLIENT_BILEVEL_CLIENT_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "bilevel/v1/environment_service.pb.h"
#include "bilevel/v1/session_service.pb.h"
#include "bilevel/v1/solver_service.pb.h"
#include "client/act_stream.h"
#include "client/environment_bytes.h"
#include "client/environment_upload.h"
#include "client/event_stream.h"
#include "client/train_stream.h"

namespace grpc {
class Channel;
}

namespace bilevel::client {

struct ClientOptions {
  // Deadline of a call that names none, > 0. The server stops 200 ms before it and returns what it has reached. Where
  // the request's time_limit is longer, the deadline is time_limit + 10 s.
  std::chrono::milliseconds deadline{60'000};
  // The same for Optimize and UploadEnvironment, > 0.
  std::chrono::milliseconds optimize_deadline{3'600'000};
  // While a call is open: ping after so long a silence, > 0, and give the connection up (UNAVAILABLE) when the answer
  // takes longer than keepalive_timeout, > 0.
  std::chrono::milliseconds keepalive_interval{30'000};
  std::chrono::milliseconds keepalive_timeout{10'000};
  // Attempts at a call that fails with UNAVAILABLE before its first reply, in [1, 5], with exponential backoff from
  // 0.2 s. Nothing else is retried, and CreateSession and SetParameters never: they might take effect twice.
  int max_attempts = 4;
  // TLS: certificates of the authorities to trust, PEM; empty for the system's. Default: plaintext.
  std::optional<std::string> tls_roots = std::nullopt;
};

struct CallOptions {
  // > 0. Default: see ClientOptions.
  std::optional<std::chrono::milliseconds> deadline = std::nullopt;
};

// What the standard health service says.
enum class Health { kUnknown = 0, kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

class BilevelClient {
 public:
  // target: "host:port" or any gRPC name. Does not wait for the server: the first call does, until its deadline.
  // INVALID_ARGUMENT when the target is empty or an option is out of range.
  static absl::StatusOr<BilevelClient> Connect(const std::string& target, const ClientOptions& options = {});

  // Over a channel of the caller's own; of the options only the deadlines are used, and max_attempts for calls in
  // chunks.
  static absl::StatusOr<BilevelClient> FromChannel(std::shared_ptr<grpc::Channel> channel,
                                                   const ClientOptions& options = {});

  absl::StatusOr<v1::ListMethodsResponse> ListMethods(const CallOptions& call = {}) const;

  absl::StatusOr<v1::SolveLowerLevelResponse> SolveLowerLevel(const v1::SolveLowerLevelRequest& request,
                                                              const CallOptions& call = {}) const;

  absl::StatusOr<v1::EvaluateHypergradientResponse> EvaluateHypergradient(
      const v1::EvaluateHypergradientRequest& request, const CallOptions& call = {}) const;

  absl::StatusOr<v1::PullbackResponse> Pullback(const v1::PullbackRequest& request, const CallOptions& call = {}) const;

  absl::StatusOr<v1::CheckGradientResponse> CheckGradient(const v1::CheckGradientRequest& request,
                                                          const CallOptions& call = {}) const;

  // Starts an optimisation; the stream is a range of its events (client/event_stream.h). A request larger than a
  // message is sent when the range begins, though its deadline counts from here.
  OptimizeStream Optimize(const v1::OptimizeRequest& request, const CallOptions& call = {}) const;

  // Brings an environment to the server, whose name is in the answer: problems may name it from then on. Reconnects and
  // goes on by itself after UNAVAILABLE and broken connections, until the deadline; what arrived is not sent again.
  absl::StatusOr<v1::UploadEnvironmentResponse> UploadEnvironment(const EnvironmentBytes& bytes,
                                                                  const UploadOptions& options = {},
                                                                  const CallOptions& call = {}) const;

  absl::StatusOr<v1::Upload> GetUpload(const v1::GetUploadRequest& request, const CallOptions& call = {}) const;

  absl::StatusOr<v1::StoredEnvironment> GetEnvironment(const v1::GetEnvironmentRequest& request,
                                                       const CallOptions& call = {}) const;

  absl::StatusOr<v1::ListEnvironmentsResponse> ListEnvironments(const CallOptions& call = {}) const;

  absl::Status DeleteEnvironment(const v1::DeleteEnvironmentRequest& request, const CallOptions& call = {}) const;

  absl::StatusOr<v1::Session> CreateSession(const v1::CreateSessionRequest& request,
                                            const CallOptions& call = {}) const;

  absl::StatusOr<v1::Session> GetSession(const v1::GetSessionRequest& request, const CallOptions& call = {}) const;

  absl::StatusOr<v1::ListSessionsResponse> ListSessions(const CallOptions& call = {}) const;

  absl::Status DeleteSession(const v1::DeleteSessionRequest& request, const CallOptions& call = {}) const;

  absl::StatusOr<v1::GetPolicyResponse> GetPolicy(const v1::GetPolicyRequest& request,
                                                  const CallOptions& call = {}) const;

  // The same policy of any size, in chunks that are put together here. DATA_LOSS when they do not fit together.
  absl::StatusOr<v1::GetPolicyResponse> DownloadPolicy(const v1::GetPolicyRequest& request,
                                                       const CallOptions& call = {}) const;

  absl::StatusOr<v1::Session> SetParameters(const v1::SetParametersRequest& request,
                                            const CallOptions& call = {}) const;

  // Takes the next step of the session's outer loop.
  absl::StatusOr<v1::OuterStep> StepSession(const v1::StepSessionRequest& request, const CallOptions& call = {}) const;

  // The outer loop's steps as they are taken (client/event_stream.h). Without a deadline it waits for ever.
  StepStream WatchSteps(const v1::WatchStepsRequest& request, const CallOptions& call = {}) const;

  absl::StatusOr<v1::AddPreferencesResponse> AddPreferences(const v1::AddPreferencesRequest& request,
                                                            const CallOptions& call = {}) const;

  absl::StatusOr<v1::EstimateHypergradientResponse> EstimateHypergradient(
      const v1::EstimateHypergradientRequest& request, const CallOptions& call = {}) const;

  // Opens the stream of one writer of `session`, sessions/{id} (client/train_stream.h). The deadline is for the opening
  // alone, which is tried again until then; INVALID_ARGUMENT when an option is out of range.
  absl::StatusOr<TrainStream> Train(const std::string& session, const TrainOptions& options = {},
                                    const CallOptions& call = {}) const;

  // Opens an environment's stream to the session's SIMULATED follower (client/act_stream.h). As Train.
  absl::StatusOr<ActStream> Act(const std::string& session, const ActOptions& options = {},
                                const CallOptions& call = {}) const;

  // Asks grpc.health.v1.Health about one service; empty: the whole server.
  absl::StatusOr<Health> CheckHealth(const std::string& service = "", const CallOptions& call = {}) const;

 private:
  struct Connection;
  template <typename Response, typename Request, typename Method>
  absl::StatusOr<Response> CallSolver(const char* name, Method method, const Request& request,
                                      const CallOptions& call) const;
  explicit BilevelClient(std::shared_ptr<const Connection> connection) : connection_(std::move(connection)) {}

  std::shared_ptr<const Connection> connection_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_BILEVEL_CLIENT_H_
