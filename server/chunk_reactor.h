// One CallInChunks call: a request of any size comes, and the answers of its method go, chunk by chunk.
//
// Chunks are taken in gRPC's threads, a memcpy each; a worker parses and admits, and another, perhaps the same, does
// the work of the method itself. Bytes of requests and answers are in the memory budget as long as they are held; who
// is late with reading, as with sending (see Pace), has its call cancelled when memory is short. The call is in
// progress, for who drains the server, once its request has come.

#ifndef BILEVEL_SERVER_CHUNK_REACTOR_H_
#define BILEVEL_SERVER_CHUNK_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "bilevel/v1/solver_service.pb.h"
#include "server/dispatcher.h"
#include "server/environments/environment_store.h"
#include "server/jobs/latest_slot.h"
#include "server/jobs/pace.h"
#include "server/jobs/request_intake.h"

namespace bilevel::server {

class ChunkReactor final : public grpc::ServerBidiReactor<v1::CallChunk, v1::CallChunk> {
 public:
  // All must outlive the call.
  ChunkReactor(Dispatcher& dispatcher, const EnvironmentStore& environments, RequestIntake& intake, PaceWatch& answers,
               const grpc::CallbackServerContext& context);

 private:
  using Slot = LatestSlot<std::string>;
  // The worker's part: parses and submits. After an OK `this` may be gone.
  using Begin = absl::Status (ChunkReactor::*)();

  // How the intake reaches the reactor while it lives.
  struct Link {
    std::mutex mutex;
    ChunkReactor* reactor;
  };

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // The request comes.
  absl::Status Take(const v1::CallChunk& chunk);
  absl::Status Open(const v1::CallChunk& first);
  absl::Status Start();
  // Ends the call before its request has come; once, whoever is first.
  void Refuse(const absl::Status& status);

  // On a worker.
  static Begin FindMethod(std::string_view name);
  template <typename Request>
  absl::Status Parse(Request& request);
  template <typename Request>
  absl::Status Submit(const Request& request, bool interactive, Dispatcher::Work work);
  template <typename Request, typename Response, absl::Status (*kCall)(const Request&, const Run&, Response*)>
  absl::Status BeginOne();
  absl::Status BeginOptimize();
  template <typename Message>
  absl::Status Keep(const Run& run, const Message& last);

  // The answers go.
  void End(const absl::Status& status);
  void Do(Slot::Action action);
  void WriteNext();

  Dispatcher& dispatcher_;
  const EnvironmentStore& environments_;
  RequestIntake& intake_;
  PaceWatch& answers_;
  const grpc::CallbackServerContext& context_;
  const std::optional<CallState::Clock::time_point> deadline_;
  const std::shared_ptr<Link> link_;
  std::atomic<bool> refused_ = false;

  std::mutex mutex_;  // of the next two
  std::shared_ptr<CallState> call_;
  bool cancelled_ = false;

  v1::CallChunk chunk_;  // read, and then written
  Begin begin_ = nullptr;
  std::shared_ptr<RequestIntake::Arrival> arrival_;
  RequestIntake::Whole whole_;
  std::unique_ptr<google::protobuf::Message> request_;
  MemoryBudget::Reservation reservation_;  // of request_ beyond its estimate, then of the last answer

  size_t progress_bytes_ = 0;  // of the largest report
  std::string last_;
  grpc::Status status_;  // set before the slot is told of the end
  Slot slot_;
  std::shared_ptr<PaceWatch::Entry> going_;  // once the work is done
  size_t chunk_bytes_;
  size_t sent_ = 0;  // of what is in flight
  bool writing_last_ = false;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CHUNK_REACTOR_H_
