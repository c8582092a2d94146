#!/usr/bin/env bash
# node_test.sh BUILD SERVER_ADDRESS: client/examples/node with @grpc/grpc-js from the npm registry.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
build=$1/node address=$2
need npm "the Node client"

mkdir -p "$build"
cp "$repository"/client/examples/node/* "$build"
cd "$build"
if [[ ! -d node_modules ]]; then
  npm view --silent --fetch-retries=1 --fetch-timeout=15000 @grpc/grpc-js version >/dev/null ||
    skip "the npm registry cannot be reached, so the Node client was not tried"
  npm install --silent --no-audit --no-fund
fi
exec node hypergradient.js "$address" "$repository/proto"
