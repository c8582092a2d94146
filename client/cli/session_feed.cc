#include <algorithm>
#include <atomic>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/feed_progress.h"
#include "client/cli/feed_source.h"
#include "client/cli/interrupt.h"
#include "client/cli/report.h"
#include "client/cli/session_command.h"

namespace bilevel::client {
namespace {

using std::chrono::milliseconds;

// How often a wait looks at Ctrl-C and at the progress line.
constexpr milliseconds kPatience{100};

struct FeedFlags {
  FeedSourceFlags source;
  std::string writer;
  std::optional<int> batch;
  std::optional<absl::Duration> retry_for;
  bool finish = false;
  bool wait = false;
  bool progress = false;

  void AddTo(FlagSet& flags) {
    flags.Add("writer", &writer, "ID", "one of the session's writers; default: \"default\"");
    flags.Add("finish", &finish, "tell the session that no more will come from this writer");
    flags.Add("wait", &wait, "return when the session has learned from all that it accepted");
    flags.Add("batch", &batch, "N", "transitions of a message, at most 8192; default 256");
    flags.Add("retry-for", &retry_for, "DURATION", "how long to look for a lost server; default 10m");
    flags.Add("progress", &progress, "show progress even where standard error is no terminal");
    source.AddTo(flags);
  }
};

bool IsLate(const absl::Status& status) { return status.code() == absl::StatusCode::kDeadlineExceeded; }

// Says, once, that it is another writer's turn or that there is no server, when nothing is accepted for a while.
class WaitNotice {
 public:
  WaitNotice(const BilevelClient& client, const std::string& session, const TrainStream& stream)
      : client_(client), name_(session), stream_(stream) {}

  // Called while something is late.
  void Look() {
    const auto now = std::chrono::steady_clock::now();
    if (const std::uint64_t accepted = stream_.progress().accepted; accepted != accepted_) {
      accepted_ = accepted;
      since_ = now;
    }
    if (told_ || now - since_ < kStallTime) return;
    since_ = now;
    const absl::StatusOr<v1::Session> session = GetSession(client_, name_);
    if (!session.ok()) {
      std::cerr << "note: the server does not answer (" << session.status().message()
                << "); looking for it again and again, for as long as --retry-for says\n";
      told_ = true;
      return;
    }
    if (session->waiting_for().empty()) return;
    std::cerr << "note: the session waits for writer " << session->waiting_for()
              << ", whose turn it is; feed it meanwhile, or let it --finish\n";
    told_ = true;
  }

 private:
  static constexpr milliseconds kStallTime{2000};

  const BilevelClient& client_;
  const std::string name_;
  const TrainStream& stream_;
  std::uint64_t accepted_ = 0;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
  bool told_ = false;
};

class Feeder {
 public:
  Feeder(TrainStream& stream, TransitionSource& source, FeedProgress& progress, WaitNotice& notice,
         const std::atomic<bool>& interrupted)
      : stream_(stream), source_(source), progress_(progress), notice_(notice), interrupted_(interrupted) {}

  // What the server has already, is not sent again.
  absl::Status Skip() {
    for (std::uint64_t n = 1; n <= stream_.accepted_sequence() && !interrupted_; ++n) {
      const absl::StatusOr<std::optional<Transition>> next = source_.Next();
      if (!next.ok()) return next.status();
      if (!next->has_value()) {
        return absl::InvalidArgumentError(absl::StrCat("the session has ", stream_.accepted_sequence(),
                                                       " transitions of this writer, and there are only ", n - 1,
                                                       " here: are they the same?"));
      }
    }
    return absl::OkStatus();
  }

  // What the source gives, until it ends or Ctrl-C. The error is the source's, INVALID_ARGUMENT; the stream's is in its
  // status or rejection.
  absl::Status Append() {
    while (!interrupted_) {
      const absl::StatusOr<std::optional<Transition>> next = source_.Next();
      if (!next.ok()) return next.status();
      if (!next->has_value()) return absl::OkStatus();
      absl::Status appended;
      do {
        appended = stream_.Append(**next, kPatience).status();
        progress_.Show();
        if (IsLate(appended)) notice_.Look();
      } while (IsLate(appended) && !interrupted_);
      if (!appended.ok()) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  // As long as it takes; after Ctrl-C a moment longer.
  absl::Status Complete(bool finish) {
    std::optional<std::chrono::steady_clock::time_point> leave;
    while (true) {
      absl::Status done = finish && !interrupted_ ? stream_.Finish(kPatience) : stream_.Flush(kPatience);
      progress_.Show();
      if (!IsLate(done)) return done;
      notice_.Look();
      if (!interrupted_) continue;
      if (!leave) leave = std::chrono::steady_clock::now() + kLeaveTime;
      if (std::chrono::steady_clock::now() > *leave) return absl::OkStatus();
    }
  }

 private:
  TrainStream& stream_;
  TransitionSource& source_;
  FeedProgress& progress_;
  WaitNotice& notice_;
  const std::atomic<bool>& interrupted_;
};

// With the place in the source, where one transition is to blame.
absl::Status Explain(const absl::Status& status, const TrainStream& stream, const TransitionSource& source) {
  const std::optional<TransitionRejection> rejection = stream.rejection();
  if (!rejection) return status;
  return absl::Status(status.code(),
                      absl::StrCat(source.PlaceOf(rejection->first), ": ", std::string(status.message())));
}

// Until everything accepted is merged. FAILED_PRECONDITION when another writer is waited for, or learning has stopped.
absl::Status WaitUntilMerged(const BilevelClient& client, const std::string& name,
                             const std::atomic<bool>& interrupted) {
  while (!interrupted) {
    const absl::StatusOr<v1::Session> session = GetSession(client, name);
    if (!session.ok()) return session.status();
    if (session->has_failure()) {
      return absl::Status(static_cast<absl::StatusCode>(session->failure().code()), session->failure().message());
    }
    if (session->merged() >= session->accepted()) return absl::OkStatus();
    if (!session->waiting_for().empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the session waits for writer ", session->waiting_for(), "; feed it, or let it --finish"));
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
  return absl::OkStatus();
}

void PrintSummary(const TrainStream& stream, const FeedFlags& flags, bool finished, bool json) {
  const TrainProgress progress = stream.progress();
  const std::uint64_t before = stream.accepted_sequence();
  const std::uint64_t taken = progress.accepted - std::min(before, progress.accepted);
  if (json) {
    std::cout << JsonObject()
                     .Add("writer", flags.writer.empty() ? "default" : flags.writer)
                     .Add("accepted_before", static_cast<double>(before))
                     .Add("accepted", static_cast<double>(progress.accepted))
                     .Add("durable", static_cast<double>(progress.durable))
                     .Add("connections", stream.connections())
                     .AddValue("finished", finished ? "true" : "false")
                     .Pretty();
    return;
  }
  std::string line = absl::StrFormat("%d transitions accepted", taken);
  if (before > 0) line += absl::StrFormat(", after %d that the session had", before);
  if (finished) line += "; the writer has finished";
  std::cout << line << "\n";
}

int Feed(const BilevelClient& client, const FeedFlags& flags, const std::string& name, const std::string& file,
         const GlobalOptions& globals) {
  std::optional<v1::Session> session;
  if (!flags.source.simulate.empty()) {
    // What is wrong without it, the stream says as well.
    if (absl::StatusOr<v1::Session> found = GetSession(client, name); found.ok()) session = *std::move(found);
  }
  absl::StatusOr<std::unique_ptr<TransitionSource>> source = flags.source.Open(file, session, client);
  if (absl::IsInvalidArgument(source.status()) || absl::IsNotFound(source.status())) return UsageError(source.status());
  if (!source.ok()) return Fail(source.status());

  TrainOptions options{.writer = flags.writer};
  if (flags.batch) options.buffer.batch_size = static_cast<std::size_t>(std::max(*flags.batch, 0));
  if (flags.retry_for) options.reconnect.retry_for = absl::ToChronoMilliseconds(*flags.retry_for);
  const milliseconds deadline = globals.deadline ? absl::ToChronoMilliseconds(*globals.deadline) : kOpenDeadline;
  absl::StatusOr<TrainStream> stream = client.Train(name, options, {.deadline = deadline});
  if (!stream.ok()) return Fail(stream.status());

  std::atomic<bool> interrupted = false;
  const OnInterrupt interrupt([&interrupted] { interrupted = true; });
  FeedProgress progress(*stream, flags.progress);
  WaitNotice notice(client, name, *stream);
  Feeder feeder(*stream, **source, progress, notice, interrupted);
  absl::Status wrong = feeder.Skip();
  if (wrong.ok()) wrong = feeder.Append();
  // What precedes a bad row counts.
  const bool finish = flags.finish && wrong.ok();
  absl::Status done = feeder.Complete(finish);
  progress.Finish();
  if (done.ok() && wrong.ok() && flags.wait) done = WaitUntilMerged(client, name, interrupted);
  PrintSummary(*stream, flags, finish && !interrupted && stream->status().ok() && done.ok(), globals.json);
  if (!done.ok()) return Fail(Explain(done, *stream, **source));
  if (!wrong.ok()) return UsageError(wrong);
  if (!interrupted) return kExitOk;
  std::cerr << "interrupted; the same command goes on from there\n";
  return kExitNotConverged;
}

}  // namespace

int RunSessionFeed(GlobalOptions globals, std::span<const std::string> arguments) {
  FeedFlags feed_flags;
  FlagSet flags(
      "session feed NAME [FILE]",
      "Sends one writer's transitions to a session, each exactly once. FILE is CSV whose header names columns\n"
      "(episode, state, action, next_state, kind, ...), or .npy; or --simulate acts in a world that is known.\n"
      "What the session has of this writer is skipped: the same command again goes on where it stopped.");
  feed_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 2, operands, 1)) return *exit;
  const std::string file = operands.size() > 1 ? operands[1] : "";
  if (absl::Status status = feed_flags.source.Check(file); !status.ok()) return UsageError(status);
  if (feed_flags.batch && (*feed_flags.batch < 1 || *feed_flags.batch > 8192)) {
    return UsageError(
        absl::InvalidArgumentError(absl::StrCat("--batch is ", *feed_flags.batch, "; must be in [1, 8192]")));
  }
  BlockInterrupts();
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  return Feed(*client, feed_flags, SessionName(operands[0]), file, globals);
}

}  // namespace bilevel::client
