// bilevel.v1.SolverService over gRPC's callback API: admit, hand over to a worker, finish. No call blocks a gRPC
// thread.

#ifndef BILEVEL_SERVER_SOLVER_SERVICE_H_
#define BILEVEL_SERVER_SOLVER_SERVICE_H_

#include "bilevel/v1/solver_service.grpc.pb.h"
#include "server/dispatcher.h"
#include "server/environments/environment_store.h"
#include "server/jobs/request_intake.h"

namespace bilevel::server {

class SolverService final : public v1::SolverService::CallbackService {
 public:
  // All must outlive the gRPC server that this is registered with.
  SolverService(Dispatcher& dispatcher, const EnvironmentStore& environments, RequestIntake& intake, PaceWatch& answers)
      : dispatcher_(dispatcher), environments_(environments), intake_(intake), answers_(answers) {}

  grpc::ServerUnaryReactor* ListMethods(grpc::CallbackServerContext* context, const v1::ListMethodsRequest* request,
                                        v1::ListMethodsResponse* response) override;

  grpc::ServerUnaryReactor* SolveLowerLevel(grpc::CallbackServerContext* context,
                                            const v1::SolveLowerLevelRequest* request,
                                            v1::SolveLowerLevelResponse* response) override;

  grpc::ServerUnaryReactor* EvaluateHypergradient(grpc::CallbackServerContext* context,
                                                  const v1::EvaluateHypergradientRequest* request,
                                                  v1::EvaluateHypergradientResponse* response) override;

  grpc::ServerUnaryReactor* Pullback(grpc::CallbackServerContext* context, const v1::PullbackRequest* request,
                                     v1::PullbackResponse* response) override;

  grpc::ServerUnaryReactor* CheckGradient(grpc::CallbackServerContext* context, const v1::CheckGradientRequest* request,
                                          v1::CheckGradientResponse* response) override;

  grpc::ServerWriteReactor<v1::OptimizeEvent>* Optimize(grpc::CallbackServerContext* context,
                                                        const v1::OptimizeRequest* request) override;

  grpc::ServerBidiReactor<v1::CallChunk, v1::CallChunk>* CallInChunks(grpc::CallbackServerContext* context) override;

 private:
  Dispatcher& dispatcher_;
  const EnvironmentStore& environments_;
  RequestIntake& intake_;
  PaceWatch& answers_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_SOLVER_SERVICE_H_
