// The sessions of a server, by name, within a cap.

#ifndef BILEVEL_SERVER_SESSIONS_SESSION_REGISTRY_H_
#define BILEVEL_SERVER_SESSIONS_SESSION_REGISTRY_H_

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/jobs/memory_budget.h"
#include "server/sessions/session.h"

namespace bilevel::server {

class SessionRegistry {
 public:
  // budget must outlive this. most: sessions at a time.
  SessionRegistry(MemoryBudget& budget, size_t most) : budget_(budget), most_(most) {}
  ~SessionRegistry() { StopAll(); }

  // Starts a session that may come to hold `bytes`, and names it: `id`, or when that is empty s1, s2, ... .
  // ALREADY_EXISTS for a name in use, RESOURCE_EXHAUSTED for too many sessions or too little memory, UNAVAILABLE after
  // DrainAll or StopAll, or what Session::Start says.
  struct Named {
    std::string id;
    std::shared_ptr<Session> session;
  };
  // make: the learner, once the memory is reserved.
  using MakeLearner = std::function<absl::StatusOr<SessionLearner>()>;
  absl::StatusOr<Named> Create(const std::string& id, const MakeLearner& make, const SessionOptions& options,
                               double bytes);

  // Whether so much memory could be had at all.
  absl::Status CheckFits(double bytes) const { return budget_.CheckFits(bytes); }

  // NOT_FOUND for a name that is not in use.
  absl::StatusOr<std::shared_ptr<Session>> Find(const std::string& id) const;

  // In order of names.
  std::vector<Named> List() const;

  // The session stops; its memory is free once nobody holds it any more.
  absl::Status Delete(const std::string& id);

  // The server will stop: all streams are told, and no session begins.
  void DrainAll();

  void StopAll();

 private:
  MemoryBudget& budget_;
  const size_t most_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Session>> sessions_;
  uint64_t last_ = 0;
  bool draining_ = false;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_SESSIONS_SESSION_REGISTRY_H_
