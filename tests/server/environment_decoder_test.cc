#include "server/environments/environment_decoder.h"

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"
#include "tests/server/canonical_bytes.h"
#include "tests/support/known_problems.h"
#include "tests/support/random_problem.h"

namespace bilevel::server {
namespace {

using ::testing::HasSubstr;

absl::Status AdmitAll(double /*bytes*/) { return absl::OkStatus(); }

TabularMdpSpec Draw(bool masks, bool termination, bool single) {
  Rng rng(3);
  TabularMdpSpec spec = testing::DrawMdp(rng, 5, 3, masks, termination);
  if (single) {
    spec.single_precision = true;
    for (double& p : spec.probabilities) p = static_cast<float>(p);
  }
  return spec;
}

absl::StatusOr<TabularMdp> Decode(std::string_view bytes, size_t cut, size_t shift = 0) {
  EnvironmentDecoder decoder(Limits(), AdmitAll);
  // Off the boundary that numbers would like.
  const std::string shifted = std::string(shift, '.') + std::string(bytes);
  const std::string_view all = std::string_view(shifted).substr(shift);
  for (const std::string_view piece : {all.substr(0, cut), all.substr(cut)}) {
    if (absl::Status status = decoder.Take(piece); !status.ok()) return status;
  }
  if (!decoder.complete()) return absl::FailedPreconditionError("incomplete");
  return std::move(decoder).Finish();
}

void ExpectSame(const TabularMdp& a, const TabularMdp& b) {
  EXPECT_EQ(a.Probabilities(), b.Probabilities());
  EXPECT_EQ(a.initial_distribution(), b.initial_distribution());
  EXPECT_EQ(a.min_row_sum(), b.min_row_sum());
  ASSERT_EQ(a.transitions().num_places(), b.transitions().num_places());
  for (uint64_t place = 0; place < a.transitions().num_places(); ++place) {
    ASSERT_EQ(a.transitions().column(place), b.transitions().column(place));
  }
  for (Eigen::Index row = 0; row < a.num_rows(); ++row) ASSERT_EQ(a.available(row), b.available(row));
}

TEST(EnvironmentDecoder, CutsAnywhereMakeNoDifference) {
  for (const bool masks : {false, true}) {
    for (const bool termination : {false, true}) {
      for (const bool single : {false, true}) {
        const TabularMdpSpec spec = Draw(masks, termination, single);
        const TabularMdp whole = TabularMdp::Create(spec).value();
        const std::string bytes = CanonicalBytes(spec);
        for (size_t cut = 0; cut <= bytes.size(); ++cut) {
          const absl::StatusOr<TabularMdp> mdp = Decode(bytes, cut, cut % 8);
          ASSERT_TRUE(mdp.ok()) << mdp.status() << " cut at " << cut;
          ExpectSame(*mdp, whole);
        }
      }
    }
  }
}

TEST(EnvironmentDecoder, TakesByteByByte) {
  const TabularMdpSpec spec = Draw(true, true, false);
  const std::string bytes = CanonicalBytes(spec);
  EnvironmentDecoder decoder(Limits(), AdmitAll);
  for (size_t k = 0; k < bytes.size(); ++k) {
    EXPECT_FALSE(decoder.complete());
    ASSERT_TRUE(decoder.Take(std::string_view(bytes).substr(k, 1)).ok());
    EXPECT_EQ(decoder.taken(), k + 1);
    EXPECT_EQ(decoder.total_bytes(), k < kHeaderBytes - 1 ? 0 : bytes.size());
  }
  EXPECT_TRUE(decoder.complete());
  ExpectSame(std::move(decoder).Finish().value(), TabularMdp::Create(spec).value());
}

// Fills blocks of the copy for numbers that do not lie as the machine wants them, and more.
TEST(EnvironmentDecoder, TakesLargeArraysOffTheirBoundary) {
  TabularMdpSpec spec;
  spec.num_states = 40'000;
  spec.num_actions = 1;
  spec.offsets = {0};
  Rng rng(1);
  for (int s = 0; s < spec.num_states; ++s) {
    const double p = rng.Uniform();
    const auto next = static_cast<uint32_t>(rng.Below(39'999));
    spec.columns.insert(spec.columns.end(), {next, next + 1});
    spec.probabilities.insert(spec.probabilities.end(), {p, 1 - p});
    spec.offsets.push_back(spec.columns.size());
  }
  const std::string bytes = CanonicalBytes(spec);
  for (const size_t shift : {0, 1, 4})
    ExpectSame(Decode(bytes, 100'001, shift).value(), TabularMdp::Create(spec).value());
}

TEST(EnvironmentDecoder, NamesFieldValueAndRuleOfEveryBrokenHeader) {
  const auto put = [](auto number, size_t at) {
    return [number, at](std::string& bytes) { std::memcpy(bytes.data() + at, &number, sizeof number); };
  };
  struct Case {
    std::function<void(std::string&)> spoil;
    const char* field;
    const char* message;
  };
  const uint32_t none = 0, huge = 1u << 31;
  const Case cases[] = {
      {[](std::string& bytes) { bytes[7] = '2'; }, "magic", "must be these letters"},
      {put(uint32_t{16}, 8), "flags", "is 16; only the bits"},
      {put(~0u, 8), "flags", "is 4294967295"},
      {put(none, 12), "num_states", "is 0; must be in [1"},
      {put(huge, 12), "num_states", "is 2147483648"},
      {put(none, 16), "num_actions", "is 0; must be in [1"},
      {put(huge, 16), "num_actions", "is 2147483648"},
      {put(uint32_t{1}, 20), "reserved", "is 1; must be 0"},
      {put(uint64_t{9}, 24), "num_transitions", "is 9; must be at most num_states * num_actions * num_states"},
      {put(~uint64_t{0}, 24), "num_transitions", "is 18446744073709551615; must be at most"},
      {put(uint64_t{3}, 24), "transitions.offsets", "ends at 4; must end at the number of entries, 3"},
  };
  for (const Case& c : cases) {
    std::string bytes = CanonicalBytes(testing::Switch());
    c.spoil(bytes);
    const absl::Status status = Decode(bytes, 13).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    const auto violation = GetFieldViolation(status);
    ASSERT_TRUE(violation.has_value()) << c.message;
    EXPECT_EQ(violation->field, c.field);
    EXPECT_THAT(violation->description, HasSubstr(c.message));
  }
}

TEST(EnvironmentDecoder, RefusesWhatIsTooLargeForGood) {
  const std::string bytes = CanonicalBytes(testing::Switch());
  for (const auto& [limits, subject] :
       {std::pair(Limits{.states = 1}, "states"), {Limits{.transitions = 3}, "transitions"}}) {
    EnvironmentDecoder decoder(limits, AdmitAll);
    const auto refusal = GetRefusal(decoder.Take(bytes));
    ASSERT_TRUE(refusal.has_value());
    EXPECT_EQ(refusal->reason, reasons::kSizeLimitExceeded);
    EXPECT_EQ(refusal->subject, subject);
  }
}

TEST(EnvironmentDecoder, NamesNumbersBeyondThoseWithASign) {
  std::string header = CanonicalBytes(testing::Switch()).substr(0, kHeaderBytes);
  const uint32_t states = 10'000'000, actions = 1'000'000;
  const uint64_t entries = uint64_t{1} << 63;
  std::memcpy(header.data() + 12, &states, 4);
  std::memcpy(header.data() + 16, &actions, 4);
  std::memcpy(header.data() + 24, &entries, 8);
  EnvironmentDecoder decoder(Limits(), AdmitAll);
  EXPECT_THAT(std::string(decoder.Take(header).message()), HasSubstr("has 9223372036854775808 transitions"));
}

TEST(EnvironmentDecoder, BytesBetweenArraysAreZeroAndNoneFollow) {
  TabularMdpSpec spec = testing::Switch();
  spec.available_actions = {1, 1, 1, 0};
  std::string bytes = CanonicalBytes(spec);
  EXPECT_THAT(std::string(Decode(bytes + '\0', 40).status().message()), HasSubstr("goes on after"));
  const size_t gap = kHeaderBytes + 5 * 8 + 4;
  bytes[gap] = 7;
  EXPECT_THAT(std::string(Decode(bytes, 40).status().message()), HasSubstr(absl::StrCat("byte ", gap, " is 7")));
  bytes[gap] = 0;
  EXPECT_TRUE(Decode(bytes, 40).ok());
  EXPECT_EQ(Decode(bytes.substr(0, bytes.size() - 1), 40).status().code(), absl::StatusCode::kFailedPrecondition);
}

// A billion entries in a gigabyte's worth of rows, claimed by 32 bytes.
TEST(EnvironmentDecoder, AsksForMemoryBeforeItTakesAny) {
  TabularMdpSpec small = testing::Switch();
  std::string header = CanonicalBytes(small).substr(0, kHeaderBytes);
  const uint32_t states = 10'000'000, actions = 1'000'000'000;
  const uint64_t entries = 1'000'000'000;
  std::memcpy(header.data() + 12, &states, 4);
  std::memcpy(header.data() + 16, &actions, 4);
  std::memcpy(header.data() + 24, &entries, 8);
  double asked = 0;
  EnvironmentDecoder decoder(Limits(), [&](double bytes) {
    asked = bytes;
    return absl::ResourceExhaustedError("no");
  });
  EXPECT_EQ(decoder.Take(header).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GE(asked, 4e16 + 12e9);
}

}  // namespace
}  // namespace bilevel::server
