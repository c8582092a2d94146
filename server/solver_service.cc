#include "server/solver_service.h"

#include <utility>

#include "core/mdp/lower_level.h"
#include "core/solvers/optimize.h"
#include "server/calls/calls.h"
#include "server/chunk_reactor.h"
#include "server/convert/error.h"
#include "server/convert/in_field.h"
#include "server/convert/stored_environment.h"
#include "server/optimize_reactor.h"
#include "server/unary_reactor.h"

namespace bilevel::server {
namespace {

std::string Text(std::string_view text) { return std::string(text); }

// Finds the environments that the problem names, and submits.
template <typename Request>
absl::Status Submit(Dispatcher& dispatcher, const EnvironmentStore& store, const Request& request, bool interactive,
                    std::shared_ptr<CallState> call, Dispatcher::Work work, Dispatcher::Done done) {
  ASSIGN_OR_RETURN(NamedEnvironments environments, InField("problem", FindEnvironments(request.problem(), store)));
  return dispatcher.Submit(request, std::move(environments), interactive, std::move(call), std::move(work),
                           std::move(done));
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* Start(Dispatcher& dispatcher, const EnvironmentStore& store,
                                grpc::CallbackServerContext* context, const Request* request, Response* response,
                                absl::Status (*call)(const Request&, const Run&, Response*)) {
  auto* reactor = new UnaryReactor(dispatcher.OpenCall(DeadlineOf(*context)));
  // request and response live until the reactor is finished.
  const absl::Status admitted = Submit(
      dispatcher, store, *request, /*interactive=*/true, reactor->call(),
      [call, request, response](const Run& run) { return call(*request, run, response); },
      [reactor](const absl::Status& status) { reactor->End(status); });
  if (!admitted.ok()) reactor->End(admitted);
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* SolverService::ListMethods(grpc::CallbackServerContext* context,
                                                     const v1::ListMethodsRequest* /*request*/,
                                                     v1::ListMethodsResponse* response) {
  const DispatcherOptions& options = dispatcher_.options();
  response->set_server_version(ServerVersion());
  for (const MethodDescription& method : DescribeMethods()) {
    v1::MethodInfo* info = response->add_methods();
    info->set_name(Text(method.name));
    info->set_description(Text(method.description));
    info->set_source(Text(method.source));
    info->set_guarantee(Text(method.guarantee));
  }
  v1::ServerLimits* limits = response->mutable_limits();
  limits->set_message_bytes(static_cast<double>(options.limits.message_bytes));
  limits->set_states(options.limits.states);
  limits->set_transitions(static_cast<double>(options.limits.transitions));
  limits->set_memory_budget_bytes(options.memory_budget);
  limits->set_queue_length(options.queue_length);
  limits->set_threads(options.threads);
  limits->set_direct_states(kDirectStates);
  limits->set_sessions(options.limits.sessions);
  limits->set_session_queue(kMaxSessionQueue);
  limits->set_batch(kMaxBatch);
  limits->set_environments(options.limits.environments);
  limits->set_uploads(kMaxUploads);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* SolverService::SolveLowerLevel(grpc::CallbackServerContext* context,
                                                         const v1::SolveLowerLevelRequest* request,
                                                         v1::SolveLowerLevelResponse* response) {
  return Start(dispatcher_, environments_, context, request, response, &server::SolveLowerLevel);
}

grpc::ServerUnaryReactor* SolverService::EvaluateHypergradient(grpc::CallbackServerContext* context,
                                                               const v1::EvaluateHypergradientRequest* request,
                                                               v1::EvaluateHypergradientResponse* response) {
  return Start(dispatcher_, environments_, context, request, response, &server::EvaluateHypergradient);
}

grpc::ServerUnaryReactor* SolverService::Pullback(grpc::CallbackServerContext* context,
                                                  const v1::PullbackRequest* request, v1::PullbackResponse* response) {
  return Start(dispatcher_, environments_, context, request, response, &server::Pullback);
}

grpc::ServerUnaryReactor* SolverService::CheckGradient(grpc::CallbackServerContext* context,
                                                       const v1::CheckGradientRequest* request,
                                                       v1::CheckGradientResponse* response) {
  return Start(dispatcher_, environments_, context, request, response, &server::CheckGradient);
}

grpc::ServerWriteReactor<v1::OptimizeEvent>* SolverService::Optimize(grpc::CallbackServerContext* context,
                                                                     const v1::OptimizeRequest* request) {
  auto* reactor = new OptimizeReactor(dispatcher_.OpenCall(DeadlineOf(*context)));
  const absl::Status admitted = Submit(
      dispatcher_, environments_, *request, /*interactive=*/false, reactor->call(),
      [request, reactor](const Run& run) {
        return server::Optimize(
            *request, run, [reactor](v1::OptimizeEvent event) { reactor->Report(std::move(event)); }, reactor->last());
      },
      [reactor](const absl::Status& status) { reactor->End(status); });
  if (!admitted.ok()) reactor->End(admitted);
  return reactor;
}

grpc::ServerBidiReactor<v1::CallChunk, v1::CallChunk>* SolverService::CallInChunks(
    grpc::CallbackServerContext* context) {
  return new ChunkReactor(dispatcher_, environments_, intake_, answers_, *context);
}

}  // namespace bilevel::server
