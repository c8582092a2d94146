// Environments out of files: what is read, what is refused, and that no damage goes further than an error.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/array.h"
#include "client/cli/environment_data.h"
#include "client/cli/npy.h"

namespace bilevel::client {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A file in memory: thousands are written.
class TestFile {
 public:
  explicit TestFile(const std::string& ending) : descriptor_(memfd_create(ending.c_str(), 0)) {}
  ~TestFile() { close(descriptor_); }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;

  // Its path, with these bytes in it.
  std::string Write(const std::string& bytes) const {
    EXPECT_EQ(ftruncate(descriptor_, 0), 0);
    EXPECT_EQ(pwrite(descriptor_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    return absl::StrCat("/proc/self/fd/", descriptor_);
  }

 private:
  int descriptor_;
};

template <typename T>
std::string Little(T number) {
  return std::string(reinterpret_cast<const char*>(&number), sizeof(T));
}

template <typename T>
std::string Npy(const std::string& type, const std::string& shape, const std::vector<T>& numbers) {
  std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header += std::string(63 - (10 + header.size()) % 64, ' ') + "\n";
  std::string bytes = std::string("\x93NUMPY\x01\0", 8) + Little(static_cast<std::uint16_t>(header.size())) + header;
  for (const T number : numbers) bytes += Little(number);
  return bytes;
}

struct Member {
  std::string name;
  std::string bytes;
};

std::string Deflate(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

enum class Packing { kStored, kDeflated, kStored64 };

// As APPNOTE.TXT says; with 64 bits sizes are in the extra fields, and the directory is found by its 64-bit record.
std::string Zip(const std::vector<Member>& members, Packing packing) {
  const bool wide = packing == Packing::kStored64;
  constexpr std::uint32_t kSee64 = 0xffffffff;
  const auto u16 = [](std::size_t n) { return Little(static_cast<std::uint16_t>(n)); };
  const auto u32 = [](std::size_t n) { return Little(static_cast<std::uint32_t>(n)); };
  std::string zip, directory;
  for (const Member& member : members) {
    const std::string name = member.name + ".npy";
    const std::string data = packing == Packing::kDeflated ? Deflate(member.bytes) : member.bytes;
    const std::size_t crc = crc32_z(0, reinterpret_cast<const Bytef*>(member.bytes.data()), member.bytes.size());
    const std::string common = u16(0) + u16(packing == Packing::kDeflated ? 8 : 0) + u32(0) + u32(crc) +
                               u32(wide ? kSee64 : data.size()) + u32(wide ? kSee64 : member.bytes.size()) +
                               u16(name.size());
    const std::string sizes = Little(std::uint64_t{member.bytes.size()}) + Little(std::uint64_t{data.size()});
    const std::string local_extra = wide ? u16(1) + u16(16) + sizes : "";
    const std::string extra =
        wide ? u16(7) + u16(2) + "xy" + u16(1) + u16(24) + sizes + Little(std::uint64_t{zip.size()}) : "";
    directory += u32(0x02014b50) + u16(20) + u16(20) + common + u16(extra.size()) + u16(0) + u16(0) + u16(0) + u32(0) +
                 u32(wide ? kSee64 : zip.size()) + name + extra;
    zip += u32(0x04034b50) + u16(20) + common + u16(local_extra.size()) + name + local_extra + data;
  }
  const std::size_t at = zip.size();
  zip += directory;
  if (wide) {
    const std::size_t end = zip.size();
    zip += u32(0x06064b50) + Little(std::uint64_t{44}) + u16(45) + u16(45) + u32(0) + u32(0) +
           Little(std::uint64_t{members.size()}) + Little(std::uint64_t{members.size()}) +
           Little(std::uint64_t{directory.size()}) + Little(std::uint64_t{at});
    zip += u32(0x07064b50) + u32(0) + Little(std::uint64_t{end}) + u32(1);
  }
  return zip + u32(0x06054b50) + u16(0) + u16(0) + u16(members.size()) + u16(members.size()) +
         u32(wide ? kSee64 : directory.size()) + u32(wide ? kSee64 : at) + u16(0);
}

// Two states and two actions: action 0 goes anywhere, action 1 stays in state 0 and ends in state 1.
std::vector<Member> Csr() {
  return {{"indices", Npy<std::int32_t>("<i4", "5,", {0, 1, 0, 0, 1})},
          {"indptr", Npy<std::int32_t>("<i4", "5,", {0, 2, 3, 5, 5})},
          {"format", std::string("\x93NUMPY\x01\0\x36\0", 10) +
                         "{'descr': '|S3', 'fortran_order': False, 'shape': ()}\n" + "csr"},
          {"shape", Npy<std::int64_t>("<i8", "2,", {4, 2})},
          {"data", Npy<double>("<f8", "5,", {0.5, 0.5, 1, 0.25, 0.75})},
          {"num_actions", Npy<std::int64_t>("<i8", "", {2})},
          {"termination_probability", Npy<double>("<f8", "2, 2", {0, 0, 0, 1})},
          {"available_actions", Npy<std::uint8_t>("|b1", "2, 2", {1, 1, 1, 1})},
          {"initial_distribution", Npy<float>("<f4", "2,", {0.25F, 0.75F})}};
}

std::vector<Member> With(std::vector<Member> members, const std::string& name, const std::string& bytes) {
  for (Member& member : members) {
    if (member.name == name) member.bytes = bytes;
  }
  return members;
}

std::vector<Member> Without(std::vector<Member> members, const std::string& name) {
  std::erase_if(members, [&name](const Member& member) { return member.name == name; });
  return members;
}

absl::StatusOr<EnvironmentData> ReadNpz(const std::string& bytes, std::optional<int> actions = std::nullopt) {
  const TestFile file("npz");
  return ReadNpzEnvironment(file.Write(bytes), actions);
}

absl::StatusOr<EnvironmentData> ReadMtx(const std::string& text, std::optional<int> actions) {
  const TestFile file("mtx");
  return ReadMtxEnvironment(file.Write(text), actions);
}

std::string Refusal(const absl::StatusOr<EnvironmentData>& data) {
  EXPECT_EQ(data.status().code(), absl::StatusCode::kInvalidArgument) << data.status();
  return std::string(data.status().message());
}

void ExpectTheWorld(const absl::StatusOr<EnvironmentData>& data) {
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->num_states, 2);
  EXPECT_EQ(data->num_actions, 2);
  EXPECT_THAT(data->offsets, ElementsAre(0, 2, 3, 5, 5));
  EXPECT_THAT(data->columns, ElementsAre(0, 1, 0, 0, 1));
  EXPECT_TRUE(EnvironmentBytes::Create(data->arrays()).ok());
}

TEST(NpzEnvironment, IsWhatScipySaves) {
  for (const Packing packing : {Packing::kStored, Packing::kDeflated, Packing::kStored64}) {
    const absl::StatusOr<EnvironmentData> data = ReadNpz(Zip(Csr(), packing));
    ExpectTheWorld(data);
    EXPECT_THAT(data->probabilities, ElementsAre(0.5, 0.5, 1, 0.25, 0.75));
    EXPECT_THAT(data->termination, ElementsAre(0, 0, 0, 1));
    EXPECT_THAT(data->initial, ElementsAre(0.25, 0.75));
    EXPECT_THAT(data->available, ElementsAre(1, 1, 1, 1));
  }
}

TEST(NpzEnvironment, WideIndicesAndSinglePrecisionStayWhatTheyAre) {
  std::vector<Member> members = With(Csr(), "indices", Npy<std::int64_t>("<i8", "5,", {0, 1, 0, 0, 1}));
  members = With(members, "indptr", Npy<std::int64_t>("<i8", "5,", {0, 2, 3, 5, 5}));
  members = With(members, "data", Npy<float>("<f4", "5,", {0.5F, 0.5F, 1, 0.25F, 0.75F}));
  const absl::StatusOr<EnvironmentData> data = ReadNpz(Zip(members, Packing::kStored));
  ExpectTheWorld(data);
  EXPECT_THAT(data->probabilities_f32, ElementsAre(0.5F, 0.5F, 1, 0.25F, 0.75F));
  EXPECT_THAT(data->probabilities, IsEmpty());
}

TEST(NpzEnvironment, ColumnsAreBroughtIntoOrder) {
  std::vector<Member> members = With(Csr(), "indices", Npy<std::int32_t>("<i4", "5,", {1, 0, 0, 1, 0}));
  const absl::StatusOr<EnvironmentData> data = ReadNpz(Zip(members, Packing::kStored));
  ExpectTheWorld(data);
  EXPECT_THAT(data->probabilities, ElementsAre(0.5, 0.5, 1, 0.75, 0.25));
}

TEST(NpzEnvironment, DenseTransitionsLoseTheirZeros) {
  const std::vector<double> dense = {0.5, 0.5, 1, 0, 0.25, 0.75, 0, 0};
  ExpectTheWorld(ReadNpz(Zip({{"transitions", Npy("<f8", "2, 2, 2", dense)}}, Packing::kStored)));
  ExpectTheWorld(ReadNpz(Zip({{"transitions", Npy("<f8", "4, 2", dense)}}, Packing::kDeflated), 2));
  const std::vector<float> single(dense.begin(), dense.end());
  const absl::StatusOr<EnvironmentData> data =
      ReadNpz(Zip({{"transitions", Npy("<f4", "2, 2, 2", single)}}, Packing::kStored));
  ExpectTheWorld(data);
  EXPECT_THAT(data->probabilities_f32, ElementsAre(0.5F, 0.5F, 1, 0.25F, 0.75F));
}

TEST(NpzEnvironment, WhatDoesNotFitIsNamed) {
  const auto refused = [](const std::string& member, const std::string& bytes) {
    return Refusal(ReadNpz(Zip(With(Csr(), member, bytes), Packing::kStored)));
  };
  EXPECT_THAT(refused("indices", Npy<std::int32_t>("<i4", "5,", {0, 2, 0, 0, 1})),
              AllOf(HasSubstr(": indices: "), HasSubstr("[1] is 2; must be in [0, 2)")));
  EXPECT_THAT(refused("indices", Npy<std::int32_t>("<i4", "5,", {0, -1, 0, 0, 1})), HasSubstr("[1] is -1"));
  EXPECT_THAT(refused("indices", Npy<std::uint32_t>("<u4", "5,", {0, 7, 0, 0, 1})),
              HasSubstr("row 0 (s=0, a=0) has column 7; must be below 2"));
  EXPECT_THAT(refused("indices", Npy<std::int32_t>("<i4", "5,", {1, 1, 0, 0, 1})), HasSubstr("has column 1 twice"));
  EXPECT_THAT(refused("indices", Npy<std::int32_t>("<i4", "4,", {1, 1, 0, 0})), HasSubstr("has 4 numbers, and data 5"));
  EXPECT_THAT(refused("indices", Npy<double>("<f8", "5,", {0, 1, 0, 0, 1})), HasSubstr("holds floats"));
  EXPECT_THAT(refused("indptr", Npy<std::int32_t>("<i4", "5,", {0, 3, 2, 5, 5})),
              HasSubstr("indptr: falls from 3 to 2"));
  EXPECT_THAT(refused("indptr", Npy<std::int32_t>("<i4", "5,", {0, 2, 3, 5, 4})), HasSubstr("must never decrease"));
  EXPECT_THAT(refused("indptr", Npy<std::int32_t>("<i4", "5,", {1, 2, 3, 5, 5})), HasSubstr("must start at 0"));
  EXPECT_THAT(refused("indptr", Npy<std::int32_t>("<i4", "5,", {0, 2, 3, 4, 4})), HasSubstr("must end at"));
  EXPECT_THAT(refused("indptr", Npy<std::int32_t>("<i4", "4,", {0, 2, 3, 5})), HasSubstr("one more than rows, 5"));
  EXPECT_THAT(refused("shape", Npy<std::int64_t>("<i8", "2,", {5, 2})), HasSubstr("shape: is [5, 2] with 2 actions"));
  EXPECT_THAT(refused("shape", Npy<std::int64_t>("<i8", "2,", {0, 0})), HasSubstr("must be [S*A, S] with S in [1,"));
  EXPECT_THAT(refused("shape", Npy<std::int64_t>("<i8", "2,", {-4, 2})), HasSubstr("[0] is -4"));
  EXPECT_THAT(refused("num_actions", Npy<std::int64_t>("<i8", "", {0})), HasSubstr("num_actions: is 0; must be"));
  EXPECT_THAT(refused("num_actions", Npy<double>("<f8", "", {1.5})), HasSubstr("must be a whole number"));
  EXPECT_THAT(refused("num_actions", Npy<std::int64_t>("<i8", "2,", {2, 2})), HasSubstr("is no single number"));
  EXPECT_THAT(refused("initial_distribution", Npy<double>("<f8", "3,", {1, 0, 0})), HasSubstr("is [3]; must be [2]"));
  EXPECT_THAT(refused("termination_probability", Npy<double>("<f8", "3,", {1, 0, 0})), HasSubstr("must be [2, 2]"));
  EXPECT_THAT(refused("available_actions", Npy<std::uint8_t>("|u1", "4,", {1, 2, 1, 1})),
              HasSubstr("[1] is 2; must be"));
  EXPECT_THAT(refused("data", "short"), HasSubstr(": data: is no .npy file"));
  EXPECT_THAT(refused("data", Npy<double>("<f8", "1000000000000,", {1})), HasSubstr("not what its shape says"));
  EXPECT_THAT(refused("format", std::string("\x93NUMPY\x01\0\x36\0", 10) +
                                    "{'descr': '|S3', 'fortran_order': False, 'shape': ()}\n" + "csc"),
              HasSubstr("format: is csc; must be csr: save_npz(file, matrix.tocsr())"));
  EXPECT_THAT(Refusal(ReadNpz(Zip(Csr(), Packing::kStored), 3)), HasSubstr("num_actions: is 2, and --actions 3"));
  EXPECT_THAT(Refusal(ReadNpz(Zip(Without(Csr(), "num_actions"), Packing::kStored))), HasSubstr("--actions A"));
  EXPECT_THAT(Refusal(ReadNpz(Zip({{"p", ""}, {"q", ""}}, Packing::kStored))),
              HasSubstr("has neither transitions nor"));
  EXPECT_THAT(Refusal(ReadNpz(Zip({{"transitions", Npy<double>("<f8", "2, 2, 1", {1, 1, 1, 1})}}, Packing::kStored))),
              HasSubstr("transitions: is [2, 2, 1]; must be [S, A, S] or [S*A, S]"));
  EXPECT_THAT(Refusal(ReadNpz("no archive")), HasSubstr("is no zip archive"));
  EXPECT_EQ(ReadNpzEnvironment("/none/x.npz", 1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadNpz(Zip(Without(Csr(), "data"), Packing::kStored)).status().code(), absl::StatusCode::kNotFound);
}

TEST(NpzEnvironment, SizesAreNotBelieved) {
  // A deflated member that claims 4 GB out of a few bytes.
  std::string zip = Zip(Csr(), Packing::kDeflated);
  const std::size_t directory = zip.find("PK\x01\x02");
  ASSERT_NE(directory, std::string::npos);
  zip.replace(directory + 24, 4, Little(std::uint32_t{0xfffffff0}));
  EXPECT_THAT(Refusal(ReadNpz(zip)), HasSubstr("member indices.npy claims 4294967280 bytes, which its"));
  zip = Zip(Csr(), Packing::kStored);
  zip.replace(zip.find("PK\x01\x02") + 42, 4, Little(std::uint32_t{0xffff}));
  EXPECT_THAT(Refusal(ReadNpz(zip)), HasSubstr("does not lie within the file"));
}

TEST(NpzEnvironment, ChecksumsAreChecked) {
  std::string zip = Zip(Csr(), Packing::kStored);
  const std::size_t half = zip.find(Little(0.5) + Little(0.5));
  ASSERT_NE(half, std::string::npos);
  zip.replace(half, 8, Little(0.25));
  EXPECT_THAT(Refusal(ReadNpz(zip)), HasSubstr("data: is damaged: its bytes are not those of its checksum"));
}

// Cut off anywhere it is refused; with any one byte changed it is refused, or is an environment whose arrays fit.
TEST(NpzEnvironment, DamageEndsInAnError) {
  const TestFile file("npz");
  for (const Packing packing : {Packing::kStored, Packing::kDeflated, Packing::kStored64}) {
    const std::string zip = Zip(Csr(), packing);
    for (std::size_t size = 0; size < zip.size(); ++size) {
      EXPECT_FALSE(ReadNpzEnvironment(file.Write(zip.substr(0, size)), std::nullopt).ok()) << size;
    }
    for (std::size_t at = 0; at < zip.size(); ++at) {
      for (const int flip : {0x01, 0x80, 0xff}) {
        std::string damaged = zip;
        damaged[at] = static_cast<char>(damaged[at] ^ flip);
        const absl::StatusOr<EnvironmentData> data = ReadNpzEnvironment(file.Write(damaged), std::nullopt);
        if (data.ok()) {
          ASSERT_TRUE(EnvironmentBytes::Create(data->arrays()).ok()) << at;
        }
      }
    }
  }
}

constexpr char kWorld[] = R"(%%MatrixMarket matrix coordinate real general
% a comment
4 2 5
1 1 0.5
1 2 5e-1
2 1 1

3 1 0.25
3 2 +0.75
)";

// Termination cannot be said, so that here the last row is not empty.
std::string Market(const std::string& head, const std::string& entries) {
  return "%%MatrixMarket matrix " + head + " general\n" + entries;
}

TEST(MtxEnvironment, IsReadInAnyOrder) {
  for (const char* entries :
       {"4 2 5\n1 1 .5\n1 2 .5\n2 1 1\n3 2 1\n4 1 1\n", "4 2 5\n4 1 1\n1 2 .5\n3 2 1\n1 1 .5\n2 1 1"}) {
    const absl::StatusOr<EnvironmentData> data = ReadMtx(Market("coordinate real", entries), 2);
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(data->num_states, 2);
    EXPECT_THAT(data->offsets, ElementsAre(0, 2, 3, 4, 5));
    EXPECT_THAT(data->columns, ElementsAre(0, 1, 0, 1, 0));
    EXPECT_THAT(data->probabilities, ElementsAre(0.5, 0.5, 1, 1, 1));
  }
  const absl::StatusOr<EnvironmentData> empty_row = ReadMtx(kWorld, 2);
  ExpectTheWorld(empty_row);
}

TEST(MtxEnvironment, ArraysComeColumnByColumn) {
  const absl::StatusOr<EnvironmentData> data =
      ReadMtx(Market("array integer", "% first column\n4 2\n1\n1\n0\n0\n0\n0\n1\n1\n"), 2);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->offsets, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(data->columns, ElementsAre(0, 0, 1, 1));
}

TEST(MtxEnvironment, WhatDoesNotFitIsNamed) {
  const auto refused = [](const std::string& text) { return Refusal(ReadMtx(text, 1)); };
  const std::string real = "coordinate real";
  EXPECT_THAT(refused("1 1 1\n"), HasSubstr(": is no Matrix Market file"));
  EXPECT_THAT(refused(Market("coordinate complex", "")), HasSubstr("is a matrix coordinate complex general; must be"));
  EXPECT_THAT(refused("%%MatrixMarket matrix coordinate real symmetric\n"), HasSubstr("must be a matrix"));
  EXPECT_THAT(refused(Market(real, "% no more\n")), HasSubstr("ends before its sizes"));
  EXPECT_THAT(refused(Market(real, "1 1\n")), HasSubstr("line 2: \"1 1\" must be the numbers of rows, columns and"));
  EXPECT_THAT(refused(Market(real, "1 1 99999999999\n1 1 1\n")), HasSubstr("claims 99999999999 entries, and only 6"));
  EXPECT_THAT(refused(Market(real, "2000000000 2000000000 1\n1 1 1\n")),
              HasSubstr("has 1 entries for 2000000000 rows"));
  EXPECT_THAT(refused(Market("array real", "4294967296 4294967296\n1\n")), HasSubstr("is more than can be"));
  EXPECT_THAT(refused(Market("array real", "100000 100000\n1\n")), HasSubstr("claims 10000000000 entries"));
  EXPECT_THAT(refused(Market(real, "2 2 2\n1 1 1\n")), HasSubstr("has 1 entries; must have 2"));
  EXPECT_THAT(refused(Market(real, "1 1 1\n1 1 1\n1 1 1\n")), HasSubstr("line 4: \"1 1 1\" is one more than the 1"));
  EXPECT_THAT(refused(Market(real, "1 1 1\n1 1 x\n")), HasSubstr("line 3: \"1 1 x\" must be row, column and value"));
  EXPECT_THAT(refused(Market(real, "1 1 1\n0 1 1\n")), HasSubstr("is outside of 1 rows and 1 columns"));
  EXPECT_THAT(refused(Market(real, "2 2 2\n1 1 1\n1 1 1\n")), HasSubstr("row 0 (s=0, a=0) has column 0 twice"));
  EXPECT_THAT(refused(Market(real, "2 2 3\n2 1 1\n1 1 1\n2 1 1\n")), HasSubstr("row 1 (s=1, a=0) has column 0 twice"));
  EXPECT_THAT(refused(Market(real, "3 2 3\n")), HasSubstr("claims 3 entries"));
  EXPECT_THAT(Refusal(ReadMtx(kWorld, std::nullopt)), HasSubstr("is [4, 2], and how many actions there are"));
  EXPECT_THAT(Refusal(ReadMtx(kWorld, 3)), HasSubstr("is [4, 2] with 3 actions"));
}

TEST(MtxEnvironment, DamageEndsInAnError) {
  const TestFile file("mtx");
  const std::string text = Market("coordinate real", "4 2 5\n4 1 1\n1 2 .5\n3 2 1\n1 1 .5\n2 1 1\n");
  for (std::size_t size = 0; size + 2 < text.size(); ++size) {
    EXPECT_FALSE(ReadMtxEnvironment(file.Write(text.substr(0, size)), 2).ok()) << size;
  }
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string damaged = text;
      damaged[at] = static_cast<char>(byte);
      const absl::StatusOr<EnvironmentData> data = ReadMtxEnvironment(file.Write(damaged), 2);
      if (data.ok()) {
        ASSERT_TRUE(EnvironmentBytes::Create(data->arrays()).ok()) << at;
      }
    }
  }
}

TEST(ToEnvironmentData, TakesEitherFormAndEitherStorage) {
  v1::Environment environment;
  environment.set_num_states(2);
  environment.set_num_actions(2);
  v1::SparseMatrix& sparse = *environment.mutable_transitions()->mutable_sparse();
  *sparse.mutable_offsets() = MakeArray(std::vector<std::uint64_t>{0, 2, 3, 5, 5});
  *sparse.mutable_columns() = MakeArray(std::vector<std::uint32_t>{0, 1, 0, 0, 1});
  *sparse.mutable_values() = MakeArray(std::vector<double>{0.5, 0.5, 1, 0.25, 0.75});
  *environment.mutable_available_actions() = MakeArray(std::vector<std::uint8_t>{1, 1, 1, 0});
  ExpectTheWorld(ToEnvironmentData(environment));
  MakeReadable(environment);
  ExpectTheWorld(ToEnvironmentData(environment));
  EXPECT_THAT(ToEnvironmentData(environment)->available, ElementsAre(1, 1, 1, 0));
  // What a problem says of stored transitions counts the zeros of dense ones.
  *environment.mutable_transitions()->mutable_dense() =
      MakeArray(std::vector<double>{0.5, 0.5, 1, 0, 0.25, 0.75, 0, 0}, {2, 2, 2});
  const absl::StatusOr<EnvironmentData> dense = ToEnvironmentData(environment);
  ASSERT_TRUE(dense.ok()) << dense.status();
  EXPECT_THAT(dense->offsets, ElementsAre(0, 2, 4, 6, 8));
  EXPECT_THAT(dense->columns, ElementsAre(0, 1, 0, 1, 0, 1, 0, 1));
}

TEST(ToEnvironmentData, NamesTheFieldThatDoesNotFit) {
  v1::Environment environment;
  environment.set_num_states(1);
  EXPECT_THAT(Refusal(ToEnvironmentData(environment)), HasSubstr("num_actions is 0; must be >= 1"));
  environment.set_num_actions(1);
  EXPECT_THAT(Refusal(ToEnvironmentData(environment)), HasSubstr("transitions are absent"));
  v1::SparseMatrix& sparse = *environment.mutable_transitions()->mutable_sparse();
  *sparse.mutable_offsets() = MakeArray(std::vector<std::uint64_t>{0, 2});
  *sparse.mutable_columns() = MakeArray(std::vector<std::uint32_t>{0});
  *sparse.mutable_values() = MakeArray(std::vector<double>{1});
  EXPECT_THAT(Refusal(ToEnvironmentData(environment)), HasSubstr("transitions.sparse.offsets ends at 2; must end at"));
  *sparse.mutable_offsets() = MakeArray(std::vector<std::uint64_t>{0, 1});
  *sparse.mutable_columns() = MakeArray(std::vector<std::uint32_t>{1});
  EXPECT_THAT(Refusal(ToEnvironmentData(environment)), HasSubstr("transitions.sparse.columns[0] is 1; must be"));
  environment.set_num_states(2);
  *sparse.mutable_offsets() = MakeArray(std::vector<std::uint64_t>{0, 2, 2});
  *sparse.mutable_columns() = MakeArray(std::vector<std::uint32_t>{1, 0});
  *sparse.mutable_values() = MakeArray(std::vector<double>{0.5, 0.5});
  EXPECT_THAT(Refusal(ToEnvironmentData(environment)), HasSubstr("row 0 has column 0 after 1; must be strictly"));
  environment.set_num_states(2147483647);
  environment.set_num_actions(2147483647);
  EXPECT_THAT(Refusal(ToEnvironmentData(environment)), HasSubstr("offsets has 3 elements; must have"));
  environment.mutable_transitions()->mutable_dense();
  EXPECT_THAT(Refusal(ToEnvironmentData(environment)), HasSubstr("transitions.dense has too few elements"));
}

}  // namespace
}  // namespace bilevel::client
