#include "client/environment_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/client/canonical_bytes.h"

namespace bilevel::client {
namespace {

using ::testing::HasSubstr;

// Two states, two actions, three entries: row 0 goes to 0 and 1, row 2 to 1; rows 1 and 3 are empty.
struct World {
  std::vector<std::uint64_t> offsets = {0, 2, 2, 3, 3};
  std::vector<std::uint32_t> columns = {0, 1, 1};
  std::vector<double> probabilities = {0.5, 0.5, 1.0};
  std::vector<float> probabilities_f32 = {0.5F, 0.5F, 1.0F};
  std::vector<double> termination = {0, 1, 0, 1};
  std::vector<double> initial = {1, 0};
  std::vector<std::uint8_t> available = {1, 1, 1, 0};

  EnvironmentArrays Small() const {
    return {.num_states = 2,
            .num_actions = 2,
            .offsets = offsets,
            .columns = columns,
            .probabilities = probabilities,
            .probabilities_f32 = {},
            .termination = {},
            .initial = {},
            .available = {}};
  }
};

std::string Bytes(std::initializer_list<int> bytes) {
  std::string text;
  for (const int byte : bytes) text += static_cast<char>(byte);
  return text;
}

// Little-endian, by hand.
const std::string kOffsets = Bytes({0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
                                    0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0});
const std::string kColumns = Bytes({0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, /* between */ 0, 0, 0, 0});
const std::string kZero = Bytes({0, 0, 0, 0, 0, 0, 0, 0});
const std::string kHalf = Bytes({0, 0, 0, 0, 0, 0, 0xe0, 0x3f});
const std::string kOne = Bytes({0, 0, 0, 0, 0, 0, 0xf0, 0x3f});

std::string Header(int flags) {
  return "BILEVEL1" + Bytes({flags, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0});
}

TEST(EnvironmentBytes, AreTheLayoutByteByByte) {
  const World world;
  const absl::StatusOr<EnvironmentBytes> bytes = EnvironmentBytes::Create(world.Small());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(Whole(*bytes), Header(0) + kOffsets + kColumns + kHalf + kHalf + kOne);
}

TEST(EnvironmentBytes, HoldWhatIsOptionalInOrder) {
  const World world;
  EnvironmentArrays arrays = world.Small();
  arrays.termination = world.termination;
  arrays.initial = world.initial;
  arrays.available = world.available;
  arrays.probabilities = {};
  arrays.probabilities_f32 = world.probabilities_f32;
  const absl::StatusOr<EnvironmentBytes> bytes = EnvironmentBytes::Create(arrays);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(Whole(*bytes), Header(15) + kOffsets + kZero + kOne + kZero + kOne + kOne + kZero +
                               Bytes({1, 1, 1, 0, 0, 0, 0, 0}) + kColumns +
                               Bytes({0, 0, 0, 0x3f, 0, 0, 0, 0x3f, 0, 0, 0x80, 0x3f}));
}

TEST(EnvironmentBytes, LeaveOutWhatSaysNoMoreThanTheDefault) {
  const World world;
  const std::vector<double> never(4, 0.0);
  const std::vector<std::uint8_t> all(4, 1);
  EnvironmentArrays arrays = world.Small();
  arrays.termination = never;
  arrays.available = all;
  EXPECT_EQ(Whole(*EnvironmentBytes::Create(arrays)), Whole(*EnvironmentBytes::Create(world.Small())));
}

TEST(EnvironmentBytes, MayHoldNoTransitions) {
  const std::vector<std::uint64_t> offsets(2, 0);
  const std::vector<double> termination = {1};
  const std::vector<std::uint8_t> available = {0};
  const EnvironmentArrays arrays = {.num_states = 1,
                                    .num_actions = 1,
                                    .offsets = offsets,
                                    .columns = {},
                                    .probabilities = {},
                                    .probabilities_f32 = {},
                                    .termination = termination,
                                    .initial = {},
                                    .available = available};
  const absl::StatusOr<EnvironmentBytes> bytes = EnvironmentBytes::Create(arrays);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(Whole(*bytes), "BILEVEL1" + Bytes({5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}) + kZero + kZero +
                               kZero + kOne + kZero);
}

TEST(EnvironmentBytes, AnyPieceIsThatOfTheWhole) {
  const World world;
  EnvironmentArrays arrays = world.Small();
  arrays.termination = world.termination;
  arrays.available = world.available;
  const absl::StatusOr<EnvironmentBytes> bytes = EnvironmentBytes::Create(arrays);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const std::string whole = Whole(*bytes);
  for (std::size_t begin = 0; begin <= whole.size(); ++begin) {
    for (std::size_t size = 0; size <= whole.size() - begin; ++size) {
      std::string piece(size, 'x');
      bytes->Read(begin, piece);
      ASSERT_EQ(piece, whole.substr(begin, size)) << "from " << begin;
    }
  }
}

TEST(EnvironmentBytes, SizesThatDoNotFitAreNamed) {
  const World world;
  const auto message = [&](auto change) {
    EnvironmentArrays arrays = world.Small();
    change(arrays);
    const absl::Status status = EnvironmentBytes::Create(arrays).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  const std::vector<double> three(3, 0.25);
  EXPECT_THAT(message([](EnvironmentArrays& a) { a.num_states = 0; }), HasSubstr("num_states is 0"));
  EXPECT_THAT(message([](EnvironmentArrays& a) { a.num_actions = -1; }), HasSubstr("num_actions is -1"));
  EXPECT_THAT(message([](EnvironmentArrays& a) { a.num_states = 3; }), HasSubstr("offsets has 5 elements; must be"));
  EXPECT_THAT(message([](EnvironmentArrays& a) { a.columns = a.columns.first(2); }), HasSubstr("probabilities has 3"));
  EXPECT_THAT(message([&](EnvironmentArrays& a) { a.probabilities_f32 = world.probabilities_f32; }), HasSubstr("both"));
  EXPECT_THAT(message([&](EnvironmentArrays& a) { a.termination = three; }), HasSubstr("termination has 3"));
  EXPECT_THAT(message([&](EnvironmentArrays& a) { a.initial = three; }), HasSubstr("initial has 3"));
  EXPECT_THAT(message([&](EnvironmentArrays& a) {
                a.available = world.available;
                a.available = a.available.first(1);
              }),
              HasSubstr("available has 1"));
}

}  // namespace
}  // namespace bilevel::client
