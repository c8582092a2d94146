#include "client/bilevel_client.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <future>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "bilevel/v1/environment_service.grpc.pb.h"
#include "bilevel/v1/session_service.grpc.pb.h"
#include "bilevel/v1/solver_service.grpc.pb.h"
#include "client/act_link.h"
#include "client/chunk_call.h"
#include "client/event_source.h"
#include "client/health_wire.h"
#include "client/optimize_source.h"
#include "client/status.h"
#include "client/train_link.h"
#include "client/upload_link.h"

namespace bilevel::client {
namespace {

using std::chrono::milliseconds;

// What a reply may need beyond the time limit of its request: queueing and transfer.
constexpr milliseconds kTimeLimitSlack{10'000};
// The server takes no larger message, so no larger one needs to be kept for a retry.
constexpr int kRetryBufferBytes = static_cast<int>(kMaxMessageBytes);

constexpr int kReconnectBackoffMs = 100;
constexpr int kMaxReconnectBackoffMs = 1000;

absl::Status CheckDuration(milliseconds value, const char* name) {
  if (value.count() > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value.count(), " ms; must be > 0"));
}

absl::Status Check(const ClientOptions& options) {
  for (const absl::Status& status :
       {CheckDuration(options.deadline, "deadline"), CheckDuration(options.optimize_deadline, "optimize_deadline"),
        CheckDuration(options.keepalive_interval, "keepalive_interval"),
        CheckDuration(options.keepalive_timeout, "keepalive_timeout")}) {
    if (!status.ok()) return status;
  }
  if (options.max_attempts < 1 || options.max_attempts > 5) {
    return absl::InvalidArgumentError(absl::StrCat("max_attempts is ", options.max_attempts, "; must be in [1, 5]"));
  }
  return absl::OkStatus();
}

std::string RetryPolicy(int max_attempts) {
  if (max_attempts == 1) return "{}";
  // Streams reconnect by themselves, and calls in chunks see to it, too; what is left out may not be repeated.
  std::string names = R"({"service": "bilevel.v1.SolverService"})";
  for (const char* method : {"GetUpload", "GetEnvironment", "ListEnvironments", "DeleteEnvironment"}) {
    absl::StrAppend(&names, R"(, {"service": "bilevel.v1.EnvironmentService", "method": ")", method, R"("})");
  }
  for (const char* method : {"GetSession", "ListSessions", "DeleteSession", "GetPolicy", "DownloadPolicy",
                             "AddPreferences", "EstimateHypergradient"}) {
    absl::StrAppend(&names, R"(, {"service": "bilevel.v1.SessionService", "method": ")", method, R"("})");
  }
  return absl::StrCat(R"({"methodConfig": [{"name": [)", names, R"(], "retryPolicy": {"maxAttempts": )", max_attempts,
                      R"(, "initialBackoff": "0.2s", "maxBackoff": "5s", "backoffMultiplier": 2,)",
                      R"( "retryableStatusCodes": ["UNAVAILABLE"]}}, )",
                      R"({"name": [{"service": "bilevel.v1.SolverService", "method": "CallInChunks"}]}]})");
}

// Whether a target ([scheme:[///]]host[:port]) names this machine.
bool IsLoopback(absl::string_view target) {
  for (const absl::string_view scheme : {"dns:///", "dns:", "ipv4:", "ipv6:"}) {
    if (absl::ConsumePrefix(&target, scheme)) break;
  }
  if (absl::StartsWith(target, "[::1]")) return true;
  const absl::string_view host = target.substr(0, target.find(':'));
  return host == "localhost" ||
         (absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == absl::string_view::npos);
}

grpc::ChannelArguments Arguments(const std::string& target, const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  // No proxy leads back to this machine, whatever http_proxy says.
  if (IsLoopback(target)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(options.keepalive_interval.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(options.keepalive_timeout.count()));
  // A long solve sends no data; the pings must go on all the same.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // gRPC's own reconnection must not be slower than the retries: it would wait for up to two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectBackoffMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectBackoffMs);
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, kRetryBufferBytes);
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetServiceConfigJSON(RetryPolicy(options.max_attempts));
  return arguments;
}

milliseconds TimeLimit(const google::protobuf::Duration& limit) {
  return std::chrono::duration_cast<milliseconds>(std::chrono::seconds(limit.seconds()) +
                                                  std::chrono::nanoseconds(limit.nanos()));
}

// The deadline of one call: the caller's, else the default, stretched where the request's time limit is longer.
template <typename Request>
milliseconds Deadline(const Request& request, const CallOptions& call, milliseconds default_deadline) {
  if (call.deadline) return *call.deadline;
  // 10,000 days; also keeps the sum below from overflowing.
  constexpr std::int64_t kLongestSeconds = 864'000'000;
  if constexpr (requires { request.time_limit(); }) {
    if (request.has_time_limit() && request.time_limit().seconds() < kLongestSeconds) {
      return std::max(default_deadline, TimeLimit(request.time_limit()) + kTimeLimitSlack);
    }
  }
  return default_deadline;
}

template <typename Response, typename Request, typename Method>
absl::StatusOr<Response> Call(const Request& request, std::chrono::system_clock::time_point deadline, Method method) {
  grpc::ClientContext context;
  context.set_deadline(deadline);
  Response response;
  const grpc::Status status = method(&context, request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

template <typename Response, typename Request, typename Method>
absl::StatusOr<Response> Call(const Request& request, milliseconds deadline, Method method) {
  return Call<Response>(request, std::chrono::system_clock::now() + deadline, method);
}

}  // namespace

struct BilevelClient::Connection {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::SolverService::Stub> solver;
  std::unique_ptr<v1::EnvironmentService::Stub> environment;
  std::unique_ptr<v1::SessionService::Stub> session;
  ClientOptions options;
};

// A call of the solver, in chunks where its request or its answer is larger than one message.
template <typename Response, typename Request, typename Method>
absl::StatusOr<Response> BilevelClient::CallSolver(const char* name, Method method, const Request& request,
                                                   const CallOptions& call) const {
  const auto deadline = std::chrono::system_clock::now() + Deadline(request, call, connection_->options.deadline);
  v1::SolverService::Stub& stub = *connection_->solver;
  if (request.ByteSizeLong() <= kMaxMessageBytes) {
    absl::StatusOr<Response> response = Call<Response>(
        request, deadline,
        [&](auto* context, const Request& in, Response* out) { return (stub.*method)(context, in, out); });
    if (response.ok() || !NeedsChunks(response.status())) return response;
  }
  ChunkCall chunks(stub, name, request, deadline, connection_->options.max_attempts);
  Response response;
  absl::StatusOr<bool> read = chunks.Next(response);
  // And its end.
  Response none;
  if (read.ok()) read = chunks.Next(none);
  if (!read.ok()) return read.status();
  return response;
}

absl::StatusOr<BilevelClient> BilevelClient::Connect(const std::string& target, const ClientOptions& options) {
  if (target.empty()) return absl::InvalidArgumentError("the target is empty; must be host:port or a gRPC name");
  if (absl::Status status = Check(options); !status.ok()) return status;
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (options.tls_roots) {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = *options.tls_roots;
    credentials = grpc::SslCredentials(tls);
  }
  return FromChannel(grpc::CreateCustomChannel(target, credentials, Arguments(target, options)), options);
}

absl::StatusOr<BilevelClient> BilevelClient::FromChannel(std::shared_ptr<grpc::Channel> channel,
                                                         const ClientOptions& options) {
  if (channel == nullptr) return absl::InvalidArgumentError("the channel is null");
  if (absl::Status status = Check(options); !status.ok()) return status;
  std::unique_ptr<v1::SolverService::Stub> solver = v1::SolverService::NewStub(channel);
  std::unique_ptr<v1::EnvironmentService::Stub> environment = v1::EnvironmentService::NewStub(channel);
  std::unique_ptr<v1::SessionService::Stub> session = v1::SessionService::NewStub(channel);
  return BilevelClient(std::make_shared<Connection>(
      Connection{std::move(channel), std::move(solver), std::move(environment), std::move(session), options}));
}

absl::StatusOr<v1::ListMethodsResponse> BilevelClient::ListMethods(const CallOptions& call) const {
  const v1::ListMethodsRequest request;
  return Call<v1::ListMethodsResponse>(
      request, Deadline(request, call, connection_->options.deadline),
      [this](auto* context, const auto& in, auto* out) { return connection_->solver->ListMethods(context, in, out); });
}

absl::StatusOr<v1::SolveLowerLevelResponse> BilevelClient::SolveLowerLevel(const v1::SolveLowerLevelRequest& request,
                                                                           const CallOptions& call) const {
  return CallSolver<v1::SolveLowerLevelResponse>("SolveLowerLevel", &v1::SolverService::Stub::SolveLowerLevel, request,
                                                 call);
}

absl::StatusOr<v1::EvaluateHypergradientResponse> BilevelClient::EvaluateHypergradient(
    const v1::EvaluateHypergradientRequest& request, const CallOptions& call) const {
  return CallSolver<v1::EvaluateHypergradientResponse>("EvaluateHypergradient",
                                                       &v1::SolverService::Stub::EvaluateHypergradient, request, call);
}

absl::StatusOr<v1::PullbackResponse> BilevelClient::Pullback(const v1::PullbackRequest& request,
                                                             const CallOptions& call) const {
  return CallSolver<v1::PullbackResponse>("Pullback", &v1::SolverService::Stub::Pullback, request, call);
}

absl::StatusOr<v1::CheckGradientResponse> BilevelClient::CheckGradient(const v1::CheckGradientRequest& request,
                                                                       const CallOptions& call) const {
  return CallSolver<v1::CheckGradientResponse>("CheckGradient", &v1::SolverService::Stub::CheckGradient, request, call);
}

OptimizeStream BilevelClient::Optimize(const v1::OptimizeRequest& request, const CallOptions& call) const {
  const milliseconds deadline = Deadline(request, call, connection_->options.optimize_deadline);
  return OptimizeStream(std::make_unique<OptimizeSource>(*connection_->solver, connection_, request,
                                                         std::chrono::system_clock::now() + deadline,
                                                         connection_->options.max_attempts));
}

absl::StatusOr<v1::UploadEnvironmentResponse> BilevelClient::UploadEnvironment(const EnvironmentBytes& bytes,
                                                                               const UploadOptions& options,
                                                                               const CallOptions& call) const {
  const milliseconds deadline = call.deadline.value_or(connection_->options.optimize_deadline);
  return UploadLink(*connection_->environment, bytes, options, UploadLink::Clock::now() + deadline).Run();
}

absl::StatusOr<v1::Upload> BilevelClient::GetUpload(const v1::GetUploadRequest& request,
                                                    const CallOptions& call) const {
  return Call<v1::Upload>(request, Deadline(request, call, connection_->options.deadline),
                          [this](auto* context, const auto& in, auto* out) {
                            return connection_->environment->GetUpload(context, in, out);
                          });
}

absl::StatusOr<v1::StoredEnvironment> BilevelClient::GetEnvironment(const v1::GetEnvironmentRequest& request,
                                                                    const CallOptions& call) const {
  return Call<v1::StoredEnvironment>(request, Deadline(request, call, connection_->options.deadline),
                                     [this](auto* context, const auto& in, auto* out) {
                                       return connection_->environment->GetEnvironment(context, in, out);
                                     });
}

absl::StatusOr<v1::ListEnvironmentsResponse> BilevelClient::ListEnvironments(const CallOptions& call) const {
  const v1::ListEnvironmentsRequest request;
  return Call<v1::ListEnvironmentsResponse>(request, Deadline(request, call, connection_->options.deadline),
                                            [this](auto* context, const auto& in, auto* out) {
                                              return connection_->environment->ListEnvironments(context, in, out);
                                            });
}

absl::Status BilevelClient::DeleteEnvironment(const v1::DeleteEnvironmentRequest& request,
                                              const CallOptions& call) const {
  return Call<v1::DeleteEnvironmentResponse>(request, Deadline(request, call, connection_->options.deadline),
                                             [this](auto* context, const auto& in, auto* out) {
                                               return connection_->environment->DeleteEnvironment(context, in, out);
                                             })
      .status();
}

absl::StatusOr<v1::Session> BilevelClient::CreateSession(const v1::CreateSessionRequest& request,
                                                         const CallOptions& call) const {
  return Call<v1::Session>(request, Deadline(request, call, connection_->options.deadline),
                           [this](auto* context, const auto& in, auto* out) {
                             return connection_->session->CreateSession(context, in, out);
                           });
}

absl::StatusOr<v1::Session> BilevelClient::GetSession(const v1::GetSessionRequest& request,
                                                      const CallOptions& call) const {
  return Call<v1::Session>(
      request, Deadline(request, call, connection_->options.deadline),
      [this](auto* context, const auto& in, auto* out) { return connection_->session->GetSession(context, in, out); });
}

absl::StatusOr<v1::ListSessionsResponse> BilevelClient::ListSessions(const CallOptions& call) const {
  const v1::ListSessionsRequest request;
  return Call<v1::ListSessionsResponse>(request, Deadline(request, call, connection_->options.deadline),
                                        [this](auto* context, const auto& in, auto* out) {
                                          return connection_->session->ListSessions(context, in, out);
                                        });
}

absl::Status BilevelClient::DeleteSession(const v1::DeleteSessionRequest& request, const CallOptions& call) const {
  return Call<v1::DeleteSessionResponse>(request, Deadline(request, call, connection_->options.deadline),
                                         [this](auto* context, const auto& in, auto* out) {
                                           return connection_->session->DeleteSession(context, in, out);
                                         })
      .status();
}

absl::StatusOr<v1::GetPolicyResponse> BilevelClient::GetPolicy(const v1::GetPolicyRequest& request,
                                                               const CallOptions& call) const {
  return Call<v1::GetPolicyResponse>(
      request, Deadline(request, call, connection_->options.deadline),
      [this](auto* context, const auto& in, auto* out) { return connection_->session->GetPolicy(context, in, out); });
}

absl::StatusOr<v1::GetPolicyResponse> BilevelClient::DownloadPolicy(const v1::GetPolicyRequest& request,
                                                                    const CallOptions& call) const {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + Deadline(request, call, connection_->options.deadline));
  const std::unique_ptr<grpc::ClientReader<v1::PolicyChunk>> reader =
      connection_->session->DownloadPolicy(&context, request);
  std::string bytes;
  double total = 0.0;
  bool in_order = true;
  for (v1::PolicyChunk chunk; reader->Read(&chunk);) {
    in_order = in_order && chunk.offset() == static_cast<double>(bytes.size());
    total = chunk.total_bytes();
    bytes += chunk.data();
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) return FromGrpcStatus(status);
  v1::GetPolicyResponse response;
  if (!in_order || static_cast<double>(bytes.size()) != total || !response.ParseFromString(bytes)) {
    return absl::DataLossError(
        absl::StrCat("the chunks do not make a policy: ", bytes.size(), " of ", total, " bytes"));
  }
  return response;
}

absl::StatusOr<v1::Session> BilevelClient::SetParameters(const v1::SetParametersRequest& request,
                                                         const CallOptions& call) const {
  return Call<v1::Session>(request, Deadline(request, call, connection_->options.deadline),
                           [this](auto* context, const auto& in, auto* out) {
                             return connection_->session->SetParameters(context, in, out);
                           });
}

absl::StatusOr<v1::OuterStep> BilevelClient::StepSession(const v1::StepSessionRequest& request,
                                                         const CallOptions& call) const {
  return Call<v1::OuterStep>(
      request, Deadline(request, call, connection_->options.deadline),
      [this](auto* context, const auto& in, auto* out) { return connection_->session->StepSession(context, in, out); });
}

StepStream BilevelClient::WatchSteps(const v1::WatchStepsRequest& request, const CallOptions& call) const {
  return StepStream(std::make_unique<EventCall<v1::WatchStepsResponse>>([&](grpc::ClientContext* context) {
    if (call.deadline) context->set_deadline(std::chrono::system_clock::now() + *call.deadline);
    return connection_->session->WatchSteps(context, request);
  }));
}

absl::StatusOr<v1::AddPreferencesResponse> BilevelClient::AddPreferences(const v1::AddPreferencesRequest& request,
                                                                         const CallOptions& call) const {
  return Call<v1::AddPreferencesResponse>(request, Deadline(request, call, connection_->options.deadline),
                                          [this](auto* context, const auto& in, auto* out) {
                                            return connection_->session->AddPreferences(context, in, out);
                                          });
}

absl::StatusOr<v1::EstimateHypergradientResponse> BilevelClient::EstimateHypergradient(
    const v1::EstimateHypergradientRequest& request, const CallOptions& call) const {
  return Call<v1::EstimateHypergradientResponse>(request, Deadline(request, call, connection_->options.deadline),
                                                 [this](auto* context, const auto& in, auto* out) {
                                                   return connection_->session->EstimateHypergradient(context, in, out);
                                                 });
}

absl::StatusOr<TrainStream> BilevelClient::Train(const std::string& session, const TrainOptions& options,
                                                 const CallOptions& call) const {
  if (absl::Status valid = options.buffer.Validate(); !valid.ok()) return valid;
  if (absl::Status valid = options.reconnect.Validate(); !valid.ok()) return valid;
  auto link = std::make_unique<TrainStream::Link>(*connection_->session, connection_, session, options);
  const milliseconds deadline = call.deadline.value_or(connection_->options.deadline);
  if (absl::Status opened = link->WaitUntilOpened(TransitionBuffer::Clock::now() + deadline); !opened.ok()) {
    return opened;
  }
  return TrainStream(std::move(link));
}

absl::StatusOr<ActStream> BilevelClient::Act(const std::string& session, const ActOptions& options,
                                             const CallOptions& call) const {
  if (absl::Status valid = options.reconnect.Validate(); !valid.ok()) return valid;
  if (absl::Status valid = CheckDuration(options.deadline, "deadline"); !valid.ok()) return valid;
  auto link = std::make_unique<ActStream::Link>(*connection_->session, connection_, session, options);
  const milliseconds deadline = call.deadline.value_or(connection_->options.deadline);
  if (absl::Status opened = link->Open(ActStream::Link::Clock::now() + deadline); !opened.ok()) return opened;
  return ActStream(std::move(link));
}

absl::StatusOr<Health> BilevelClient::CheckHealth(const std::string& service, const CallOptions& call) const {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + call.deadline.value_or(connection_->options.deadline));
  const grpc::ByteBuffer request = EncodeHealthRequest(service);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> finished;
  grpc::GenericStub stub(connection_->channel);
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &response,
                 [&finished](grpc::Status status) { finished.set_value(std::move(status)); });
  const grpc::Status status = finished.get_future().get();
  if (!status.ok()) return FromGrpcStatus(status);
  return DecodeHealthResponse(response);
}

}  // namespace bilevel::client
