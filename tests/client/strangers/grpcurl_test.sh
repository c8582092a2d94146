#!/usr/bin/env bash
# grpcurl_test.sh BUILD BILEVEL SERVER_ADDRESS: the lines of client/README.md for grpcurl, over reflection.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
build=$1/grpcurl bilevel=$2 address=$3
need go "grpcurl"
mkdir -p "$build/bin"
if [[ ! -x $build/bin/grpcurl ]]; then
  GOBIN=$build/bin go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest ||
    skip "the Go module proxy cannot be reached, so grpcurl was not tried"
fi
PATH=$build/bin:$(dirname "$bilevel"):$PATH

check() { grep -Eq "$1" "$build/out" || { echo "no /$1/ in:" && cat "$build/out" && exit 1; }; }

grpcurl -plaintext "$address" list >"$build/out"
check '^bilevel\.v1\.SolverService$'
echo "{\"problem\": $(bilevel example two-state)}" >"$build/request.json"
grpcurl -plaintext -d @ "$address" bilevel.v1.SolverService/EvaluateHypergradient <"$build/request.json" >"$build/out"
check '"objective": 0\.5,'
sed 's/"discount": 0.5/"discount": 1/' "$build/request.json" >"$build/bad.json"
grpcurl -plaintext -d @ "$address" bilevel.v1.SolverService/EvaluateHypergradient <"$build/bad.json" >"$build/out" 2>&1 &&
  { echo "a bad request was taken" && exit 1; }
check 'Code: InvalidArgument'
check 'problem\.contexts\[0\]\.discount: is 1; must be in \[0, 1\)'

# The canonical details, where the googleapis are at hand (node_test.sh brings them).
googleapis=$1/node/node_modules/google-proto-files
if [[ ! -d $googleapis ]]; then
  echo "SKIPPED: no googleapis at hand, so the error details of grpcurl were not decoded"
  exit 0
fi
grpcurl -plaintext -use-reflection -import-path "$googleapis" -proto google/rpc/error_details.proto -d @ "$address" \
  bilevel.v1.SolverService/EvaluateHypergradient <"$build/bad.json" >"$build/out" 2>&1 || true
check '"reason": "INVALID_FIELD"'
check '"field": "problem\.contexts\[0\]\.discount"'
