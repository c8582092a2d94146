#include "server/chunk_reactor.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <new>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "server/calls/calls.h"
#include "server/convert/error.h"
#include "server/convert/in_field.h"
#include "server/convert/parsed_size.h"
#include "server/convert/stored_environment.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"
#include "server/unary_reactor.h"

namespace bilevel::server {
namespace {

// Of parsing, about, where most of a request is arrays. One of nothing but empty messages takes a hundred
// times as long, up to where the memory budget ends.
constexpr double kSecondsForByte = 1e-9;

// Blocks as one stream.
class BlockStream {
 public:
  explicit BlockStream(const std::vector<std::string>& blocks) {
    for (const std::string& block : blocks) {
      blocks_.emplace_back(block.data(), static_cast<int>(block.size()));
      streams_.push_back(&blocks_.back());
    }
    whole_.emplace(streams_.data(), static_cast<int>(streams_.size()));
  }
  google::protobuf::io::ZeroCopyInputStream* get() { return &*whole_; }

 private:
  std::deque<google::protobuf::io::ArrayInputStream> blocks_;
  std::vector<google::protobuf::io::ZeroCopyInputStream*> streams_;
  std::optional<google::protobuf::io::ConcatenatingInputStream> whole_;
};

absl::Status CheckChunk(const v1::CallChunk& chunk) {
  if (chunk.data().size() <= kMaxPieceBytes) return absl::OkStatus();
  return FieldError("data", absl::StrCat("has ", chunk.data().size(), " bytes; at most ", kMaxPieceBytes));
}

}  // namespace

ChunkReactor::ChunkReactor(Dispatcher& dispatcher, const EnvironmentStore& environments, RequestIntake& intake,
                           PaceWatch& answers, const grpc::CallbackServerContext& context)
    : dispatcher_(dispatcher),
      environments_(environments),
      intake_(intake),
      answers_(answers),
      context_(context),
      deadline_(DeadlineOf(context)),
      link_(std::make_shared<Link>()),
      // With what comes beside the data.
      chunk_bytes_(
          static_cast<size_t>(std::min<int64_t>(kMaxPieceBytes, dispatcher.options().limits.message_bytes - 64))) {
  link_->reactor = this;
  StartRead(&chunk_);
}

void ChunkReactor::OnReadDone(bool ok) {
  // A failed allocation ends the call, not the server.
  absl::Status status;
  try {
    status = ok ? Take(chunk_) : Start();
  } catch (const std::bad_alloc&) {
    status = OutOfMemory();
  } catch (const std::exception& error) {
    status = absl::InternalError(error.what());
  }
  if (!status.ok()) {
    Refuse(status);
  } else if (ok) {
    StartRead(&chunk_);
  }
}

absl::Status ChunkReactor::Take(const v1::CallChunk& chunk) {
  if (arrival_ == nullptr) {
    RETURN_IF_ERROR(Open(chunk));
  } else if (!chunk.method().empty()) {
    return FieldError("method", absl::StrCat("is \"", chunk.method(), "\" in a later chunk; the first alone has it"));
  } else if (chunk.total_bytes() != 0) {
    return FieldError("total_bytes", absl::StrCat("is ", chunk.total_bytes(),
                                                  " in a later chunk; the first alone has it, and a call one request"));
  }
  RETURN_IF_ERROR(CheckChunk(chunk));
  return arrival_->Take(chunk.data());
}

absl::Status ChunkReactor::Open(const v1::CallChunk& first) {
  begin_ = FindMethod(first.method());
  if (begin_ == nullptr) {
    const std::string is = first.method().empty() ? "is absent" : absl::StrCat("is \"", first.method(), "\"");
    return FieldError("method", absl::StrCat(is,
                                             "; the first chunk must name SolveLowerLevel, EvaluateHypergradient, "
                                             "Pullback, CheckGradient or Optimize"));
  }
  const uint64_t total_bytes = first.total_bytes();
  if (total_bytes > kMaxChunkedBytes) {
    return FieldError("total_bytes", absl::StrCat("is ", total_bytes, "; at most ", kMaxChunkedBytes));
  }
  RETURN_IF_ERROR(CheckChunk(first));
  // What will be refused need not come.
  RETURN_IF_ERROR(dispatcher_.budget().CheckFits(LeastBytes(static_cast<double>(total_bytes))));
  ASSIGN_OR_RETURN(arrival_, intake_.Open(total_bytes, [link = link_] {
    const std::lock_guard lock(link->mutex);
    if (link->reactor == nullptr) return;
    link->reactor->Refuse(RequestIntake::TooSlow());
  }));
  return absl::OkStatus();
}

absl::Status ChunkReactor::Start() {
  if (arrival_ == nullptr) return FieldError("method", "is absent; the first chunk names it, and there is none");
  ASSIGN_OR_RETURN(whole_, arrival_->Finish());
  std::shared_ptr<CallState> call = dispatcher_.OpenCall(deadline_);
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return absl::CancelledError("the caller is gone");
    call_ = call;
  }
  const Cost parsing{.bytes = 0, .seconds = kSecondsForByte * whole_.reservation.bytes(), .response_bytes = 0};
  return dispatcher_.SubmitAt(
      parsing, /*interactive=*/true, std::move(call), [this](const Run&) { return (this->*begin_)(); },
      [this](const absl::Status& status) {
        if (!status.ok()) End(status);
      });
}

void ChunkReactor::Refuse(const absl::Status& status) {
  if (!refused_.exchange(true)) Finish(ToGrpcStatus(status));
}

ChunkReactor::Begin ChunkReactor::FindMethod(std::string_view name) {
  if (name == "SolveLowerLevel") {
    return &ChunkReactor::BeginOne<v1::SolveLowerLevelRequest, v1::SolveLowerLevelResponse, &server::SolveLowerLevel>;
  }
  if (name == "EvaluateHypergradient") {
    return &ChunkReactor::BeginOne<v1::EvaluateHypergradientRequest, v1::EvaluateHypergradientResponse,
                                   &server::EvaluateHypergradient>;
  }
  if (name == "Pullback") {
    return &ChunkReactor::BeginOne<v1::PullbackRequest, v1::PullbackResponse, &server::Pullback>;
  }
  if (name == "CheckGradient") {
    return &ChunkReactor::BeginOne<v1::CheckGradientRequest, v1::CheckGradientResponse, &server::CheckGradient>;
  }
  if (name == "Optimize") return &ChunkReactor::BeginOptimize;
  return nullptr;
}

template <typename Request>
absl::Status ChunkReactor::Parse(Request& request) {
  const RequestIntake::Whole whole = std::move(whole_);
  const absl::Status garbage =
      FieldError("data", absl::StrCat("is not a ", request.GetTypeName(), ": ",
                                      static_cast<int64_t>(whole.reservation.bytes()), " bytes that do not parse"));
  // Twice what may be, so that a refusal names more than that.
  const ScanLimits limits{.most = 2 * dispatcher_.budget().limit(), .abandoned = [this] { return call_->abandoned(); }};
  const std::optional<double> parsed_bytes = ParsedBytes(request, BlockStream(whole.blocks).get(), limits);
  if (call_->abandoned()) return absl::CancelledError("the caller is gone");
  if (!parsed_bytes.has_value()) return garbage;
  ASSIGN_OR_RETURN(reservation_, dispatcher_.budget().Reserve(*parsed_bytes));
  return request.ParseFromZeroCopyStream(BlockStream(whole.blocks).get()) ? absl::OkStatus() : garbage;
}

template <typename Request>
absl::Status ChunkReactor::Submit(const Request& request, bool interactive, Dispatcher::Work work) {
  ASSIGN_OR_RETURN(NamedEnvironments environments,
                   InField("problem", FindEnvironments(request.problem(), environments_)));
  // The estimate counts the message about as large as it is on the wire.
  reservation_.Shrink(std::max(0.0, reservation_.bytes() - 2 * static_cast<double>(request.ByteSizeLong())));
  return dispatcher_.Submit(
      request, std::move(environments), interactive, call_, std::move(work),
      [this](const absl::Status& status) { End(status); }, /*in_chunks=*/true);
}

template <typename Request, typename Response, absl::Status (*kCall)(const Request&, const Run&, Response*)>
absl::Status ChunkReactor::BeginOne() {
  auto owned = std::make_unique<Request>();
  Request& request = *owned;
  request_ = std::move(owned);
  RETURN_IF_ERROR(Parse(request));
  return Submit(request, /*interactive=*/true, [this, &request](const Run& run) -> absl::Status {
    Response response;
    RETURN_IF_ERROR(kCall(request, run, &response));
    return Keep(run, response);
  });
}

absl::Status ChunkReactor::BeginOptimize() {
  auto owned = std::make_unique<v1::OptimizeRequest>();
  v1::OptimizeRequest& request = *owned;
  request_ = std::move(owned);
  RETURN_IF_ERROR(Parse(request));
  return Submit(request, /*interactive=*/false, [this, &request](const Run& run) -> absl::Status {
    v1::OptimizeEvent last;
    const auto report = [this](const v1::OptimizeEvent& event) {
      std::string bytes = event.SerializeAsString();
      progress_bytes_ = std::max(progress_bytes_, bytes.size());
      Do(slot_.PutProgress(std::move(bytes)));
    };
    RETURN_IF_ERROR(server::Optimize(request, run, report, &last));
    return Keep(run, last);
  });
}

// The last answer, and progress that is being written, is all that the call holds from now on.
template <typename Message>
absl::Status ChunkReactor::Keep(const Run& run, const Message& last) {
  if (!last.SerializeToString(&last_)) {
    return MakeRefusal(absl::StatusCode::kResourceExhausted,
                       {.reason = reasons::kResponseTooLarge,
                        .subject = "total_bytes",
                        .description = absl::StrCat("the response has ", last.ByteSizeLong(),
                                                    " bytes and chunks can bring ", kMaxChunkedBytes),
                        .retry_delay = std::nullopt});
  }
  request_.reset();
  reservation_ = run.KeepMemory(static_cast<double>(last_.size() + progress_bytes_));
  return absl::OkStatus();
}

void ChunkReactor::End(const absl::Status& status) {
  status_ = ToGrpcStatus(status);
  going_ = answers_.Watch([link = link_] {
    const std::lock_guard lock(link->mutex);
    if (link->reactor != nullptr) link->reactor->context_.TryCancel();
  });
  Do(status.ok() ? slot_.PutEnd(std::move(last_)) : slot_.PutEnd(std::nullopt));
}

// After an end `this` may be gone.
void ChunkReactor::Do(Slot::Action action) {
  switch (action) {
    case Slot::Action::kNothing:
      break;
    case Slot::Action::kWriteLast:
      writing_last_ = true;
      [[fallthrough]];
    case Slot::Action::kWrite:
      sent_ = 0;
      WriteNext();
      break;
    case Slot::Action::kEnd:
      Finish(status_);
      break;
  }
}

void ChunkReactor::WriteNext() {
  const std::string& message = slot_.in_flight();
  chunk_.Clear();
  if (sent_ == 0) chunk_.set_total_bytes(message.size());
  const size_t size = std::min(chunk_bytes_, message.size() - sent_);
  chunk_.set_data(message.data() + sent_, size);
  sent_ += size;
  StartWrite(&chunk_);
}

void ChunkReactor::OnWriteDone(bool ok) {
  if (writing_last_) going_->Move(chunk_.data().size());
  if (ok && sent_ < slot_.in_flight().size()) {
    WriteNext();
  } else if (!writing_last_) {
    Do(slot_.OnWritten(ok));
  } else {
    Finish(ok ? status_ : grpc::Status(grpc::StatusCode::CANCELLED, "the caller is gone"));
  }
}

void ChunkReactor::OnCancel() {
  std::shared_ptr<CallState> call;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    call = call_;
  }
  if (call != nullptr) call->Cancel();
}

void ChunkReactor::OnDone() {
  {
    const std::lock_guard lock(link_->mutex);
    link_->reactor = nullptr;
  }
  delete this;
}

}  // namespace bilevel::server
