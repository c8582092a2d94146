// `bilevel env upload`.

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/env_command.h"
#include "client/cli/environment_data.h"
#include "client/cli/input.h"
#include "client/cli/interrupt.h"
#include "client/cli/problem_json.h"
#include "client/cli/report.h"
#include "client/cli/upload_progress.h"

namespace bilevel::client {
namespace {

struct UploadFlags {
  std::optional<int> actions;
  std::optional<int> context;
  std::string upload_id;
  bool print_problem = false;
  bool single_precision = false;
  bool progress = false;

  void AddTo(FlagSet& flags) {
    flags.Add("actions", &actions, "A", "how many actions: rows of a matrix [S*A, S] do not say it");
    flags.Add("context", &context, "I", "of a problem, whose environment; default 0");
    flags.Add("print-problem", &print_problem,
              "upload all environments of the problem, and print it with their names in their places");
    flags.Add("single-precision", &single_precision,
              "send probabilities as binary32, which is how the server keeps them: half their memory, off by 1e-7");
    flags.Add("upload-id", &upload_id, "ID",
              "which upload to go on with, [a-z0-9-]; default: made of this machine, user, file, its size and time");
    flags.Add("progress", &progress, "show progress even where standard error is no terminal");
  }
};

// FNV-1a, 64 bits.
std::uint64_t Hash(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// The same for the same file as it is, on this machine, for this user.
std::string DefaultUploadId(const std::string& file, const std::string& text) {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  std::string identity = absl::StrCat(host, "\n", getuid(), "\n", text, "\n");
  struct stat about {};
  if (file != "-" && stat(file.c_str(), &about) == 0) {
    absl::StrAppend(&identity, about.st_dev, " ", about.st_ino, " ", about.st_size, " ", about.st_mtim.tv_sec, " ",
                    about.st_mtim.tv_nsec);
  }
  return absl::StrFormat("cli-%016x", Hash(identity));
}

bool IsMatrixFile(const std::string& file) { return file.ends_with(".npz") || file.ends_with(".mtx"); }

// The environments of a file, and the problem that they come from, where they do.
class Source {
 public:
  static absl::StatusOr<Source> Open(const std::string& file, const UploadFlags& flags) {
    Source source(file, flags);
    if (absl::Status status = source.Check(); !status.ok()) return status;
    if (source.matrix_) return source;
    absl::StatusOr<v1::Problem> problem = ReadProblemOrEnvironment(file);
    if (!problem.ok()) return problem.status();
    source.problem_ = *std::move(problem);
    const int context = flags.context.value_or(0);
    if (context < 0 || context >= source.problem_.contexts_size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--context is ", context, "; the problem has ", source.problem_.contexts_size(), " contexts"));
    }
    return source;
  }

  absl::StatusOr<EnvironmentData> Read(int context) const {
    absl::StatusOr<EnvironmentData> data = ReadAsItIs(context);
    if (!data.ok() || !flags_.single_precision) return data;
    if (absl::Status status = ToSinglePrecision(*data); !status.ok()) {
      return absl::ResourceExhaustedError(absl::StrCat(file_, " ", status.message()));
    }
    return data;
  }

  std::string DefaultId() const {
    return DefaultUploadId(file_, absl::StrCat(flags_.actions.value_or(0), flags_.single_precision ? " f32\n" : "\n",
                                               file_ == "-" ? problem_.SerializeAsString() : std::string()));
  }

  v1::Problem& problem() { return problem_; }

 private:
  Source(std::string file, const UploadFlags& flags)
      : file_(std::move(file)), flags_(flags), matrix_(IsMatrixFile(file_)) {}

  absl::StatusOr<EnvironmentData> ReadAsItIs(int context) const {
    if (file_.ends_with(".npz")) return ReadNpzEnvironment(file_, flags_.actions);
    if (file_.ends_with(".mtx")) return ReadMtxEnvironment(file_, flags_.actions);
    const v1::Context& message = problem_.contexts(context);
    const std::string place =
        absl::StrCat(file_ == "-" ? "standard input" : file_, ": problem.contexts[", context, "]");
    if (!message.has_environment()) {
      return absl::InvalidArgumentError(absl::StrCat(
          place, message.environment_name().empty() ? " has no environment" : " names its environment already"));
    }
    absl::StatusOr<EnvironmentData> data = ToEnvironmentData(message.environment());
    if (data.ok()) return data;
    return absl::Status(data.status().code(),
                        absl::StrCat(place, ".environment.", std::string(data.status().message())));
  }

  absl::Status Check() const {
    if (matrix_ && (flags_.context || flags_.print_problem)) {
      return absl::InvalidArgumentError("--context and --print-problem belong to problems");
    }
    if (!matrix_ && flags_.actions) {
      return absl::InvalidArgumentError("--actions belongs to .npz and .mtx files");
    }
    if (flags_.context && flags_.print_problem) {
      return absl::InvalidArgumentError("--print-problem uploads the environments of all contexts, without --context");
    }
    return absl::OkStatus();
  }

  std::string file_;
  UploadFlags flags_;
  bool matrix_;
  v1::Problem problem_;
};

class Uploader {
 public:
  Uploader(const BilevelClient& client, bool progress, std::string id)
      : client_(client), id_(std::move(id)), progress_(progress), interrupt_([this] { Leave(); }) {}

  // suffix: of the id, where there are several uploads.
  absl::StatusOr<v1::UploadEnvironmentResponse> Upload(const EnvironmentData& data, const std::string& suffix) {
    const absl::StatusOr<EnvironmentBytes> bytes = EnvironmentBytes::Create(data.arrays());
    if (!bytes.ok()) return bytes.status();
    UploadOptions options;
    options.upload_id = id_ + suffix;
    options.progress = [this](std::uint64_t sent, std::uint64_t total) { progress_.Show(sent, total); };
    return client_.UploadEnvironment(*bytes, options);
  }

  void Announce(const std::string& what) { progress_.Announce(what); }
  void Finish() { progress_.Finish(); }

  // How to go on, where the connection was lost.
  int FailToUpload(const absl::Status& status) {
    progress_.Finish();
    const int code = Fail(status);
    if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) {
      std::cerr << "the same command goes on from there, within ten minutes (--upload-id " << id_ << ")\n";
    }
    return code;
  }

 private:
  // Ctrl-C. The server notices that the stream has ended, and keeps what has arrived.
  [[noreturn]] void Leave() {
    progress_.Finish();
    if (progress_.total() == 0) {
      std::cerr << "interrupted before anything was sent\n";
    } else {
      std::cerr << "interrupted at " << Bytes(static_cast<double>(progress_.sent())) << " of "
                << Bytes(static_cast<double>(progress_.total()))
                << "; the same command goes on from there, within ten minutes (--upload-id " << id_ << ")\n";
    }
    std::_Exit(kExitNotConverged);
  }

  const BilevelClient& client_;
  const std::string id_;
  UploadProgress progress_;
  const OnInterrupt interrupt_;
};

void Print(const v1::UploadEnvironmentResponse& response, const std::string& id, bool json) {
  const v1::StoredEnvironment& environment = response.environment();
  if (json) {
    std::cout << EnvironmentJson(environment)
                     .AddValue("existed", response.existed() ? "true" : "false")
                     .Add("upload_id", id)
                     .Pretty();
    return;
  }
  std::cout << environment.name() << "\n"
            << EnvironmentSizes(environment) << (response.existed() ? "; the server had it already" : "") << "\n";
}

// All environments of the problem, which then names them.
int UploadAll(Source& source, Uploader& uploader) {
  for (int c = 0; c < source.problem().contexts_size(); ++c) {
    v1::Context& context = *source.problem().mutable_contexts(c);
    if (!context.environment_name().empty()) continue;
    const absl::StatusOr<EnvironmentData> data = source.Read(c);
    if (!data.ok()) return UsageError(data.status());
    const absl::StatusOr<v1::UploadEnvironmentResponse> response = uploader.Upload(*data, absl::StrCat("-", c));
    if (!response.ok()) return uploader.FailToUpload(response.status());
    if (context.environment().has_grid()) {
      std::cerr << "note: the map of context " << c << " stays behind; `bilevel show` needs the problem as it was\n";
    }
    context.set_environment_name(response->environment().name());
  }
  uploader.Finish();
  const absl::StatusOr<std::string> json = ProblemJson(source.problem());
  if (!json.ok()) return Fail(json.status());
  std::cout << *json;
  return kExitOk;
}

}  // namespace

int RunEnvUpload(GlobalOptions globals, std::span<const std::string> arguments) {
  UploadFlags upload_flags;
  FlagSet flags(
      "env upload FILE",
      "Sends an environment to the server, which keeps it in memory, and prints its name. FILE is an .npz with\n"
      "`indptr`, `indices`, `data` and `shape` of a CSR matrix [S*A, S], as scipy.sparse.save_npz writes it, or with\n"
      "`transitions`, [S, A, S] or [S*A, S]; beside them `num_actions`, `termination_probability` [S, A],\n"
      "`available_actions` [S, A] and `initial_distribution` [S]. Or a Matrix Market .mtx, [S*A, S]; or a problem, or\n"
      "an environment, as JSON. What was interrupted, the same command goes on with.");
  upload_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  absl::StatusOr<Source> source = Source::Open(operands[0], upload_flags);
  if (!source.ok()) return UsageError(source.status());
  BlockInterrupts();
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  // Before anything large is read: an upload waits for a server that is not there.
  if (const auto listed = client->ListEnvironments(); !listed.ok()) return Fail(listed.status());
  const std::string id = upload_flags.upload_id.empty() ? source->DefaultId() : upload_flags.upload_id;
  Uploader uploader(*client, upload_flags.progress, id);
  if (upload_flags.print_problem) return UploadAll(*source, uploader);
  uploader.Announce(absl::StrCat("reading ", operands[0]));
  const absl::StatusOr<EnvironmentData> data = source->Read(upload_flags.context.value_or(0));
  if (!data.ok()) {
    uploader.Finish();
    return UsageError(data.status());
  }
  const std::string suffix = upload_flags.context ? absl::StrCat("-", *upload_flags.context) : "";
  const absl::StatusOr<v1::UploadEnvironmentResponse> response = uploader.Upload(*data, suffix);
  if (!response.ok()) return uploader.FailToUpload(response.status());
  uploader.Finish();
  Print(*response, id, globals.json);
  return kExitOk;
}

}  // namespace bilevel::client
