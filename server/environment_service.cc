#include "server/environment_service.h"

#include "core/base/status_macros.h"
#include "server/convert/error.h"
#include "server/convert/in_field.h"
#include "server/convert/stored_environment.h"
#include "server/unary_reactor.h"
#include "server/upload_reactor.h"

namespace bilevel::server {
namespace {

absl::Status FindUpload(const v1::GetUploadRequest& request, UploadRegistry& uploads, v1::Upload* response) {
  RETURN_IF_ERROR(InField("upload_id", CheckUploadId(request.upload_id())));
  ASSIGN_OR_RETURN(const UploadRegistry::Progress progress, uploads.Find(request.upload_id()));
  response->set_upload_id(request.upload_id());
  response->set_offset(static_cast<double>(progress.offset));
  response->set_total_bytes(static_cast<double>(progress.total_bytes));
  return absl::OkStatus();
}

absl::Status FindEnvironment(const v1::GetEnvironmentRequest& request, const EnvironmentStore& store,
                             v1::StoredEnvironment* response) {
  ASSIGN_OR_RETURN(const std::string id, InField("name", DecodeEnvironmentName(request.name())));
  ASSIGN_OR_RETURN(const StoredEnvironment environment, store.Find(id));
  EncodeStoredEnvironment(environment, response);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerReadReactor<v1::UploadEnvironmentRequest>* EnvironmentService::UploadEnvironment(
    grpc::CallbackServerContext* /*context*/, v1::UploadEnvironmentResponse* response) {
  return new UploadReactor(uploads_, response);
}

grpc::ServerUnaryReactor* EnvironmentService::GetUpload(grpc::CallbackServerContext* context,
                                                        const v1::GetUploadRequest* request, v1::Upload* response) {
  return AnswerAtOnce(context, FindUpload(*request, uploads_, response));
}

grpc::ServerUnaryReactor* EnvironmentService::GetEnvironment(grpc::CallbackServerContext* context,
                                                             const v1::GetEnvironmentRequest* request,
                                                             v1::StoredEnvironment* response) {
  return AnswerAtOnce(context, FindEnvironment(*request, store_, response));
}

grpc::ServerUnaryReactor* EnvironmentService::ListEnvironments(grpc::CallbackServerContext* context,
                                                               const v1::ListEnvironmentsRequest* /*request*/,
                                                               v1::ListEnvironmentsResponse* response) {
  for (const StoredEnvironment& environment : store_.List()) {
    EncodeStoredEnvironment(environment, response->add_environments());
  }
  return AnswerAtOnce(context, absl::OkStatus());
}

// Frees what may be gigabytes: on a worker.
grpc::ServerUnaryReactor* EnvironmentService::DeleteEnvironment(grpc::CallbackServerContext* context,
                                                                const v1::DeleteEnvironmentRequest* request,
                                                                v1::DeleteEnvironmentResponse* /*response*/) {
  auto* reactor = new UnaryReactor(dispatcher_.OpenCall(DeadlineOf(*context)));
  const absl::Status admitted = dispatcher_.SubmitAt(
      Cost(), /*interactive=*/true, reactor->call(),
      [this, request](const Run&) -> absl::Status {
        ASSIGN_OR_RETURN(const std::string id, InField("name", DecodeEnvironmentName(request->name())));
        return store_.Delete(id);
      },
      [reactor](const absl::Status& status) { reactor->End(status); });
  if (!admitted.ok()) reactor->End(admitted);
  return reactor;
}

}  // namespace bilevel::server
