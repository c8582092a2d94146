// SessionService on gRPC: one thin reactor for each call; the work is in sessions/.

#ifndef BILEVEL_SERVER_SESSION_SERVICE_H_
#define BILEVEL_SERVER_SESSION_SERVICE_H_

#include "bilevel/v1/session_service.grpc.pb.h"
#include "server/dispatcher.h"
#include "server/sessions/session_registry.h"

namespace bilevel::server {

class SessionService final : public v1::SessionService::CallbackService {
 public:
  // Both must outlive the gRPC server that this is registered with.
  SessionService(Dispatcher& dispatcher, SessionRegistry& registry) : dispatcher_(dispatcher), registry_(registry) {}

  grpc::ServerUnaryReactor* CreateSession(grpc::CallbackServerContext* context, const v1::CreateSessionRequest* request,
                                          v1::Session* response) override;
  grpc::ServerUnaryReactor* GetSession(grpc::CallbackServerContext* context, const v1::GetSessionRequest* request,
                                       v1::Session* response) override;
  grpc::ServerUnaryReactor* ListSessions(grpc::CallbackServerContext* context, const v1::ListSessionsRequest* request,
                                         v1::ListSessionsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteSession(grpc::CallbackServerContext* context, const v1::DeleteSessionRequest* request,
                                          v1::DeleteSessionResponse* response) override;
  grpc::ServerUnaryReactor* GetPolicy(grpc::CallbackServerContext* context, const v1::GetPolicyRequest* request,
                                      v1::GetPolicyResponse* response) override;
  grpc::ServerWriteReactor<v1::PolicyChunk>* DownloadPolicy(grpc::CallbackServerContext* context,
                                                            const v1::GetPolicyRequest* request) override;
  grpc::ServerUnaryReactor* SetParameters(grpc::CallbackServerContext* context, const v1::SetParametersRequest* request,
                                          v1::Session* response) override;
  grpc::ServerUnaryReactor* StepSession(grpc::CallbackServerContext* context, const v1::StepSessionRequest* request,
                                        v1::OuterStep* response) override;
  grpc::ServerWriteReactor<v1::WatchStepsResponse>* WatchSteps(grpc::CallbackServerContext* context,
                                                               const v1::WatchStepsRequest* request) override;
  grpc::ServerUnaryReactor* AddPreferences(grpc::CallbackServerContext* context,
                                           const v1::AddPreferencesRequest* request,
                                           v1::AddPreferencesResponse* response) override;
  grpc::ServerUnaryReactor* EstimateHypergradient(grpc::CallbackServerContext* context,
                                                  const v1::EstimateHypergradientRequest* request,
                                                  v1::EstimateHypergradientResponse* response) override;
  grpc::ServerBidiReactor<v1::TrainRequest, v1::TrainResponse>* Train(grpc::CallbackServerContext* context) override;
  grpc::ServerBidiReactor<v1::ActRequest, v1::ActResponse>* Act(grpc::CallbackServerContext* context) override;

 private:
  Dispatcher& dispatcher_;
  SessionRegistry& registry_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_SESSION_SERVICE_H_
