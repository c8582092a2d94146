#include "client/cli/session_report.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "client/cli/report.h"

namespace bilevel::client {
namespace {

std::string FailureText(const v1::Session& session) {
  if (!session.has_failure()) return "";
  const auto code = static_cast<absl::StatusCode>(session.failure().code());
  return absl::StrCat(absl::StatusCodeToString(code), ": ", session.failure().message());
}

void PrintOuterLoop(const v1::OuterLoopStatus& loop, std::ostream& out) {
  PrintLine("steps", absl::StrFormat("%.0f", loop.steps()), out);
  const auto line = [&out](const char* name, const v1::OuterStep& step) {
    PrintLine(name,
              absl::StrFormat("step %.0f, objective %s +- %s, |gradient| %s +- %s", step.iteration(),
                              Short(step.objective()), Short(step.objective_standard_error()),
                              Short(step.gradient_norm()), Short(step.gradient_norm_error())),
              out);
  };
  if (loop.has_last()) line("last", loop.last());
  if (loop.has_best()) line("best lately", loop.best());
  if (!loop.waiting().empty()) PrintLine("waits", loop.waiting(), out);
  if (loop.has_termination()) PrintTermination(loop.termination(), out);
}

JsonObject PointJson(const v1::OuterStep& step) {
  JsonObject point;
  return point.Add("iteration", step.iteration())
      .Add("parameters", Elements(step.parameters()))
      .Add("objective", step.objective())
      .Add("objective_standard_error", step.objective_standard_error())
      .Add("gradient_norm", step.gradient_norm())
      .Add("gradient_norm_error", step.gradient_norm_error());
}

}  // namespace

std::string FollowerName(v1::Follower follower) {
  return std::string(absl::StripPrefix(v1::Follower_Name(follower), "FOLLOWER_"));
}

std::string DriftText(const v1::Drift& drift) {
  return absl::StrFormat("the %s of context %d drifted, noticed after %.0f transitions (p = %.2g)",
                         drift.what() == v1::Drift::WHAT_POLICY ? "follower" : "world", drift.context(), drift.merged(),
                         drift.p_value());
}

JsonObject SessionJson(const v1::Session& session) {
  JsonObject object;
  object.Add("name", session.name())
      .Add("follower", FollowerName(session.follower()))
      .Add("accepted", session.accepted())
      .Add("merged", session.merged())
      .Add("dropped", session.dropped())
      .Add("policy_version", session.policy_version())
      .Add("next_policy_at", session.next_policy_at())
      .Add("parameters_version", session.parameters_version())
      .Add("parameters", Elements(session.parameters()))
      .Add("waiting_for", session.waiting_for())
      .Add("trajectories", session.trajectories())
      .Add("trajectory_steps", session.trajectory_steps())
      .Add("preferences", session.preferences())
      .Add("reserved_bytes", session.reserved_bytes())
      .Add("failure", FailureText(session))
      .Add("drifts", session.drifts());
  if (session.has_last_drift()) {
    const v1::Drift& drift = session.last_drift();
    object.Add("last_drift",
               JsonObject()
                   .Add("merged", drift.merged())
                   .Add("what", std::string(absl::StripPrefix(v1::Drift::What_Name(drift.what()), "WHAT_")))
                   .Add("context", drift.context())
                   .Add("p_value", drift.p_value())
                   .Add("residual_shift", drift.residual_shift()));
  }
  if (!session.has_outer_loop()) return object;
  const v1::OuterLoopStatus& loop = session.outer_loop();
  JsonObject state;
  state.Add("steps", loop.steps()).Add("waiting", loop.waiting());
  if (loop.has_last()) state.Add("last", PointJson(loop.last()));
  if (loop.has_best()) state.Add("best", PointJson(loop.best()));
  if (loop.has_termination()) AddTermination(loop.termination(), state);
  return object.Add("outer_loop", state);
}

void PrintSessions(std::span<const v1::Session> sessions, std::ostream& out) {
  out << absl::StrFormat("%-24s %12s %12s %8s %8s %4s  %s\n", "name", "accepted", "merged", "dropped", "policy", "x",
                         "waiting for");
  for (const v1::Session& session : sessions) {
    out << absl::StrFormat("%-24s %12.0f %12.0f %8.0f %8.0f %4.0f  %s\n", session.name(), session.accepted(),
                           session.merged(), session.dropped(), session.policy_version(), session.parameters_version(),
                           session.has_failure() ? FailureText(session) : session.waiting_for());
  }
}

void PrintSession(const v1::Session& session, std::ostream& out) {
  const auto line = [&out](const char* name, const std::string& value) { PrintLine(name, value, out); };
  line("session", session.name());
  line("follower", FollowerName(session.follower()));
  line("transitions", absl::StrFormat("%.0f accepted, %.0f merged, %.0f dropped", session.accepted(), session.merged(),
                                      session.dropped()));
  std::string policy =
      session.policy_version() > 0 ? absl::StrFormat("version %.0f", session.policy_version()) : "none yet";
  if (session.next_policy_at() > 0) {
    policy += absl::StrFormat(", the next at %.0f merged transitions", session.next_policy_at());
  }
  line("policy", policy);
  line("x", absl::StrFormat("version %.0f, %s", session.parameters_version(),
                            Counted(static_cast<int>(Elements(session.parameters()).size()), "parameter")));
  if (session.trajectories() > 0) {
    line("trajectories", absl::StrFormat("%.0f, of %.0f steps", session.trajectories(), session.trajectory_steps()));
  }
  if (session.drifts() > 0) {
    line("drift", absl::StrCat(Counted(static_cast<int>(session.drifts()), "alarm"),
                               "; last: ", DriftText(session.last_drift())));
  }
  if (session.preferences() > 0) line("preferences", absl::StrFormat("%.0f", session.preferences()));
  if (session.has_outer_loop()) PrintOuterLoop(session.outer_loop(), out);
  if (!session.waiting_for().empty()) line("waiting for", session.waiting_for());
  line("memory", absl::StrFormat("at most %.3g MB", session.reserved_bytes() / 1e6));
  if (session.has_failure()) line("stopped", FailureText(session));
}

}  // namespace bilevel::client
