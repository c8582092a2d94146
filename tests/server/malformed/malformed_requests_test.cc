// Garbage for every field: each request is refused with the documented code, the path, the value and the rule; the
// server answers afterwards, and its memory is where it was.

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/server/loopback.h"
#include "tests/server/malformed/cases.h"
#include "tests/server/requests.h"

namespace bilevel::server::malformed {
namespace {

void ExpectRefused(const Case& c, const grpc::Status& status) {
  SCOPED_TRACE(c.name + ": " + status.error_message());
  EXPECT_EQ(status.error_code(), c.code);
  const ErrorDetails details = DetailsOf(status);
  EXPECT_EQ(details.info.domain(), "bilevel");
  std::string path, description;
  if (c.code == kInvalid) {
    EXPECT_EQ(details.info.reason(), "INVALID_FIELD");
    ASSERT_EQ(details.bad_request.field_violations_size(), 1);
    path = details.bad_request.field_violations(0).field();
    description = details.bad_request.field_violations(0).description();
    EXPECT_EQ(status.error_message(), path + ": " + description);
  } else {
    ASSERT_EQ(details.quota.violations_size(), 1);
    path = details.quota.violations(0).subject();
    description = details.quota.violations(0).description();
    EXPECT_FALSE(details.has_retry) << "waiting does not help";
  }
  EXPECT_EQ(path, c.path);
  EXPECT_NE(description.find(c.value), std::string::npos) << "names the value " << c.value;
  EXPECT_NE(description.find(c.rule), std::string::npos) << "names the rule " << c.rule;
}

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

std::vector<Case> AllCases() {
  std::vector<Case> all;
  for (const auto& cases :
       {EnvironmentCases(), ContextCases(), TermCases(), DynamicsCases(), ProblemCases(), RequestCases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

TEST(MalformedRequests, EachIsRefusedWithPathValueAndRuleAndTheServerLivesOnInTheSameMemory) {
  ServerOptions options = LoopbackOptions();
  options.dispatcher.memory_budget = 64 << 20;
  Loopback loopback(options);
  const std::vector<Case> cases = AllCases();
  EXPECT_GE(cases.size(), 60u);
  for (const Case& c : cases) ExpectRefused(c, c.call(loopback.stub()));

  const double before = ResidentBytes();
  for (int round = 0; round < 3; ++round) {
    for (const Case& c : cases) c.call(loopback.stub());
  }
  const grpc::Status good = Evaluate([](auto&) {})(loopback.stub());
  EXPECT_TRUE(good.ok()) << good.error_message();
  const double growth = ResidentBytes() - before;
  RecordProperty("resident_growth_bytes", std::to_string(growth));
#if !defined(__SANITIZE_ADDRESS__)  // its quarantine keeps what was freed
  EXPECT_LT(growth, 4e6);
#endif
}

// Numbers that are legal but leave the range of doubles on the way.
TEST(MalformedRequests, OverflowInsideASolveIsAnOutcomeNotACrash) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = SparseProblem();
  v1::Context& context = *request.mutable_problem()->mutable_contexts(0);
  *context.mutable_reward()->mutable_base() = Reals({1e308, -1e308, 1e308, 1.7e308});
  context.set_discount(0.999);
  *request.mutable_parameters() = Reals({1e300});
  grpc::ClientContext client;
  SetDeadline(client, std::chrono::seconds(20));
  v1::EvaluateHypergradientResponse response;
  const grpc::Status status = loopback.stub().EvaluateHypergradient(&client, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.termination().reason(), v1::Termination::REASON_DIVERGED);
}

}  // namespace
}  // namespace bilevel::server::malformed
