#include "client/array.h"

#include <gtest/gtest.h>

#include <cstring>

#include "bilevel/v1/problem.pb.h"

namespace bilevel::client {
namespace {

TEST(Array, DoublesTravelAsLittleEndianBytes) {
  const v1::Array array = MakeArray(std::vector<double>{1.0, -2.0}, {2, 1});
  EXPECT_EQ(array.dtype(), v1::DTYPE_F64);
  ASSERT_EQ(array.shape_size(), 2);
  EXPECT_EQ(array.shape(0), 2);
  EXPECT_EQ(array.raw(), std::string("\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\xc0", 16));
}

TEST(Array, EveryTypeComesBack) {
  EXPECT_EQ(*ToVector(MakeArray(std::vector<double>{0.1, -3})), (std::vector<double>{0.1, -3}));
  EXPECT_EQ(*ToVector(MakeArray(std::vector<std::uint32_t>{7, 4294967295U})), (std::vector<double>{7, 4294967295.0}));
  EXPECT_EQ(*ToVector(MakeArray(std::vector<std::uint64_t>{1ULL << 40})), (std::vector<double>{1099511627776.0}));
  EXPECT_EQ(*ToVector(MakeArray(std::vector<std::uint8_t>{0, 255})), (std::vector<double>{0, 255}));
  v1::Array f32;
  f32.set_dtype(v1::DTYPE_F32);
  f32.set_raw(std::string("\0\0\xc0\x3f", 4));
  EXPECT_EQ(*ToVector(f32), (std::vector<double>{1.5}));
  EXPECT_TRUE(ToVector(v1::Array())->empty());
}

TEST(Array, MalformedBytesAreRefused) {
  v1::Array array;
  array.set_raw("1234567");
  EXPECT_EQ(ToVector(array).status().code(), absl::StatusCode::kInvalidArgument);  // no dtype
  array.set_dtype(v1::DTYPE_F64);
  EXPECT_EQ(ToVector(array).status().code(), absl::StatusCode::kInvalidArgument);  // not a multiple of 8
}

TEST(MakeReadable, ReachesEveryArrayAndKeepsTheNumbers) {
  v1::Problem problem;
  v1::Environment& environment = *problem.add_contexts()->mutable_environment();
  *environment.mutable_transitions()->mutable_sparse()->mutable_offsets() = MakeArray(std::vector<std::uint64_t>{0, 3});
  *environment.mutable_initial_distribution() = MakeArray(std::vector<double>{0.25, 0.75}, {2});
  MakeReadable(problem);
  const v1::Array& offsets = environment.transitions().sparse().offsets();
  EXPECT_TRUE(offsets.has_indices());
  EXPECT_EQ(*ToVector(offsets), (std::vector<double>{0, 3}));
  EXPECT_TRUE(environment.initial_distribution().has_values());
  EXPECT_EQ(environment.initial_distribution().dtype(), v1::DTYPE_UNSPECIFIED);
  EXPECT_EQ(*ToVector(environment.initial_distribution()), (std::vector<double>{0.25, 0.75}));
}

}  // namespace
}  // namespace bilevel::client
