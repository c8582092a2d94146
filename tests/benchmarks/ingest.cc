// How fast a session takes transitions in, beside a server that parses the same messages and acknowledges them.
//
//   ingest [--batch N] [--only LEARNER] [--rows]
//
// One writer over loopback, raw columns (episode, state, action, next state, kind), N transitions a message (default
// 256), S = 1000, A = 4, episodes of 100 steps. Rounds of the peer and of each learner take turns; the figure is the
// median over rounds, and the ratio is taken within a round. `count` must reach 0.8 of the peer. --rows: for the suite.

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bilevel/v1/session_service.grpc.pb.h"
#include "core/base/rng.h"
#include "server/bilevel_server.h"
#include "tests/benchmarks/suite/row.h"

namespace bilevel {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kStates = 1000, kActions = 4, kRounds = 7;
constexpr double kRequired = 0.8;

// Parses, acknowledges, forgets.
class Peer final : public v1::SessionService::CallbackService {
 public:
  grpc::ServerBidiReactor<v1::TrainRequest, v1::TrainResponse>* Train(grpc::CallbackServerContext*) override {
    class Reactor final : public grpc::ServerBidiReactor<v1::TrainRequest, v1::TrainResponse> {
     public:
      Reactor() { StartRead(&request_); }

     private:
      void OnReadDone(bool ok) override {
        {
          const std::lock_guard lock(mutex_);
          if (ok) {
            accepted_ += request_.batch().count();
            due_ = true;
          } else {
            ended_ = true;
          }
        }
        if (ok) StartRead(&request_);
        Push();
      }
      void OnWriteDone(bool) override {
        {
          const std::lock_guard lock(mutex_);
          writing_ = false;
        }
        Push();
      }
      void OnDone() override { delete this; }
      void Push() {
        bool finish = false;
        {
          const std::lock_guard lock(mutex_);
          if (writing_ || finished_) return;
          if (due_) {
            due_ = false;
            writing_ = true;
            response_.mutable_ack()->set_accepted_sequence(accepted_);
            response_.mutable_ack()->set_credit_until(UINT64_MAX);
          } else if (ended_) {
            finish = finished_ = true;
          } else {
            return;
          }
        }
        if (finish) {
          Finish(grpc::Status::OK);
        } else {
          StartWrite(&response_);
        }
      }

      v1::TrainRequest request_;
      v1::TrainResponse response_;
      std::mutex mutex_;
      uint64_t accepted_ = 0;
      bool due_ = false, writing_ = false, ended_ = false, finished_ = false;
    };
    return new Reactor();
  }
};

template <typename T>
void SetRaw(const std::vector<T>& elements, v1::DType dtype, v1::Array* array) {
  array->set_dtype(dtype);
  array->mutable_raw()->assign(reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(T));
}

std::vector<v1::TrainRequest> MakeBatches(int batch, int count) {
  Rng rng(1);
  std::vector<v1::TrainRequest> requests;
  uint32_t state = 0;
  uint64_t step = 0;
  for (int b = 0; b < count; ++b) {
    std::vector<uint64_t> episodes;
    std::vector<uint32_t> states, actions, nexts;
    std::vector<uint8_t> kinds;
    for (int i = 0; i < batch; ++i, ++step) {
      episodes.push_back(step / 100);
      states.push_back(state);
      actions.push_back(static_cast<uint32_t>(rng.Below(kActions)));
      const bool last = step % 100 == 99;
      nexts.push_back(static_cast<uint32_t>((state + 1 + rng.Below(5)) % kStates));
      kinds.push_back(last ? 2 : 0);
      state = last ? static_cast<uint32_t>(rng.Below(kStates)) : nexts.back();
    }
    v1::TransitionBatch& message = *requests.emplace_back().mutable_batch();
    message.set_first_sequence(static_cast<uint64_t>(b) * static_cast<uint64_t>(batch) + 1);
    message.set_count(batch);
    SetRaw(episodes, v1::DTYPE_U64, message.mutable_episode_id());
    SetRaw(states, v1::DTYPE_U32, message.mutable_state());
    SetRaw(actions, v1::DTYPE_U32, message.mutable_action());
    SetRaw(nexts, v1::DTYPE_U32, message.mutable_next_state());
    SetRaw(kinds, v1::DTYPE_U8, message.mutable_step_kind());
  }
  return requests;
}

// Transitions a second until the last is acknowledged.
double Send(v1::SessionService::Stub& stub, const std::string& session, const std::vector<v1::TrainRequest>& requests) {
  grpc::ClientContext context;
  auto stream = stub.Train(&context);
  v1::TrainRequest open;
  open.mutable_open()->set_session(session);
  const v1::TransitionBatch& last = requests.back().batch();
  const uint64_t all = last.first_sequence() + static_cast<uint64_t>(last.count()) - 1;
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t credit = 0, accepted = 0;
  bool failed = false;
  const auto begin = Clock::now();
  stream->Write(open);
  std::thread reader([&] {
    v1::TrainResponse response;
    while (stream->Read(&response)) {
      const std::lock_guard lock(mutex);
      const v1::WriterProgress& progress = response.has_opened() ? response.opened() : response.ack();
      if (response.has_rejected()) {
        std::fprintf(stderr, "%s\n", response.rejected().status().message().c_str());
        failed = true;
      } else if (!response.has_policy()) {
        credit = std::max<uint64_t>(credit, progress.credit_until());
        accepted = std::max<uint64_t>(accepted, progress.accepted_sequence());
      }
      changed.notify_all();
      if (failed || accepted >= all) break;
    }
  });
  for (const v1::TrainRequest& request : requests) {
    const uint64_t end = request.batch().first_sequence() + static_cast<uint64_t>(request.batch().count()) - 1;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return failed || end <= credit || session.empty(); });
    }
    if (!stream->Write(request)) break;
  }
  reader.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  stream->WritesDone();
  v1::TrainResponse rest;
  while (stream->Read(&rest)) {
  }
  const grpc::Status status = stream->Finish();
  if (failed || !status.ok()) {
    std::fprintf(stderr, "failed: %s\n", status.error_message().c_str());
    std::exit(1);
  }
  return static_cast<double>(all) / seconds;
}

struct Learner {
  const char* name;
  int batches;
  void (*choose)(v1::CreateSessionRequest&);
};

std::string Create(v1::SessionService::Stub& stub, const Learner& learner) {
  v1::CreateSessionRequest request;
  request.mutable_problem()->set_num_parameters(1);
  v1::Context& context = *request.mutable_problem()->add_contexts();
  context.mutable_environment()->set_num_states(kStates);
  context.mutable_environment()->set_num_actions(kActions);
  context.set_discount(0.9);
  context.set_temperature(1);
  learner.choose(request);
  grpc::ClientContext call;
  v1::Session session;
  const grpc::Status status = stub.CreateSession(&call, request, &session);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.error_message().c_str());
    std::exit(1);
  }
  return session.name();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace
}  // namespace bilevel

int main(int argc, char** argv) {
  using namespace bilevel;
  int batch = 256;
  std::string only;
  bool rows = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--rows") == 0) rows = true;
    if (i + 1 == argc) break;
    if (std::strcmp(argv[i], "--batch") == 0)
      batch = std::atoi(argv[++i]);
    else if (std::strcmp(argv[i], "--only") == 0)
      only = argv[++i];
  }
  Peer peer;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&peer);
  const auto peer_server = builder.BuildAndStart();
  server::ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.dispatcher.threads = 2;
  const auto ours = server::BilevelServer::Start(options).value();
  const auto connect = [](const std::string& address) {
    return v1::SessionService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  };
  const auto peer_stub = connect("127.0.0.1:" + std::to_string(port)), stub = connect(ours->address());

  const int many = std::max(1, 2'000'000 / batch), few = std::max(1, 200'000 / batch);
  const Learner learners[] = {
      {"count", many, [](v1::CreateSessionRequest& r) { r.mutable_count(); }},
      {"plug_in", few, [](v1::CreateSessionRequest& r) { r.mutable_plug_in(); }},
      {"soft_q", few, [](v1::CreateSessionRequest& r) { r.mutable_soft_q(); }},
  };
  if (!rows) {
    std::printf("%d transitions a message, one writer, loopback; transitions a second\n", batch);
    std::printf("%-10s %12s %12s %8s\n", "learner", "peer", "session", "ratio");
  }
  bool ok = true;
  for (const Learner& learner : learners) {
    if (!only.empty() && only != learner.name) continue;
    const auto requests = MakeBatches(batch, learner.batches);
    std::vector<double> peers, sessions, ratios;
    for (int round = 0; round < kRounds; ++round) {
      peers.push_back(Send(*peer_stub, "", requests));
      const std::string name = Create(*stub, learner);
      sessions.push_back(Send(*stub, name, requests));
      ratios.push_back(sessions.back() / peers.back());
      grpc::ClientContext call;
      v1::DeleteSessionRequest deletion;
      deletion.set_name(name);
      v1::DeleteSessionResponse nothing;
      stub->DeleteSession(&call, deletion, &nothing);
    }
    const double ratio = Median(ratios);
    const bool required = std::strcmp(learner.name, "count") == 0;
    if (required && ratio < kRequired) ok = false;
    if (rows) {
      benchmarks::Row row;
      row.table = "wire";
      row.name = absl::StrCat("Train, ", learner.name, ", a transition of ", batch, " a message");
      row.seconds = 1 / Median(sessions);
      row.ratio = ratio;
      row.against = "of what bare gRPC takes in";
      row.at_least = true;
      if (required) row.target = kRequired;
      std::printf("%s\n", benchmarks::Encode(row).c_str());
      continue;
    }
    std::printf("%-10s %12.3g %12.3g %8.2f  %s\n", learner.name, Median(peers), Median(sessions), ratio,
                !required           ? ""
                : ratio < kRequired ? "MISSED"
                                    : "ok");
    std::fflush(stdout);
  }
  peer_server->Shutdown();
  // Rows say by themselves what missed its target.
  return ok || rows ? 0 : 1;
}
