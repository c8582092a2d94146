#!/usr/bin/env bash
# go_test.sh BUILD SERVER_ADDRESS: client/examples/go with grpc-go from the Go module proxy.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
build=$1/go address=$2
need go "the Go client"
need protoc "the Go client"
if ! go version | grep -Eq 'go1\.(2[4-9]|[3-9][0-9])'; then skip "$(go version) is older than 1.24, so the Go client was not tried"; fi

# As in the repository: generate.sh looks for the .proto files beside client/.
rm -rf "$build/client" "$build/proto"
mkdir -p "$build/client/examples"
cp -r "$repository/client/examples/go" "$build/client/examples/"
cp -r "$repository/proto" "$build/"
cd "$build/client/examples/go"
go list -m google.golang.org/grpc@latest >/dev/null ||
  skip "the Go module proxy cannot be reached, so the Go client was not tried"
./generate.sh
exec go run . "$address"
