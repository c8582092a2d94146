// Preferences as they are sent -> as core resolves them.

#ifndef BILEVEL_SERVER_CONVERT_PREFERENCE_H_
#define BILEVEL_SERVER_CONVERT_PREFERENCE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/session_service.pb.h"
#include "server/sessions/session.h"

namespace bilevel::server {

// Field errors relative to the request.
absl::StatusOr<std::vector<PreferenceSource>> DecodePreferences(const v1::AddPreferencesRequest& request,
                                                                const Session& session);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_PREFERENCE_H_
