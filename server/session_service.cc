#include "server/session_service.h"

#include <algorithm>
#include <utility>

#include "core/base/status_macros.h"
#include "server/act_reactor.h"
#include "server/calls/session_calls.h"
#include "server/convert/error.h"
#include "server/convert/in_field.h"
#include "server/convert/session.h"
#include "server/policy_download.h"
#include "server/step_reactor.h"
#include "server/train_reactor.h"
#include "server/unary_reactor.h"

namespace bilevel::server {
namespace {

// On a worker; a short one if it may be: not where a session's learner is waited for, which may be at long work.
grpc::ServerUnaryReactor* Start(Dispatcher& dispatcher, grpc::CallbackServerContext* context,
                                const absl::StatusOr<Cost>& cost, bool waits, Dispatcher::Work work) {
  auto* reactor = new UnaryReactor(dispatcher.OpenCall(DeadlineOf(*context)));
  const absl::Status admitted =
      !cost.ok() ? cost.status()
                 : dispatcher.SubmitAt(*cost, /*interactive=*/!waits, reactor->call(), std::move(work),
                                       [reactor](const absl::Status& status) { reactor->End(status); });
  if (!admitted.ok()) reactor->End(admitted);
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* SessionService::CreateSession(grpc::CallbackServerContext* context,
                                                        const v1::CreateSessionRequest* request,
                                                        v1::Session* response) {
  return Start(
      dispatcher_, context, CreateSessionCost(*request), /*waits=*/false,
      [this, request, response](const Run& run) { return server::CreateSession(*request, run, registry_, response); });
}

grpc::ServerUnaryReactor* SessionService::GetSession(grpc::CallbackServerContext* context,
                                                     const v1::GetSessionRequest* request, v1::Session* response) {
  return AnswerAtOnce(context, server::GetSession(*request, registry_, response));
}

grpc::ServerUnaryReactor* SessionService::ListSessions(grpc::CallbackServerContext* context,
                                                       const v1::ListSessionsRequest* /*request*/,
                                                       v1::ListSessionsResponse* response) {
  server::ListSessions(registry_, response);
  return AnswerAtOnce(context, absl::OkStatus());
}

// Ends a learner's work, which may take a while.
grpc::ServerUnaryReactor* SessionService::DeleteSession(grpc::CallbackServerContext* context,
                                                        const v1::DeleteSessionRequest* request,
                                                        v1::DeleteSessionResponse* /*response*/) {
  return Start(dispatcher_, context, Cost(), /*waits=*/true, [this, request](const Run&) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string id, InField("name", DecodeSessionName(request->name())));
    return registry_.Delete(id);
  });
}

grpc::ServerUnaryReactor* SessionService::GetPolicy(grpc::CallbackServerContext* context,
                                                    const v1::GetPolicyRequest* request,
                                                    v1::GetPolicyResponse* response) {
  return AnswerAtOnce(context, server::GetPolicy(*request, dispatcher_.options().limits, registry_, response));
}

grpc::ServerWriteReactor<v1::PolicyChunk>* SessionService::DownloadPolicy(grpc::CallbackServerContext* context,
                                                                          const v1::GetPolicyRequest* request) {
  auto* reactor = new PolicyDownload(dispatcher_.OpenCall(DeadlineOf(*context)));
  const absl::Status admitted = dispatcher_.SubmitAt(
      Cost(), /*interactive=*/true, reactor->call(),
      [this, reactor, request](const Run&) -> absl::Status {
        ASSIGN_OR_RETURN(const double bytes, PolicyDownloadBytes(*request, registry_));
        ASSIGN_OR_RETURN(MemoryBudget::Reservation reservation, dispatcher_.budget().Reserve(bytes));
        reactor->Hold(std::move(reservation));
        return SerializePolicy(*request, registry_, reactor->bytes());
      },
      [reactor](const absl::Status& status) { reactor->Start(status); });
  if (!admitted.ok()) reactor->Start(admitted);
  return reactor;
}

grpc::ServerUnaryReactor* SessionService::SetParameters(grpc::CallbackServerContext* context,
                                                        const v1::SetParametersRequest* request,
                                                        v1::Session* response) {
  return Start(dispatcher_, context, Cost(), /*waits=*/true, [this, request, response](const Run& run) {
    return server::SetParameters(*request, run, registry_, response);
  });
}

grpc::ServerUnaryReactor* SessionService::StepSession(grpc::CallbackServerContext* context,
                                                      const v1::StepSessionRequest* request, v1::OuterStep* response) {
  return Start(
      dispatcher_, context, StepCost(*request, registry_), /*waits=*/true,
      [this, request, response](const Run& run) { return server::StepSession(*request, run, registry_, response); });
}

grpc::ServerWriteReactor<v1::WatchStepsResponse>* SessionService::WatchSteps(grpc::CallbackServerContext* /*context*/,
                                                                             const v1::WatchStepsRequest* request) {
  return new StepReactor(*request, registry_);
}

grpc::ServerUnaryReactor* SessionService::AddPreferences(grpc::CallbackServerContext* context,
                                                         const v1::AddPreferencesRequest* request,
                                                         v1::AddPreferencesResponse* response) {
  return Start(dispatcher_, context, Cost{.bytes = 8 * static_cast<double>(request->ByteSizeLong()), .seconds = 0},
               /*waits=*/true, [this, request, response](const Run& run) {
                 return server::AddPreferences(*request, run, registry_, response);
               });
}

grpc::ServerUnaryReactor* SessionService::EstimateHypergradient(grpc::CallbackServerContext* context,
                                                                const v1::EstimateHypergradientRequest* request,
                                                                v1::EstimateHypergradientResponse* response) {
  return Start(dispatcher_, context, EstimateSessionCost(*request, registry_), /*waits=*/true,
               [this, request, response](const Run& run) {
                 return EstimateSessionHypergradient(*request, run, registry_, response);
               });
}

grpc::ServerBidiReactor<v1::TrainRequest, v1::TrainResponse>* SessionService::Train(
    grpc::CallbackServerContext* /*context*/) {
  return new TrainReactor(registry_);
}

grpc::ServerBidiReactor<v1::ActRequest, v1::ActResponse>* SessionService::Act(
    grpc::CallbackServerContext* /*context*/) {
  return new ActReactor(registry_);
}

}  // namespace bilevel::server
