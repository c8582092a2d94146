#!/usr/bin/env bash
# Who may include whom: core knows Eigen, Abseil and std; client knows proto; server/jobs knows no gRPC and no protobuf.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=false
forbid() {  # forbid FOLDER REGEX WHY
  if grep -rnE "#include *[<\"]($2)" "$1" --include='*.h' --include='*.cc'; then
    echo "$1: $3" >&2
    failed=true
  fi
}
forbid core 'grpc|google/protobuf|absl/(flags|log)|bilevel/v1|proto/|server/|client/|tests/' 'core includes what it must not know'
forbid client '(core|server|tests)/' 'the client sees proto only'
forbid server 'client/|tests/' 'the server does not know its clients'
forbid server/jobs 'grpc|google/protobuf|bilevel/v1|server/(convert|calls)' 'jobs are free of gRPC and protobuf'
forbid server/environments 'grpc|google/protobuf|bilevel/v1|server/(convert|calls)' 'environments are free of gRPC and protobuf'
forbid server/sessions 'grpc|google/protobuf|bilevel/v1|server/(convert|calls)' 'sessions are free of gRPC and protobuf'

extra=$(git ls-files | cut -d/ -f1 | sort -u | grep -Ev '^(proto|server|client|core|tests|docker|CMakeLists\.txt|CMakePresets\.json|README\.md|LICENSE|\..*)$' || true)
if [[ -n "$extra" ]]; then
  echo "the top level holds more than it should: $extra" >&2
  failed=true
fi
$failed && exit 1
exit 0
