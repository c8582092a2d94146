// Environments by name, on the wire and in problems.

#ifndef BILEVEL_SERVER_CONVERT_STORED_ENVIRONMENT_H_
#define BILEVEL_SERVER_CONVERT_STORED_ENVIRONMENT_H_

#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "bilevel/v1/environment_service.pb.h"
#include "bilevel/v1/problem.pb.h"
#include "core/mdp/tabular_mdp.h"
#include "server/environments/environment_store.h"

namespace bilevel::server {

// environments/{64 hex digits} -> the digits. A field error with an empty path.
absl::StatusOr<std::string> DecodeEnvironmentName(const std::string& name);

void EncodeStoredEnvironment(const StoredEnvironment& environment, v1::StoredEnvironment* message);

// [a-z0-9-], 1 to 64 of them. A field error with an empty path.
absl::Status CheckUploadId(const std::string& id);

// The environments that the contexts of a problem name: found once, and held as long as the call needs them.
using NamedEnvironments = std::map<std::string, std::shared_ptr<const TabularMdp>>;

// INVALID_ARGUMENT for what is no name, NOT_FOUND for one that is not in use; both name contexts[i].environment_name.
absl::StatusOr<NamedEnvironments> FindEnvironments(const v1::Problem& problem, const EnvironmentStore& store);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_STORED_ENVIRONMENT_H_
