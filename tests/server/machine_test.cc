#include "server/jobs/machine.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace bilevel::server {
namespace {

class MachineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(::testing::TempDir()) /
            (std::string("machine_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  Machine Read() const { return ReadMachine(root_.string()); }

 private:
  std::filesystem::path root_;
};

TEST_F(MachineTest, WithoutControlGroupsItIsTheWholeMachine) {
  const Machine machine = Read();
  EXPECT_GE(machine.threads, 1);
  EXPECT_GT(machine.memory_bytes, 1 << 20);
}

TEST_F(MachineTest, AContainersLimitsHold) {
  const Machine whole = Read();
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/memory.max", "104857600\n");
  Write("sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(Read().memory_bytes, 104857600);
  EXPECT_EQ(Read().threads, 1);
  Write("sys/fs/cgroup/memory.max", "max\n");
  Write("sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(Read().memory_bytes, whole.memory_bytes);
  EXPECT_EQ(Read().threads, whole.threads);
}

TEST_F(MachineTest, TheTightestGroupOnTheWayUpCounts) {
  Write("proc/self/cgroup", "1:name=systemd:/x\n0::/system.slice/bilevel.service\n");
  Write("sys/fs/cgroup/system.slice/bilevel.service/memory.max", "max\n");
  Write("sys/fs/cgroup/system.slice/memory.max", "2000000\n");
  Write("sys/fs/cgroup/memory.max", "3000000\n");
  EXPECT_EQ(Read().memory_bytes, 2000000);
}

TEST_F(MachineTest, VersionOneIsReadToo) {
  const int whole = Read().threads;
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000000\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Read().memory_bytes, 5000000);
  EXPECT_EQ(Read().threads, 1);
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Read().threads, whole);
}

}  // namespace
}  // namespace bilevel::server
