#include "server/calls/run.h"

#include <unistd.h>

#include <array>
#include <string>

namespace bilevel::server {
namespace {

const std::string& HostName() {
  static const auto& name = *new std::string([] {
    std::array<char, 256> buffer{};
    if (gethostname(buffer.data(), buffer.size() - 1) != 0) return std::string("unknown");
    return std::string(buffer.data());
  }());
  return name;
}

double Seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

void Run::FillRunInfo(v1::RunInfo* info) const {
  info->set_elapsed_seconds(Seconds(Clock::now() - began_));
  info->set_queue_seconds(Seconds(queued_));
  info->set_server_version(ServerVersion());
  info->set_host(HostName());
  const auto since_epoch = std::chrono::duration_cast<std::chrono::nanoseconds>(began_wall_.time_since_epoch()).count();
  info->mutable_start_time()->set_seconds(since_epoch / 1'000'000'000);
  info->mutable_start_time()->set_nanos(static_cast<int>(since_epoch % 1'000'000'000));
}

void Run::FillEstimate(v1::CostEstimate* estimate) const {
  estimate->set_bytes(cost_.bytes);
  estimate->set_seconds(cost_.seconds);
}

void Run::AddServerStop(v1::Termination* termination) const {
  if (termination->reason() != v1::Termination::REASON_CANCELLED || !call_->stopped_early()) return;
  termination->set_detail(termination->detail() + "; the server is stopping");
}

const char* ServerVersion() { return BILEVEL_VERSION; }

}  // namespace bilevel::server
