#include "server/environments/upload_registry.h"

#include <atomic>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/environments/sha256.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"
#include "tests/server/canonical_bytes.h"
#include "tests/support/known_problems.h"
#include "tests/support/random_problem.h"

namespace bilevel::server {
namespace {

using ::testing::HasSubstr;
using Clock = PaceOptions::Clock;

std::string Draw(uint64_t seed, int S = 30) {
  Rng rng(seed);
  return CanonicalBytes(testing::DrawMdp(rng, S, 3, true, true));
}

std::string DigestOf(std::string_view bytes) {
  Sha256 hash;
  hash.Add(bytes);
  return hash.Digest();
}

class UploadRegistryTest : public ::testing::Test {
 protected:
  UploadRegistry Make(size_t most = 8) {
    return UploadRegistry(
        Limits(), budget_, store_,
        {.most = most,
         .pace = {.idle = std::chrono::minutes(10), .bytes_per_second = 0.1, .now = [this] { return now_.load(); }}});
  }

  // Sends all from `offset` in pieces of `size`.
  static absl::StatusOr<EnvironmentStore::Added> Upload(UploadRegistry& uploads, const std::string& id,
                                                        std::string_view bytes, size_t offset = 0, size_t size = 100) {
    absl::StatusOr<UploadRegistry::Lease> lease = uploads.Open(id, offset);
    if (!lease.ok()) return lease.status();
    for (size_t at = offset; at < bytes.size(); at += size) {
      if (absl::Status taken = uploads.Take(*lease, at, bytes.substr(at, size)); !taken.ok()) return taken;
    }
    return uploads.Finish(*lease, DigestOf(bytes));
  }

  std::atomic<Clock::time_point> now_ = Clock::time_point();
  MemoryBudget budget_{1e6};
  EnvironmentStore store_{4, budget_};
  UploadRegistry uploads_ = Make();
};

TEST_F(UploadRegistryTest, WhatArrivesIsStoredUnderItsDigest) {
  const std::string bytes = Draw(1);
  const auto added = Upload(uploads_, "one", bytes);
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_FALSE(added->existed);
  EXPECT_EQ(added->environment.total_bytes, bytes.size());
  EXPECT_EQ(added->environment.memory_bytes, budget_.used());
  EXPECT_EQ(added->environment.id.size(), 64u);
  EXPECT_EQ(store_.Find(added->environment.id)->mdp, added->environment.mdp);
  EXPECT_TRUE(absl::IsNotFound(uploads_.Find("one").status()));
}

// FIPS 180-2's example.
TEST(Sha256, IsTheStandard) {
  Sha256 hash;
  hash.Add("a");
  hash.Add("bc");
  EXPECT_EQ(hash.Digest().substr(0, 4), "\xba\x78\x16\xbf");
}

TEST_F(UploadRegistryTest, TheSameAgainIsTheSameAndHoldsNothingMore) {
  const std::string bytes = Draw(1);
  const auto first = Upload(uploads_, "one", bytes);
  const double used = budget_.used();
  const auto second = Upload(uploads_, "two", bytes, 0, 7);
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(second->existed);
  EXPECT_EQ(second->environment.mdp, first->environment.mdp);
  EXPECT_EQ(budget_.used(), used);
  EXPECT_EQ(store_.List().size(), 1u);
}

TEST_F(UploadRegistryTest, GoesOnWhereItEndedAndPassesOverWhatArrived) {
  const std::string bytes = Draw(2);
  const std::string_view all = bytes;
  const size_t half = bytes.size() / 2;
  {
    const auto lease = uploads_.Open("u", 0);
    ASSERT_TRUE(uploads_.Take(*lease, 0, all.substr(0, 20)).ok());
    EXPECT_EQ(uploads_.Find("u")->total_bytes, 0u);
    ASSERT_TRUE(uploads_.Take(*lease, 20, all.substr(20, half - 20)).ok());
  }
  EXPECT_EQ(uploads_.Find("u")->offset, half);
  EXPECT_EQ(uploads_.Find("u")->total_bytes, bytes.size());
  const auto beyond = uploads_.Open("u", half + 1);
  EXPECT_TRUE(absl::IsOutOfRange(uploads_.Take(*beyond, half + 1, all.substr(half + 1, 10))));
  EXPECT_TRUE(Upload(uploads_, "u", all, half - 13).ok()) << "an overlap";
}

TEST_F(UploadRegistryTest, BeginsAtTheBeginning) {
  EXPECT_TRUE(absl::IsOutOfRange(uploads_.Open("u", 5).status()));
  EXPECT_TRUE(absl::IsNotFound(uploads_.Find("u").status())) << "and leaves nothing behind";
}

TEST_F(UploadRegistryTest, ANewerStreamTakesTheOldersPlace) {
  const std::string bytes = Draw(3);
  const std::string_view all = bytes;
  const auto older = uploads_.Open("u", 0);
  ASSERT_TRUE(uploads_.Take(*older, 0, all.substr(0, 50)).ok());
  const auto newer = uploads_.Open("u", 50);
  EXPECT_TRUE(absl::IsAborted(uploads_.Take(*older, 50, all.substr(50, 50))));
  EXPECT_TRUE(absl::IsAborted(uploads_.Finish(*older, DigestOf(bytes)).status()));
  uploads_.Abandon(*older);
  ASSERT_TRUE(uploads_.Take(*newer, 50, all.substr(50)).ok());
  EXPECT_TRUE(uploads_.Finish(*newer, DigestOf(bytes)).ok());
}

TEST_F(UploadRegistryTest, ErrorsOfContentEndItAndFreeEverything) {
  std::string bytes = CanonicalBytes(testing::Switch());
  bytes[bytes.size() - 1] = 0x41;
  const auto refused = Upload(uploads_, "u", bytes);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("data.transitions: row 3 (s=1, a=1) has probability"));
  EXPECT_EQ(budget_.used(), 0);
  EXPECT_TRUE(absl::IsNotFound(uploads_.Find("u").status()));
}

TEST_F(UploadRegistryTest, AWrongDigestIsDataLossAndNothingStays) {
  const std::string bytes = Draw(4);
  const auto lease = uploads_.Open("u", 0);
  ASSERT_TRUE(uploads_.Take(*lease, 0, bytes).ok());
  EXPECT_GT(budget_.used(), 0);
  EXPECT_TRUE(absl::IsDataLoss(uploads_.Finish(*lease, DigestOf("something else")).status()));
  EXPECT_EQ(budget_.used(), 0);
  EXPECT_TRUE(store_.List().empty());
  EXPECT_TRUE(absl::IsAborted(uploads_.Take(*lease, bytes.size(), "")));
}

TEST_F(UploadRegistryTest, TheDigestComesWithTheLastByte) {
  const std::string bytes = Draw(4);
  for (const std::string& digest : {std::string("short"), DigestOf(bytes)}) {
    const auto lease = uploads_.Open("u", 0);
    ASSERT_TRUE(uploads_.Take(*lease, 0, std::string_view(bytes).substr(0, bytes.size() - 1)).ok());
    const absl::Status status = uploads_.Finish(*lease, digest).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("sha256: "));
    EXPECT_EQ(budget_.used(), 0);
  }
}

TEST_F(UploadRegistryTest, WhatNothingArrivesForIsForgotten) {
  const std::string bytes = Draw(5);
  const auto lease = uploads_.Open("u", 0);
  ASSERT_TRUE(uploads_.Take(*lease, 0, std::string_view(bytes).substr(0, 64)).ok());
  now_ = now_.load() + std::chrono::minutes(9);
  ASSERT_TRUE(uploads_.Take(*lease, 64, std::string_view(bytes).substr(64, 64)).ok());
  now_ = now_.load() + std::chrono::minutes(9);
  EXPECT_TRUE(uploads_.Find("u").ok());
  now_ = now_.load() + std::chrono::minutes(2);
  EXPECT_TRUE(absl::IsNotFound(uploads_.Find("u").status()));
  EXPECT_EQ(budget_.used(), 0);
  EXPECT_TRUE(absl::IsAborted(uploads_.Take(*lease, 128, "x"))) << "also where its stream still lives";
}

TEST_F(UploadRegistryTest, NothingAndWhatArrivedBeforeKeepItNoLonger) {
  const std::string bytes = Draw(5);
  const auto lease = uploads_.Open("u", 0);
  ASSERT_TRUE(uploads_.Take(*lease, 0, std::string_view(bytes).substr(0, 64)).ok());
  now_ = now_.load() + std::chrono::minutes(9);
  ASSERT_TRUE(uploads_.Take(*lease, 64, "").ok());
  ASSERT_TRUE(uploads_.Take(*lease, 0, std::string_view(bytes).substr(0, 64)).ok());
  const auto newer = uploads_.Open("u", 64);
  EXPECT_TRUE(absl::IsAborted(uploads_.Take(*lease, 64, std::string_view(bytes).substr(64, 64))));
  now_ = now_.load() + std::chrono::minutes(2);
  EXPECT_TRUE(absl::IsNotFound(uploads_.Find("u").status()));
  const absl::Status late = uploads_.Take(*newer, 64, std::string_view(bytes).substr(64));
  EXPECT_TRUE(absl::IsAborted(late));
  EXPECT_THAT(std::string(late.message()), HasSubstr("upload u has ended: too little arrived for too long"));
}

// 0.1 bytes a second on average.
TEST_F(UploadRegistryTest, AByteNowAndThenIsForgottenToo) {
  const std::string bytes = Draw(5);
  const auto trickle = uploads_.Open("trickle", 0), steady = uploads_.Open("steady", 0);
  for (size_t minute = 0; minute < 60; minute += 5) {
    EXPECT_EQ(uploads_.Find("trickle").ok(), minute <= 10) << minute;
    EXPECT_TRUE(uploads_.Find("steady").ok()) << minute;
    uploads_.Take(*trickle, minute / 5, std::string_view(bytes).substr(minute / 5, 1)).IgnoreError();
    ASSERT_TRUE(uploads_.Take(*steady, 10 * minute, std::string_view(bytes).substr(10 * minute, 50)).ok());
    now_ = now_.load() + std::chrono::minutes(5);
  }
}

// The newer stream begins while a piece of the older one is refused.
TEST_F(UploadRegistryTest, ANewerStreamIsToldWhatEndedTheUpload) {
  const auto all = budget_.Reserve(1e6);
  std::optional<UploadRegistry::Lease> newer;
  budget_.OnShortage([&] { newer = *uploads_.Open("u", 0); });
  const auto older = uploads_.Open("u", 0);
  const std::string bytes = Draw(3);
  EXPECT_EQ(GetRefusal(uploads_.Take(*older, 0, bytes))->reason, reasons::kMemoryBusy);
  ASSERT_TRUE(newer.has_value());
  const absl::Status told = uploads_.Take(*newer, 0, bytes);
  EXPECT_TRUE(absl::IsAborted(told));
  EXPECT_THAT(std::string(told.message()), HasSubstr("upload u has ended: the request needs an estimated"));
  EXPECT_TRUE(absl::IsAborted(uploads_.Finish(*newer, DigestOf(bytes)).status()));
}

// A header that claims nearly all there is, and a solve that would need it ten minutes later.
TEST_F(UploadRegistryTest, ALiarHoldsMemoryUntilSomebodyNeedsIt) {
  budget_.OnShortage([this] { uploads_.ForgetLate(); });
  std::string header = CanonicalBytes(testing::Switch()).substr(0, 32);
  const uint32_t states = 40'000;
  std::memcpy(header.data() + 12, &states, 4);
  const auto lease = uploads_.Open("liar", 0);
  const absl::Status taken = uploads_.Take(*lease, 0, header);
  ASSERT_TRUE(taken.ok()) << taken;
  EXPECT_EQ(GetRefusal(budget_.Reserve(0.5e6).status())->reason, reasons::kMemoryBusy);
  now_ = now_.load() + std::chrono::minutes(11);
  EXPECT_TRUE(budget_.Reserve(0.5e6).ok());
}

TEST_F(UploadRegistryTest, LargerThanTheBudgetIsRefusedBeforeItIsTaken) {
  std::string header = CanonicalBytes(testing::Switch()).substr(0, 32);
  const uint32_t states = 10'000'000;
  const uint64_t entries = 1'000'000'000;
  std::memcpy(header.data() + 12, &states, 4);
  std::memcpy(header.data() + 24, &entries, 8);
  const auto lease = uploads_.Open("liar", 0);
  EXPECT_EQ(GetRefusal(uploads_.Take(*lease, 0, header))->reason, reasons::kMemoryBudgetExceeded);
  EXPECT_EQ(budget_.used(), 0);
}

TEST_F(UploadRegistryTest, TakesSoManyUploadsAndEnvironmentsAndNoMore) {
  UploadRegistry two = Make(2);
  ASSERT_TRUE(two.Open("a", 0).ok());
  ASSERT_TRUE(two.Open("b", 0).ok());
  ASSERT_TRUE(two.Open("b", 0).ok());
  EXPECT_EQ(GetRefusal(two.Open("c", 0).status())->reason, reasons::kUploadLimit);
  for (uint64_t seed = 0; seed < 4; ++seed) ASSERT_TRUE(Upload(uploads_, "u", Draw(seed)).ok());
  EXPECT_EQ(GetRefusal(Upload(uploads_, "u", Draw(9)).status())->reason, reasons::kEnvironmentLimit);
  ASSERT_TRUE(store_.Delete(store_.List().front().id).ok());
  EXPECT_TRUE(Upload(uploads_, "u", Draw(9)).ok());
}

TEST_F(UploadRegistryTest, PiecesHaveALimit) {
  const auto lease = uploads_.Open("u", 0);
  const absl::Status status = uploads_.Take(*lease, 0, std::string(kMaxPieceBytes + 1, 'B'));
  EXPECT_THAT(std::string(status.message()), HasSubstr("data: has 1048577 bytes; at most 1048576"));
}

TEST_F(UploadRegistryTest, MemoryIsFreeAfterTheLastUser) {
  auto added = Upload(uploads_, "u", Draw(6));
  std::shared_ptr<const TabularMdp> user = added->environment.mdp;
  const std::string id = added->environment.id;
  {
    const auto gone = std::move(added);
    ASSERT_TRUE(store_.Delete(id).ok());
  }
  EXPECT_TRUE(absl::IsNotFound(store_.Delete(id)));
  EXPECT_TRUE(absl::IsNotFound(store_.Find(id).status()));
  EXPECT_GT(budget_.used(), 0);
  EXPECT_EQ(user->num_states(), 30);
  user = nullptr;
  EXPECT_EQ(budget_.used(), 0);
}

// Each goes on where the upload is; bytes that break a rule end it for all of them.
TEST_F(UploadRegistryTest, ThreadsFightOverAnUploadThatEnds) {
  std::string columns = Draw(7, 100), digest = columns;
  columns[columns.size() - 9] = '\x7f';  // in the last probabilities
  std::atomic<int> ended = 0;
  const auto fight = [&](const std::string& id, std::string_view bytes, std::string_view sha256) {
    for (int round = 0; round < 100; ++round) {
      const auto progress = uploads_.Find(id);
      const size_t offset = progress.ok() ? progress->offset : 0;
      const auto lease = uploads_.Open(id, offset);
      if (!lease.ok()) continue;
      absl::Status status;
      for (size_t at = offset; at < bytes.size() && status.ok(); at += 997) {
        status = uploads_.Take(*lease, at, bytes.substr(at, 997));
      }
      if (status.ok()) status = uploads_.Finish(*lease, sha256).status();
      EXPECT_FALSE(status.ok());
      if (!absl::IsAborted(status) && !absl::IsOutOfRange(status)) ++ended;
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back(fight, "columns", columns, "");
    threads.emplace_back(fight, "digest", digest, std::string_view("00000000000000000000000000000000"));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(ended, 0);
  EXPECT_TRUE(store_.List().empty());
  for (const char* id : {"columns", "digest"}) uploads_.Abandon(*uploads_.Open(id, 0));
  EXPECT_EQ(budget_.used(), 0);
}

// A stream that begins while another one stores: whoever asks finds the upload or the environment, and whoever goes on
// is answered as if it had stored it.
TEST_F(UploadRegistryTest, WhatIsStoredMeanwhileIsFound) {
  const std::string bytes = Draw(7, 100), digest = DigestOf(bytes);
  std::string id;
  for (const unsigned char byte : digest) {
    for (const int digit : {byte >> 4, byte & 15}) id += "0123456789abcdef"[digit];
  }
  int told = 0;
  for (int round = 0; round < 300; ++round) {
    const auto first = uploads_.Open("u", 0);
    ASSERT_TRUE(uploads_.Take(*first, 0, bytes).ok());
    std::thread stores([&] {
      const auto added = uploads_.Finish(*first, digest);
      EXPECT_TRUE(added.ok() || absl::IsAborted(added.status())) << added.status();
    });
    for (int spin = 0; spin < 100 * (round % 30); ++spin) static_cast<void>(store_.Find(id).ok());
    if (absl::IsNotFound(uploads_.Find("u").status())) {
      EXPECT_TRUE(store_.Find(id).ok());
    }
    if (const auto second = uploads_.Open("u", bytes.size()); second.ok()) {
      ASSERT_TRUE(uploads_.Take(*second, bytes.size(), "").ok());
      const auto added = uploads_.Finish(*second, digest);
      ASSERT_TRUE(added.ok()) << added.status();
      EXPECT_EQ(added->environment.id, id);
      ++told;
    } else {
      EXPECT_TRUE(absl::IsOutOfRange(second.status()));
    }
    stores.join();
    ASSERT_TRUE(store_.Delete(id).ok());
  }
  EXPECT_GT(told, 0);
  EXPECT_EQ(budget_.used(), 0);
}

TEST_F(UploadRegistryTest, ThreadsFightOverOneUploadWhileOthersComeAndGo) {
  const std::string bytes = Draw(7, 100), other = Draw(8, 50);
  std::atomic<int> finished = 0;
  const auto fight = [&] {
    for (int round = 0; round < 20; ++round) {
      const auto progress = uploads_.Find("shared");
      const size_t offset = progress.ok() ? progress->offset : 0;
      if (Upload(uploads_, "shared", bytes, offset, 997).ok()) ++finished;
    }
  };
  const auto pass = [&](const std::string& id) {
    for (int round = 0; round < 20; ++round) {
      const auto added = Upload(uploads_, id, other, 0, 1009);
      if (added.ok()) store_.Delete(added->environment.id).IgnoreError();
      uploads_.ForgetLate();
      for (const StoredEnvironment& environment : store_.List()) EXPECT_GT(environment.mdp->num_entries(), 0u);
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) threads.emplace_back(fight);
  for (const char* id : {"x", "y"}) threads.emplace_back(pass, id);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(finished, 0);
  now_ = now_.load() + std::chrono::minutes(11);
  uploads_.ForgetLate();
  double held = 0;
  for (const StoredEnvironment& environment : store_.List()) held += environment.memory_bytes;
  EXPECT_EQ(budget_.used(), held);
}

}  // namespace
}  // namespace bilevel::server
