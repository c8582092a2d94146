#!/usr/bin/env bash
# run_current.sh BINARIES BUILD: the Python tests with today's grpcio, protobuf, NumPy, JAX and Gymnasium from PyPI, in an
# environment of their own. Exit code 77: PyPI cannot be reached. PyTorch stays out: its wheels bring GPU libraries.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binaries=$1 build=$2
environment=$build/venv

if [[ ! -f $environment/complete ]]; then
  rm -rf "$environment"
  /usr/bin/python3 -m venv "$environment"
  if ! "$environment/bin/pip" download --quiet --disable-pip-version-check --timeout 15 --retries 1 --no-deps \
    --dest "$build" iniconfig; then
    echo "SKIPPED: PyPI cannot be reached, so JAX, Gymnasium and the current grpcio were not tried"
    exit 77
  fi
  "$environment/bin/pip" install --quiet --disable-pip-version-check \
    grpcio grpcio-tools protobuf numpy scipy jax gymnasium matplotlib pytest tqdm setuptools wheel
  touch "$environment/complete"
fi
exec "$here/run.sh" "$environment/bin/python" "$binaries" "$build" --no-build-isolation
