#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests: as shipped, under AddressSanitizer + UBSan, and what has threads
# and no gRPC under ThreadSanitizer. --all adds the tests labelled long, the benchmarks, the image and clang-tidy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=false
if [[ "${1:-}" == --all ]]; then all=true; elif (($# > 0)); then echo "usage: tests/run.sh [--all]" >&2; exit 2; fi

docker/install_packages.sh docker/packages.txt tests/packages.txt

echo "== format"
git ls-files -z '*.h' '*.cc' | xargs -0 clang-format-14 --dry-run -Werror
git ls-files -z '*.py' | xargs -0 black --quiet --check --line-length 120 --target-version py39

for preset in release dev tsan; do
  echo "== $preset"
  cmake --preset "$preset" >/dev/null
  cmake --build --preset "$preset"
  ctest --preset "$preset"
  # What a test said when it could not run.
  grep -h '^SKIPPED' ".build/$preset/Testing/Temporary/LastTest.log" || true
done

if $all; then
  echo "== long tests"
  cmake --preset release -DBILEVEL_BUILD_BENCHMARKS=ON >/dev/null
  cmake --build --preset release
  ctest --test-dir .build/release --output-on-failure -L long
  echo "== image"
  docker/build_and_try.sh
  echo "== clang-tidy"
  docker/install_packages.sh <(echo clang-tidy-14)
  # A configuration of its own: each file alone, and clang does not read GCC's precompiled headers.
  cmake --preset release -B .build/tidy -DCMAKE_UNITY_BUILD=OFF -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DBILEVEL_BUILD_BENCHMARKS=ON >/dev/null
  cmake --build .build/tidy --target bilevel_proto
  git ls-files -z '*.cc' | xargs -0 -P "$(nproc)" -n 4 clang-tidy-14 -p .build/tidy --quiet
fi
