#include <atomic>
#include <chrono>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/interrupt.h"
#include "client/cli/session_command.h"
#include "client/cli/session_report.h"

namespace bilevel::client {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRowsUnderAHeader = 20;

// One look at a session.
struct Look {
  v1::Session session;
  double rate = 0.0;               // accepted a second, since the look before
  std::optional<double> residual;  // the largest over contexts; of the newest policy
};

class Watcher {
 public:
  Watcher(const BilevelClient& client, const std::string& name) : client_(client) { policy_.set_name(name); }

  absl::StatusOr<Look> Next() {
    absl::StatusOr<v1::Session> session = GetSession(client_, policy_.name());
    if (!session.ok()) return session.status();
    const Clock::time_point now = Clock::now();
    Look look{.session = *std::move(session)};
    if (before_) {
      const std::chrono::duration<double> elapsed = now - *before_;
      look.rate = (look.session.accepted() - accepted_) / elapsed.count();
    }
    before_ = now;
    accepted_ = look.session.accepted();
    if (look.session.policy_version() > policy_.if_newer_than()) LookAtPolicy();
    look.residual = residual_;
    return look;
  }

 private:
  // A policy that is too large for a message is not fetched every time for one number.
  void LookAtPolicy() {
    const absl::StatusOr<v1::GetPolicyResponse> policy = client_.GetPolicy(policy_);
    if (!policy.ok() || policy->version() == 0) return;
    policy_.set_if_newer_than(policy->version());
    residual_ = 0.0;
    for (const v1::LearnedPolicy& context : policy->contexts()) residual_ = std::max(*residual_, context.residual());
  }

  const BilevelClient& client_;
  v1::GetPolicyRequest policy_;
  std::optional<Clock::time_point> before_;
  double accepted_ = 0.0;
  std::optional<double> residual_;
};

void PrintJson(const Look& look) {
  JsonObject object = SessionJson(look.session);
  object.Add("rate", look.rate);
  if (look.residual) object.Add("residual", *look.residual);
  std::cout << object.Text() << std::endl;
}

void PrintRow(const Look& look, int row) {
  const v1::Session& session = look.session;
  if (row % kRowsUnderAHeader == 0) {
    std::cout << absl::StrFormat("%12s %12s %9s %9s %8s %9s %4s  %s\n", "accepted", "merged", "rate/s", "dropped",
                                 "policy", "residual", "x", "waiting for");
  }
  std::cout << absl::StrFormat("%12.0f %12.0f %9.3g %9.0f %8.0f %9s %4.0f  %s\n", session.accepted(), session.merged(),
                               look.rate, session.dropped(), session.policy_version(),
                               look.residual ? absl::StrFormat("%.2g", *look.residual) : "-",
                               session.parameters_version(), session.waiting_for())
            << std::flush;
}

int Watch(const BilevelClient& client, const std::string& name, absl::Duration interval, bool once, bool json) {
  std::atomic<bool> interrupted = false;
  const OnInterrupt interrupt([&interrupted] { interrupted = true; });
  Watcher watcher(client, name);
  double drifts = 0.0;
  for (int row = 0; !interrupted; ++row) {
    const absl::StatusOr<Look> look = watcher.Next();
    if (!look.ok()) return Fail(look.status());
    if (json) {
      PrintJson(*look);
    } else {
      PrintRow(*look, row);
      // More than one since the last line: the last of them.
      if (look->session.drifts() > drifts) std::cout << DriftText(look->session.last_drift()) << std::endl;
      drifts = look->session.drifts();
    }
    if (look->session.has_failure()) {
      return Fail(absl::Status(static_cast<absl::StatusCode>(look->session.failure().code()),
                               absl::StrCat("learning has stopped: ", look->session.failure().message())));
    }
    if (once) break;
    const Clock::time_point next = Clock::now() + absl::ToChronoMilliseconds(interval);
    while (!interrupted && Clock::now() < next) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return kExitOk;
}

}  // namespace

int RunSessionWatch(GlobalOptions globals, std::span<const std::string> arguments) {
  std::optional<absl::Duration> interval;
  bool once = false;
  FlagSet flags("session watch NAME",
                "How far a session has come, a line each second until Ctrl-C; with --json one object a line.");
  flags.Add("once", &once, "one line, and return");
  flags.Add("interval", &interval, "DURATION", "between lines; default 1s");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  if (interval && *interval <= absl::ZeroDuration()) {
    return UsageError(absl::InvalidArgumentError("--interval must be above 0"));
  }
  BlockInterrupts();
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  return Watch(*client, SessionName(operands[0]), interval.value_or(absl::Seconds(1)), once, globals.json);
}

}  // namespace bilevel::client
