#include "server/sessions/session_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

absl::Status Unknown(const std::string& id) {
  return absl::NotFoundError(
      absl::StrCat("sessions/", id, " does not exist; sessions end with the server that holds them"));
}

}  // namespace

absl::StatusOr<SessionRegistry::Named> SessionRegistry::Create(const std::string& id, const MakeLearner& make,
                                                               const SessionOptions& options, double bytes) {
  ASSIGN_OR_RETURN(MemoryBudget::Reservation reservation, budget_.Reserve(bytes));
  ASSIGN_OR_RETURN(SessionLearner learner, make());
  const std::lock_guard lock(mutex_);
  if (draining_) return absl::UnavailableError("the server is stopping");
  if (sessions_.size() >= most_) {
    return MakeRefusal(absl::StatusCode::kResourceExhausted,
                       {.reason = reasons::kSessionLimit,
                        .subject = "sessions",
                        .description = absl::StrCat(sessions_.size(),
                                                    " sessions are open, as many as this server "
                                                    "keeps; delete one, or start it with a higher --max_sessions"),
                        .retry_delay = std::nullopt});
  }
  std::string name = id;
  while (name.empty() || (id.empty() && sessions_.contains(name))) name = absl::StrCat("s", ++last_);
  if (sessions_.contains(name)) return absl::AlreadyExistsError(absl::StrCat("sessions/", name, " exists"));
  SessionOptions with_size = options;
  with_size.reserved_bytes = bytes;
  ASSIGN_OR_RETURN(std::shared_ptr<Session> session,
                   Session::Start(std::move(learner), with_size, std::move(reservation)));
  sessions_.emplace(name, session);
  return Named{std::move(name), std::move(session)};
}

absl::StatusOr<std::shared_ptr<Session>> SessionRegistry::Find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return Unknown(id);
  return found->second;
}

std::vector<SessionRegistry::Named> SessionRegistry::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<Named> list;
  for (const auto& [id, session] : sessions_) list.push_back({id, session});
  return list;
}

absl::Status SessionRegistry::Delete(const std::string& id) {
  std::shared_ptr<Session> session;
  {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) return Unknown(id);
    session = std::move(found->second);
    sessions_.erase(found);
  }
  session->Stop();
  return absl::OkStatus();
}

void SessionRegistry::DrainAll() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  for (const Named& named : List()) named.session->Drain();
}

void SessionRegistry::StopAll() {
  std::map<std::string, std::shared_ptr<Session>> sessions;
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    sessions.swap(sessions_);
  }
  for (auto& [id, session] : sessions) session->Cancel();
  for (auto& [id, session] : sessions) session->Stop(StreamEnd::kServerStops);
}

}  // namespace bilevel::server
