// EnvironmentService on gRPC: one thin reactor for each call; the work is in environments/.

#ifndef BILEVEL_SERVER_ENVIRONMENT_SERVICE_H_
#define BILEVEL_SERVER_ENVIRONMENT_SERVICE_H_

#include "bilevel/v1/environment_service.grpc.pb.h"
#include "server/dispatcher.h"
#include "server/environments/environment_store.h"
#include "server/environments/upload_registry.h"

namespace bilevel::server {

class EnvironmentService final : public v1::EnvironmentService::CallbackService {
 public:
  // All must outlive the gRPC server that this is registered with.
  EnvironmentService(Dispatcher& dispatcher, EnvironmentStore& store, UploadRegistry& uploads)
      : dispatcher_(dispatcher), store_(store), uploads_(uploads) {}

  grpc::ServerReadReactor<v1::UploadEnvironmentRequest>* UploadEnvironment(
      grpc::CallbackServerContext* context, v1::UploadEnvironmentResponse* response) override;
  grpc::ServerUnaryReactor* GetUpload(grpc::CallbackServerContext* context, const v1::GetUploadRequest* request,
                                      v1::Upload* response) override;
  grpc::ServerUnaryReactor* GetEnvironment(grpc::CallbackServerContext* context,
                                           const v1::GetEnvironmentRequest* request,
                                           v1::StoredEnvironment* response) override;
  grpc::ServerUnaryReactor* ListEnvironments(grpc::CallbackServerContext* context,
                                             const v1::ListEnvironmentsRequest* request,
                                             v1::ListEnvironmentsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteEnvironment(grpc::CallbackServerContext* context,
                                              const v1::DeleteEnvironmentRequest* request,
                                              v1::DeleteEnvironmentResponse* response) override;

 private:
  Dispatcher& dispatcher_;
  EnvironmentStore& store_;
  UploadRegistry& uploads_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_ENVIRONMENT_SERVICE_H_
