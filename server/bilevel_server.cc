#include "server/bilevel_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"
#include "core/base/text.h"
#include "server/environment_service.h"
#include "server/environments/environment_store.h"
#include "server/environments/upload_registry.h"
#include "server/jobs/request_intake.h"
#include "server/session_service.h"
#include "server/sessions/session_registry.h"
#include "server/solver_service.h"

namespace bilevel::server {
namespace {

constexpr int kFrameBytes = 1 << 20;
constexpr int kReadBytes = 128 << 10;
constexpr const char* kServiceNames[] = {"bilevel.v1.SolverService", "bilevel.v1.EnvironmentService",
                                         "bilevel.v1.SessionService"};
// For solvers to return after they were asked to.
constexpr std::chrono::seconds kStopLimit{5};
// For idle connections to be closed by their clients, which may look at them only every few seconds.
constexpr std::chrono::milliseconds kGoodbyeLimit{300};

std::string Host(const std::string& listen) {
  std::string host = listen.substr(0, listen.rfind(':'));
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return host;
}

bool IsLoopback(const std::string& host) { return host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0; }

absl::Status Check(const ServerOptions& options) {
  if (options.listen.rfind(':') == std::string::npos) {
    return FieldError("listen", absl::StrCat("is \"", options.listen, "\"; must be host:port"));
  }
  if (!options.insecure && !IsLoopback(Host(options.listen))) {
    return FieldError("listen",
                      absl::StrCat("is ", options.listen, "; plaintext beyond loopback is refused without --insecure"));
  }
  const DispatcherOptions& dispatcher = options.dispatcher;
  if (dispatcher.threads < 1) return FieldError("threads", absl::StrCat("is ", dispatcher.threads, "; must be >= 1"));
  if (dispatcher.queue_length < 0) {
    return FieldError("queue_length", absl::StrCat("is ", dispatcher.queue_length, "; must be >= 0"));
  }
  if (!(dispatcher.memory_budget > 0)) {
    return FieldError("memory_budget", absl::StrCat("is ", ToText(dispatcher.memory_budget), "; must be > 0"));
  }
  const Limits& limits = dispatcher.limits;
  if (limits.sessions < 0) return FieldError("max_sessions", absl::StrCat("is ", limits.sessions, "; must be >= 0"));
  if (limits.environments < 0) {
    return FieldError("max_environments", absl::StrCat("is ", limits.environments, "; must be >= 0"));
  }
  if (limits.states < 1) return FieldError("max_states", absl::StrCat("is ", limits.states, "; must be >= 1"));
  if (limits.transitions < 1) {
    return FieldError("max_transitions", absl::StrCat("is ", limits.transitions, "; must be >= 1"));
  }
  if (limits.message_bytes < 1 << 10 || limits.message_bytes > (1LL << 31) - 1) {
    return FieldError("max_message_bytes", absl::StrCat("is ", limits.message_bytes, "; must be in [2^10, 2^31)"));
  }
  return absl::OkStatus();
}

void ConfigureBuilder(const ServerOptions& options, grpc::ServerBuilder& builder) {
  // Health and reflection are plugins that every later builder of the process picks up.
  static std::once_flag plugins;
  std::call_once(plugins, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
  const auto message_bytes = static_cast<int>(options.dispatcher.limits.message_bytes);
  builder.SetMaxReceiveMessageSize(message_bytes);
  builder.SetMaxSendMessageSize(message_bytes);
  // A request may be sent at once: otherwise a client waits for a window update after the first 64 KiB.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, message_bytes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes);
  builder.AddChannelArgument(GRPC_ARG_TCP_READ_CHUNK_SIZE, kReadBytes);
  // A second server on the same port is an error, not a silent share of the traffic.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Clients may ping every 10 s, also between calls; connections whose client is gone are found within about 80 s.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
}

}  // namespace

BilevelServer::BilevelServer(const ServerOptions& options)
    : dispatcher_(options.dispatcher),
      sessions_(std::make_unique<SessionRegistry>(dispatcher_.budget(),
                                                  static_cast<size_t>(options.dispatcher.limits.sessions))),
      environments_(std::make_unique<EnvironmentStore>(static_cast<size_t>(options.dispatcher.limits.environments),
                                                       dispatcher_.budget())),
      uploads_(std::make_unique<UploadRegistry>(dispatcher_.options().limits, dispatcher_.budget(), *environments_)),
      intake_(std::make_unique<RequestIntake>(dispatcher_.budget(), options.pace)),
      answers_(std::make_unique<PaceWatch>(options.pace)),
      service_(std::make_unique<SolverService>(dispatcher_, *environments_, *intake_, *answers_)),
      environment_service_(std::make_unique<EnvironmentService>(dispatcher_, *environments_, *uploads_)),
      session_service_(std::make_unique<SessionService>(dispatcher_, *sessions_)) {
  dispatcher_.budget().OnShortage(
      [environments = environments_.get(), uploads = uploads_.get(), intake = intake_.get(), answers = answers_.get()] {
        environments->ForgetPatterns();
        uploads->ForgetLate();
        intake->ForgetLate();
        answers->TellLate();
      });
}

absl::StatusOr<std::unique_ptr<BilevelServer>> BilevelServer::Start(const ServerOptions& options) {
  if (absl::Status status = Check(options); !status.ok()) return status;
  std::unique_ptr<BilevelServer> result(new BilevelServer(options));
  grpc::ServerBuilder builder;
  ConfigureBuilder(options, builder);
  int port = 0;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(result->service_.get());
  builder.RegisterService(result->environment_service_.get());
  builder.RegisterService(result->session_service_.get());
  result->server_ = builder.BuildAndStart();
  if (result->server_ == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options.listen, "; the address may be in use or not this machine's"));
  }
  result->address_ = absl::StrCat(options.listen.substr(0, options.listen.rfind(':')), ":", port);
  for (const char* name : kServiceNames) result->server_->GetHealthCheckService()->SetServingStatus(name, true);
  return result;
}

BilevelServer::~BilevelServer() { Shutdown(std::chrono::milliseconds(0)); }

void BilevelServer::AnnounceStop() {
  server_->GetHealthCheckService()->SetServingStatus(false);
  sessions_->DrainAll();
}

void BilevelServer::Shutdown(std::chrono::milliseconds grace) {
  if (server_ == nullptr) return;
  AnnounceStop();
  dispatcher_.Drain(grace, kStopLimit);
  sessions_->StopAll();
  server_->Shutdown(std::chrono::system_clock::now() + kGoodbyeLimit);
  dispatcher_.Stop();
  server_.reset();
}

}  // namespace bilevel::server
