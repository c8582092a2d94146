// A SessionService that implements Train alone, in memory, and misbehaves on demand: it cuts streams, falls back to
// what was durable, is slow with credit, rejects, drains.

#ifndef BILEVEL_TESTS_CLIENT_FAKE_TRAINER_H_
#define BILEVEL_TESTS_CLIENT_FAKE_TRAINER_H_

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bilevel/v1/session_service.grpc.pb.h"
#include "client/array.h"

namespace bilevel::client {

class FakeTrainer : public v1::SessionService::Service {
 public:
  // Set before the first stream.
  int cut_one_in = 0;             // messages, on average, until a stream is cut; 0: never
  int fall_back_one_in = 0;       // openings that have lost what was not durable
  std::uint64_t credit = 10'000;  // ahead of what was taken
  std::size_t total = 0;          // when so many have arrived, all become durable
  double bad_state = -1;          // is rejected with its place
  int max_cuts = 100;
  bool accept_openings = true;

  // What has arrived.
  std::vector<double> states() const {
    const std::lock_guard lock(mutex_);
    return states_;
  }
  bool finished() const {
    const std::lock_guard lock(mutex_);
    return finished_;
  }
  std::atomic<int> openings = 0;
  std::atomic<int> batches = 0;
  std::atomic<int> rejections = 0;
  std::atomic<int> beyond_credit = 0;
  std::atomic<bool> drain = false;

  grpc::Status Train(grpc::ServerContext* context,
                     grpc::ServerReaderWriter<v1::TrainResponse, v1::TrainRequest>* stream) override {
    v1::TrainRequest request;
    if (!stream->Read(&request) || !request.has_open()) return {grpc::StatusCode::INVALID_ARGUMENT, "no open"};
    if (request.open().session() != "sessions/s1") return {grpc::StatusCode::NOT_FOUND, "no session of this name"};
    ++openings;
    if (!accept_openings) return {grpc::StatusCode::UNAVAILABLE, "not now"};
    int lease = 0;
    v1::TrainResponse response;
    {
      const std::lock_guard lock(mutex_);
      lease = ++lease_;
      if (OneIn(fall_back_one_in)) states_.resize(durable_);
      FillProgress(*response.mutable_opened());
    }
    stream->Write(response);
    response.Clear();
    response.mutable_policy()->set_version(openings);
    stream->Write(response);
    while (stream->Read(&request)) {
      response.Clear();
      {
        const std::lock_guard lock(mutex_);
        if (lease != lease_) return {grpc::StatusCode::ABORTED, "a newer stream"};
        if (max_cuts > 0 && OneIn(cut_one_in)) {
          --max_cuts;
          // Before or after what was sent has counted.
          if (OneIn(2)) Take(request, response);
          if (OneIn(2)) return {grpc::StatusCode::UNAVAILABLE, "cut"};
          context->TryCancel();
          return grpc::Status::CANCELLED;
        }
        Take(request, response);
        if (drain.exchange(false)) {
          v1::TrainResponse draining;
          draining.mutable_draining()->mutable_retry_delay()->set_nanos(20'000'000);
          stream->Write(draining);
        }
      }
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

 private:
  bool OneIn(int n) { return n > 0 && random_() % static_cast<unsigned>(n) == 0; }

  void FillProgress(v1::WriterProgress& progress) {
    progress.set_accepted_sequence(states_.size());
    progress.set_durable_sequence(durable_);
    progress.set_credit_until(credit_ = std::max(credit_, states_.size() + credit));
  }

  void Reject(std::uint64_t first, grpc::StatusCode code, const std::string& field, const std::string& what,
              v1::TrainResponse& response) {
    ++rejections;
    v1::Rejected& rejected = *response.mutable_rejected();
    rejected.set_first_sequence(first);
    rejected.mutable_status()->set_code(code);
    rejected.mutable_status()->set_message(absl::StrCat(field, ": ", what));
    if (field.empty()) return;
    v1::rpc::BadRequest bad;
    bad.add_field_violations()->set_field(field);
    bad.mutable_field_violations(0)->set_description(what);
    auto* detail = rejected.mutable_status()->add_details();
    detail->set_type_url("type.googleapis.com/google.rpc.BadRequest");
    bad.SerializeToString(detail->mutable_value());
  }

  void Take(const v1::TrainRequest& request, v1::TrainResponse& response) {
    if (request.has_finish()) {
      finished_ = request.finish().last_sequence() == states_.size();
      if (!finished_) return Reject(0, grpc::StatusCode::INVALID_ARGUMENT, "finish.last_sequence", "is off", response);
      return FillProgress(*response.mutable_ack());
    }
    ++batches;
    const v1::TransitionBatch& batch = request.batch();
    const std::uint64_t first = batch.first_sequence();
    const std::vector<double> column = *ToVector(batch.state());
    if (first > states_.size() + 1) return Reject(first, grpc::StatusCode::FAILED_PRECONDITION, "", "a gap", response);
    if (first + column.size() - 1 > credit_) ++beyond_credit;
    const auto bad = std::find(column.begin(), column.end(), bad_state);
    if (bad != column.end()) {
      const std::string field = absl::StrCat("batch.state[", bad - column.begin(), "]");
      return Reject(first, grpc::StatusCode::INVALID_ARGUMENT, field, "is bad", response);
    }
    const std::size_t known = std::min<std::size_t>(states_.size() + 1 - first, column.size());
    states_.insert(states_.end(), column.begin() + static_cast<std::ptrdiff_t>(known), column.end());
    if (fall_back_one_in == 0 || OneIn(3) || states_.size() == total) durable_ = states_.size();
    FillProgress(*response.mutable_ack());
  }

  mutable std::mutex mutex_;
  std::mt19937 random_{7};
  std::vector<double> states_;
  std::uint64_t durable_ = 0;
  std::uint64_t credit_ = 0;
  int lease_ = 0;
  bool finished_ = false;
};

}  // namespace bilevel::client

#endif  // BILEVEL_TESTS_CLIENT_FAKE_TRAINER_H_
