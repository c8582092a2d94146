// UploadEnvironment against a service that fails as it is told.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "bilevel/v1/environment_service.grpc.pb.h"
#include "client/bilevel_client.h"
#include "tests/client/canonical_bytes.h"

namespace bilevel::client {
namespace {

class FakeEnvironments : public v1::EnvironmentService::Service {
 public:
  // Bytes that a stream takes before it breaks, one for each stream to come; then none does.
  std::vector<std::size_t> breaks;
  grpc::StatusCode broken_with = grpc::StatusCode::UNAVAILABLE;
  bool lose_the_upload = false;  // when a stream breaks
  bool lose_the_answer = false;  // once
  std::string taken;             // what has arrived
  std::string stored;
  std::size_t sent = 0;  // bytes, those sent again included
  std::atomic<int> streams = 0, lookups = 0;

  grpc::Status UploadEnvironment(grpc::ServerContext*, grpc::ServerReader<v1::UploadEnvironmentRequest>* reader,
                                 v1::UploadEnvironmentResponse* response) override {
    const std::lock_guard lock(mutex_);
    const std::size_t stream = static_cast<std::size_t>(streams++), begin = sent;
    v1::UploadEnvironmentRequest request;
    bool first = true;
    while (reader->Read(&request)) {
      EXPECT_EQ(first, !request.upload_id().empty());
      first = false;
      if (request.offset() > taken.size()) return {grpc::StatusCode::OUT_OF_RANGE, "beyond"};
      taken.resize(request.offset());
      taken += request.data();
      sent += request.data().size();
      if (stream < breaks.size() && sent - begin >= breaks[stream]) {
        if (lose_the_upload) taken.clear();
        return {broken_with, "as told"};
      }
    }
    if (request.sha256() != Sha256(taken)) return {grpc::StatusCode::DATA_LOSS, "another digest"};
    stored = std::exchange(taken, "");
    if (std::exchange(lose_the_answer, false)) return {grpc::StatusCode::UNAVAILABLE, "the answer is lost"};
    response->mutable_environment()->set_name("environments/it");
    return grpc::Status::OK;
  }

  grpc::Status GetUpload(grpc::ServerContext*, const v1::GetUploadRequest*, v1::Upload* upload) override {
    const std::lock_guard lock(mutex_);
    ++lookups;
    if (taken.empty()) return {grpc::StatusCode::NOT_FOUND, "none"};
    upload->set_offset(static_cast<double>(taken.size()));
    return grpc::Status::OK;
  }

  grpc::Status GetEnvironment(grpc::ServerContext*, const v1::GetEnvironmentRequest* request,
                              v1::StoredEnvironment* environment) override {
    const std::lock_guard lock(mutex_);
    if (stored.empty()) return {grpc::StatusCode::NOT_FOUND, "none"};
    environment->set_name(request->name());
    return grpc::Status::OK;
  }

 private:
  std::mutex mutex_;
};

class UploadTest : public ::testing::Test {
 protected:
  UploadTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&fake_);
    server_ = builder.BuildAndStart();
    client_ = *BilevelClient::Connect(absl::StrCat("127.0.0.1:", port));
    for (int row = 0; row <= kRows; ++row) offsets_.push_back(static_cast<std::uint64_t>(row));
    for (int row = 0; row < kRows; ++row) columns_.push_back(static_cast<std::uint32_t>(row));
    probabilities_.assign(kRows, 1.0);
    bytes_ = *EnvironmentBytes::Create({.num_states = kRows,
                                        .num_actions = 1,
                                        .offsets = offsets_,
                                        .columns = columns_,
                                        .probabilities = probabilities_,
                                        .probabilities_f32 = {},
                                        .termination = {},
                                        .initial = {},
                                        .available = {}});
  }

  static constexpr int kRows = 250'000;  // five pieces
  FakeEnvironments fake_;
  std::unique_ptr<grpc::Server> server_;
  std::optional<BilevelClient> client_;
  std::vector<std::uint64_t> offsets_;
  std::vector<std::uint32_t> columns_;
  std::vector<double> probabilities_;
  std::optional<EnvironmentBytes> bytes_;
};

TEST_F(UploadTest, SendsEverythingOnce) {
  const auto uploaded = client_->UploadEnvironment(*bytes_);
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  EXPECT_EQ(uploaded->environment().name(), "environments/it");
  EXPECT_EQ(fake_.stored, Whole(*bytes_));
  EXPECT_EQ(fake_.sent, bytes_->size());
  EXPECT_EQ(fake_.lookups, 0) << "nobody else knows the id";
}

TEST_F(UploadTest, GoesOnWhereStreamsBrokeWithoutSendingAgain) {
  fake_.breaks = {1'000'000, 1, 2'000'000};
  const auto uploaded = client_->UploadEnvironment(*bytes_);
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  EXPECT_EQ(fake_.stored, Whole(*bytes_));
  EXPECT_EQ(fake_.streams, 4);
  EXPECT_EQ(fake_.sent, bytes_->size());
}

TEST_F(UploadTest, BeginsAgainWhereTheServerLostIt) {
  fake_.breaks = {3'000'000, 1'000'000};
  fake_.lose_the_upload = true;
  const auto uploaded = client_->UploadEnvironment(*bytes_);
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  EXPECT_EQ(fake_.stored, Whole(*bytes_));
}

TEST_F(UploadTest, KnowsThatItIsThereThoughTheAnswerWasLost) {
  fake_.lose_the_answer = true;
  const auto uploaded = client_->UploadEnvironment(*bytes_);
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  EXPECT_EQ(uploaded->environment().name(),
            absl::StrCat("environments/", absl::BytesToHexString(Sha256(Whole(*bytes_)))));
  EXPECT_EQ(fake_.sent, bytes_->size());
}

TEST_F(UploadTest, HashesHereWhatAnEarlierProcessSent) {
  fake_.taken = Whole(*bytes_).substr(0, 2'500'001);
  const auto uploaded = client_->UploadEnvironment(*bytes_, {.upload_id = "earlier"});
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  EXPECT_EQ(fake_.stored, Whole(*bytes_));
  EXPECT_EQ(fake_.sent, bytes_->size() - 2'500'001);
}

TEST_F(UploadTest, GivesUpOnWhatNothingMends) {
  fake_.breaks = {1};
  fake_.broken_with = grpc::StatusCode::INVALID_ARGUMENT;
  EXPECT_TRUE(absl::IsInvalidArgument(client_->UploadEnvironment(*bytes_).status()));
  EXPECT_EQ(fake_.streams, 1);
}

TEST_F(UploadTest, EndsAtTheDeadline) {
  fake_.breaks.assign(1000, 1);
  fake_.lose_the_upload = true;
  const absl::Status late =
      client_->UploadEnvironment(*bytes_, {}, {.deadline = std::chrono::milliseconds(700)}).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_GE(fake_.streams, 2);
}

}  // namespace
}  // namespace bilevel::client
