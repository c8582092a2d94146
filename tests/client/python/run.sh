#!/usr/bin/env bash
# run.sh PYTHON BINARIES BUILD [PIP OPTIONS...]: installs client/python for this Python into BUILD/python and runs the
# Python tests with the programs in BINARIES.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$1 binaries=$2 target=$3/python
shift 3

# From a copy, so that nothing is left in the source tree.
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
mkdir -p "$source/client"
cp -r "$here/../../../client/python" "$source/client/"
cp -r "$here/../../../proto" "$source/"
rm -rf "$target"
PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 \
  "$python" -m pip install --quiet --no-deps --target "$target" "$@" "$source/client/python"

export PYTHONPATH=$target PYTHONDONTWRITEBYTECODE=1
export BILEVEL_SERVER_BINARY=$binaries/bilevel_server BILEVEL_BINARY=$binaries/bilevel
exec "$python" -m pytest -q -rs -p no:cacheprovider "$here"
