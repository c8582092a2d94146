#!/usr/bin/env bash
# generate.sh: package pb from the .proto files, with protoc on the PATH and the Go plugins of today.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
proto=$(cd ../../../proto && pwd)
GOBIN=$PWD/bin go install google.golang.org/protobuf/cmd/protoc-gen-go@latest
GOBIN=$PWD/bin go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@latest
package=()
for file in array problem solution solver_service; do
  package+=("--go_opt=Mbilevel/v1/$file.proto=bilevel.example/pb" "--go-grpc_opt=Mbilevel/v1/$file.proto=bilevel.example/pb")
done
PATH=$PWD/bin:$PATH protoc -I"$proto" --go_out=. --go_opt=module=bilevel.example --go-grpc_out=. \
  --go-grpc_opt=module=bilevel.example "${package[@]}" "$proto"/bilevel/v1/{array,problem,solution,solver_service}.proto
go mod tidy
