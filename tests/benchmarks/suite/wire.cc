#include "tests/benchmarks/suite/wire.h"

#include <grpcpp/grpcpp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/array.h"
#include "client/bilevel_client.h"
#include "client/cli/environment_data.h"
#include "client/environment_bytes.h"
#include "client/problems/four_rooms.h"
#include "core/base/rng.h"
#include "core/hypergradient/hypergradient.h"
#include "tests/benchmarks/suite/clock.h"
#include "tests/benchmarks/suite/echo.h"
#include "tests/problems/decoded.h"
#include "tests/support/families.h"

namespace bilevel::benchmarks {
namespace {

constexpr int kCallers = 8;
constexpr double kMove = 1e-3;

// bilevel_server as it is started in earnest, for the time of a measurement; made before this process uses gRPC.
class Server {
 public:
  explicit Server(const std::string& program) {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) std::abort();
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(ends[1], STDOUT_FILENO);
      close(ends[0]);
      execl(program.c_str(), "bilevel_server", "--listen=127.0.0.1:0", "--ephemeral", "--drain_delay=0s", "--threads=2",
            "--max_message_bytes=2000000000", nullptr);
      _exit(127);
    }
    close(ends[1]);
    std::string line;
    char c = 0;
    while (read(ends[0], &c, 1) == 1 && c != '\n') line += c;
    close(ends[0]);
    address_ = line.substr(line.rfind(' ') + 1);
  }
  ~Server() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const std::string& address() const { return address_; }

 private:
  pid_t child_ = -1;
  std::string address_;
};

// One caller's next call; false when it failed.
using Call = std::function<bool()>;

struct Calls {
  std::vector<double> seconds;  // of each call
  double span = 0;              // of all of them
  bool failed = false;

  // Of all callers together: with several, the reciprocal of the throughput, less than one of them waits.
  double Each() const { return span / static_cast<double>(seconds.size()); }
  double Quantile(double share) {
    std::sort(seconds.begin(), seconds.end());
    return seconds[static_cast<size_t>(share * static_cast<double>(seconds.size() - 1))];
  }
};

// Each of `callers` (by number) calls in its own thread until the time is over.
Calls Repeat(int callers, double seconds, const std::function<Call(int)>& make) {
  std::vector<std::vector<double>> taken(static_cast<size_t>(callers));
  std::atomic<bool> failed = false;
  std::atomic<int> ready = 0;
  std::vector<std::thread> threads;
  std::atomic<double> begin = 0;
  for (int i = 0; i < callers; ++i) {
    threads.emplace_back([&, i] {
      const Call call = make(i);
      for (int warm = 0; warm < 3; ++warm) failed = !call() || failed;
      if (++ready == callers) begin = Now();
      while (begin == 0) std::this_thread::yield();
      while (Now() < begin + seconds && !failed) {
        taken[static_cast<size_t>(i)].push_back(Seconds([&] { failed = !call() || failed; }));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Calls result;
  result.span = Now() - begin;
  result.failed = failed;
  for (const auto& part : taken) result.seconds.insert(result.seconds.end(), part.begin(), part.end());
  return result;
}

Row RowOf(const std::string& name, int callers, double seconds) {
  Row row;
  row.table = "wire";
  row.name = name;
  row.threads = callers;
  row.seconds = seconds;
  return row;
}

// A channel of its own for each caller would be another benchmark: all share one, as the client library has it.
client::BilevelClient Connect(const std::string& address) { return client::BilevelClient::Connect(address).value(); }

Calls EmptyCalls(const client::BilevelClient& client, int callers, double seconds) {
  return Repeat(callers, seconds, [&](int) -> Call { return [&] { return client.CheckHealth("").ok(); }; });
}

std::vector<double> Moved(Rng& rng, std::vector<double> x) {
  for (double& entry : x) entry += kMove * rng.Normal();
  return x;
}

// The problem with its environments uploaded, and named in their place: what repeated calls send.
v1::Problem Named(const client::BilevelClient& client, v1::Problem problem) {
  for (v1::Context& context : *problem.mutable_contexts()) {
    const auto data = client::ToEnvironmentData(context.environment()).value();
    const auto stored = client.UploadEnvironment(client::EnvironmentBytes::Create(data.arrays()).value()).value();
    context.set_environment_name(stored.environment().name());
  }
  return problem;
}

// Calls EvaluateHypergradient of Four-Rooms at x moved a little each time, from the answer before.
class RemoteCaller {
 public:
  RemoteCaller(const client::BilevelClient& client, const v1::Problem& problem, uint64_t seed)
      : client_(client), rng_(seed + 1), x_(static_cast<size_t>(problem.num_parameters())) {
    *request_.mutable_problem() = problem;
    request_.set_return_warm_start(true);
  }

  bool Call() {
    x_ = Moved(rng_, std::move(x_));
    *request_.mutable_parameters() = client::MakeArray(x_);
    auto response = client_.EvaluateHypergradient(request_);
    if (!response.ok()) {
      std::fprintf(stderr, "%s\n", response.status().ToString().c_str());
      return false;
    }
    reply_bytes_ = response->ByteSizeLong();
    request_.mutable_warm_start()->Swap(response->mutable_points(0)->mutable_warm_start());
    return true;
  }

  // Of the next request and the last reply.
  size_t request_bytes() const { return request_.ByteSizeLong(); }
  size_t reply_bytes() const { return reply_bytes_; }

 private:
  const client::BilevelClient& client_;
  Rng rng_;
  std::vector<double> x_;
  v1::EvaluateHypergradientRequest request_;
  size_t reply_bytes_ = 0;
};

// The same in this process, without a wire.
class CoreCaller {
 public:
  explicit CoreCaller(const v1::Problem& message)
      : problem_(testing::Decoded(message)), x_(Vector::Zero(problem_.num_parameters)) {}

  void Call() {
    for (double& entry : x_) entry += kMove * rng_.Normal();
    HypergradientEvaluator evaluator(problem_, {}, warm_);
    if (!evaluator.EvaluateCertified(x_, Interrupt()).ok()) std::abort();
    warm_ = evaluator.warm_start();
  }

 private:
  const BilevelProblem problem_;
  Rng rng_{1};
  Vector x_;
  WarmStart warm_;
};

// Seconds of a call, median.
double EvaluateInCore(const v1::Problem& message, double seconds) {
  CoreCaller caller(message);
  std::vector<double> taken;
  for (const double end = Now() + seconds; Now() < end;) taken.push_back(Seconds([&] { caller.Call(); }));
  return Median(taken);
}

// Of all that has to be sent and solved, what bare gRPC takes: a server that parses nothing, decodes nothing and
// answers zeros, with calls of as many bytes.
Calls EvaluateBarely(const EchoProcess& server, size_t request_bytes, size_t reply_bytes, double seconds) {
  const auto channel = grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials());
  return Repeat(kCallers, seconds, [&](int) -> Call {
    return [caller = std::make_shared<EchoCaller>(channel), message = Zeros(request_bytes), reply_bytes] {
      return caller->Call(message, reply_bytes);
    };
  });
}

// GRID-SLIP at gamma = 0.999 by sweeps, tens of thousands to the default tolerance: the time limit comes before.
v1::SolveLowerLevelRequest LongSolve(int states, int seconds) {
  const testing::Family family = testing::MakeFamily("grid-slip", states);
  v1::SolveLowerLevelRequest request;
  request.mutable_time_limit()->set_seconds(seconds);
  request.mutable_lower_level()->set_method(v1::LOWER_LEVEL_METHOD_SWEEPS);
  v1::Problem& problem = *request.mutable_problem();
  problem.set_num_parameters(1);
  v1::Context& context = *problem.add_contexts();
  context.set_discount(0.999);
  context.set_temperature(0.1);
  v1::Environment& environment = *context.mutable_environment();
  environment.set_num_states(family.spec.num_states);
  environment.set_num_actions(family.spec.num_actions);
  v1::SparseMatrix& rows = *environment.mutable_transitions()->mutable_sparse();
  rows.set_rows(family.spec.num_states * family.spec.num_actions);
  rows.set_cols(family.spec.num_states);
  *rows.mutable_offsets() = client::MakeArray(std::span<const uint64_t>(family.spec.offsets));
  *rows.mutable_columns() = client::MakeArray(std::span<const uint32_t>(family.spec.columns));
  *rows.mutable_values() = client::MakeArray(std::span<const double>(family.spec.probabilities));
  *context.mutable_reward()->mutable_base() =
      client::MakeArray(std::span(family.reward.data(), static_cast<size_t>(family.reward.size())));
  return request;
}

double WallNow() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

// Keeps both workers busy while `during` runs. How they were not all that time, by what the server says of both solves;
// empty where they were.
std::string WhileSolving(const client::BilevelClient& client, int states, double seconds,
                         const std::function<void()>& during) {
  constexpr int kArrival = 8;  // until both have been sent, decoded and begun
  const v1::SolveLowerLevelRequest request = LongSolve(states, kArrival + static_cast<int>(2 * seconds) + 10);
  std::array<absl::StatusOr<v1::SolveLowerLevelResponse>, 2> responses;
  std::vector<std::thread> solvers;
  for (auto& response : responses) {
    solvers.emplace_back([&client, &request, &response] { response = client.SolveLowerLevel(request); });
  }
  std::this_thread::sleep_for(std::chrono::seconds(kArrival));
  const double begin = WallNow();
  during();
  const double end = WallNow();
  for (std::thread& solver : solvers) solver.join();
  for (const auto& response : responses) {
    if (!response.ok()) return response.status().ToString();
    const v1::RunInfo& run = response->run_info();
    const double began = static_cast<double>(run.start_time().seconds()) + 1e-9 * run.start_time().nanos();
    if (began > begin) return "a solve began too late";
    if (began + run.elapsed_seconds() < end) return "a solve ended too early";
  }
  return "";
}

}  // namespace

std::vector<Row> MeasureEmptyCalls(const WireOptions& options) {
  const EchoProcess echo;
  const Server server(options.server);
  const client::BilevelClient client = Connect(server.address());
  const auto channel = grpc::CreateChannel(echo.address(), grpc::InsecureChannelCredentials());
  std::vector<Row> rows;
  for (const int callers : {1, kCallers, 32}) {
    const Calls bare = Repeat(callers, options.seconds, [&](int) -> Call {
      return [caller = std::make_shared<EchoCaller>(channel), nothing = Zeros(0)] { return caller->Call(nothing, 2); };
    });
    const Calls ours = EmptyCalls(client, callers, options.seconds);
    Row& row = rows.emplace_back(RowOf("an empty call", callers, ours.Each()));
    row.ratio = ours.Each() / bare.Each();
    row.against = "bare gRPC";
    if (ours.failed || bare.failed) row.missed = "a call failed";
  }
  return rows;
}

std::vector<Row> MeasureEvaluations(const WireOptions& options) {
  const v1::Problem problem = client::FourRooms({.temperature = 0.003, .beta = 1});
  const EchoProcess bare([&problem] {
    thread_local CoreCaller caller(problem);
    caller.Call();
  });
  const double core = EvaluateInCore(problem, options.seconds);
  const Server server(options.server);
  const client::BilevelClient client = Connect(server.address());
  const v1::Problem named = Named(client, problem);
  const auto evaluate = [&](int number) -> Call {
    return [caller = std::make_shared<RemoteCaller>(client, named, static_cast<uint64_t>(number))] {
      return caller->Call();
    };
  };
  const double empty = EmptyCalls(client, kCallers, options.seconds).Each();
  Calls calls = Repeat(kCallers, options.seconds, evaluate);
  std::vector<Row> rows;
  Row& many = rows.emplace_back(RowOf("EvaluateHypergradient of Four-Rooms", kCallers, calls.Each()));
  many.ratio = (empty + core / 2) / calls.Each();
  many.against = "of 1 / (empty + core / 2) calls a second";
  many.target = 0.8;
  many.at_least = true;
  many.note = absl::StrCat("empty ", static_cast<int>(1e6 * empty), " us, core ", static_cast<int>(1e6 * core),
                           " us; p99 ", static_cast<int>(1e6 * calls.Quantile(0.99)), " us; problem of ",
                           named.ByteSizeLong() / 1000, " kB");
  if (calls.failed) many.missed = "a call failed";
  RemoteCaller sizes(client, named, 0);
  const bool sized = sizes.Call();
  Calls least = EvaluateBarely(bare, sizes.request_bytes(), sizes.reply_bytes(), options.seconds);
  Row& limit = rows.emplace_back(RowOf("the same of bare gRPC, nothing decoded", kCallers, least.Each()));
  limit.ratio = (empty + core / 2) / least.Each();
  limit.against = "of 1 / (empty + core / 2) calls a second";
  limit.note = absl::StrCat("p99 ", static_cast<int>(1e6 * least.Quantile(0.99)), " us");
  if (least.failed || !sized) limit.missed = "a call failed";
  if (options.states == 0) return rows;

  Calls alone, together;
  const std::string idle = WhileSolving(client, options.states, options.seconds, [&] {
    alone = Repeat(1, options.seconds, evaluate);
    together = Repeat(kCallers, options.seconds, evaluate);
  });
  for (auto* loaded : {&alone, &together}) {
    const int callers = loaded == &alone ? 1 : kCallers;
    Row& row = rows.emplace_back(RowOf("the same while both workers solve, p99", callers, loaded->Quantile(0.99)));
    row.states = options.states;
    row.ratio = row.seconds / (5e-3 + core);
    row.against = "(5 ms + core)";
    row.target = 1;
    row.note = absl::StrCat("median ", static_cast<int>(1e6 * loaded->Quantile(0.5)), " us");
    if (loaded->failed) row.missed = "a call failed";
    if (!idle.empty()) row.missed = idle;
  }
  return rows;
}

std::vector<Row> MeasureUpload(const WireOptions& options) {
  constexpr size_t kMessage = 1 << 20;
  constexpr int kRounds = 5, kFewStates = 100'000;
  const EchoProcess echo;
  const Server server(options.server);
  const testing::Family family = testing::MakeFamily("rand-4", options.states == 0 ? kFewStates : options.states);
  const auto bytes = client::EnvironmentBytes::Create({.num_states = family.spec.num_states,
                                                       .num_actions = family.spec.num_actions,
                                                       .offsets = family.spec.offsets,
                                                       .columns = family.spec.columns,
                                                       .probabilities = family.spec.probabilities})
                         .value();
  EchoCaller caller(grpc::CreateChannel(echo.address(), grpc::InsecureChannelCredentials()));
  const client::BilevelClient client = Connect(server.address());
  const grpc::ByteBuffer message = Zeros(kMessage);
  const int count = static_cast<int>(bytes.size() / kMessage) + 1;
  Row row = RowOf("UploadEnvironment, RAND-4", 1, kUnknown);
  row.states = family.spec.num_states;
  std::vector<double> bare, ours;
  for (int round = 0; round < kRounds && row.missed.empty(); ++round) {
    bare.push_back(Seconds([&] {
      if (!caller.Stream(message, count, 100)) row.missed = "a bare stream failed";
    }));
    v1::DeleteEnvironmentRequest deletion;
    ours.push_back(Seconds([&] {
      const auto response = client.UploadEnvironment(bytes);
      if (!response.ok()) row.missed = response.status().ToString();
      if (response.ok()) deletion.set_name(response->environment().name());
    }));
    if (row.missed.empty() && !client.DeleteEnvironment(deletion).ok()) row.missed = "not deleted";
  }
  row.seconds = Median(ours);
  row.ratio = Median(bare) / row.seconds;
  row.against = "of bare gRPC's bandwidth";
  row.target = 0.45;
  row.at_least = true;
  const auto speed = [&](double seconds) {
    return static_cast<int>(static_cast<double>(bytes.size()) / seconds / 1e6);
  };
  row.note = absl::StrCat(speed(row.seconds), " MB/s, bare ", speed(Median(bare)));
  return {row};
}

}  // namespace bilevel::benchmarks
