#!/usr/bin/env bash
# Builds the image without a container engine, starts the server in it, and drives it with the image's own `bilevel`.
# Enough on a fresh Debian 12, as root or with sudo. What it builds stays in .build/image, so that the next run repeats
# only what changed; remove that directory to start afresh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

size_limit_mb=300

# A store of its own: neither the machine's images nor its configuration of storage matter.
buildah() {
  command buildah --storage-driver vfs --root "$PWD/.build/image/store" --runroot "$PWD/.build/image/run" "$@"
}

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# Debian's package sources and the settings for fetching (proxies, checks), as this machine has them.
read_apt_settings() {
  # shellcheck disable=SC2016  # apt-get expands them
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' 'Origin: Debian' |
    grep ' bookworm' | sort -u >.build/image/sources.list || fail "apt knows no sources of Debian 12; try apt-get update"
  apt-config dump --no-empty Acquire |
    grep -vE '^Acquire::(cdrom|Changelogs|CompressionTypes|IndexTargets)' >.build/image/apt.conf || true
}

# What debian:bookworm-slim is: Debian's essential packages and apt, without documentation and translations.
build_base() {
  local tarball container options=()
  tarball=$(mktemp --suffix=.tar)
  # shellcheck disable=SC2064
  trap "rm -f '$tarball'" RETURN
  for directory in doc info locale man; do options+=(--dpkgopt="path-exclude=/usr/share/$directory/*"); done
  # shellcheck disable=SC2016  # mmdebstrap expands $1
  if grep -q ' https:' .build/image/sources.list; then
    options+=(--customize-hook='cd /etc/ssl/certs && install -D -m 644 ca-certificates.crt "$1$PWD/ca-certificates.crt"')
  fi
  # shellcheck disable=SC2016
  mmdebstrap --quiet --variant=apt --include=usr-is-merged --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --aptopt=.build/image/apt.conf "${options[@]}" --customize-hook='rm -f "$1/etc/resolv.conf" "$1/etc/hostname"' \
    --skip=output/dev bookworm "$tarball" - <.build/image/sources.list
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$tarball" / >/dev/null
  buildah commit --quiet --rm "$container" "$1" >/dev/null
}

build_image() {
  local base lock
  docker/install_packages.sh <(printf '%s\n' buildah iproute2 mmdebstrap procps)
  mkdir -p .build/image
  exec {lock}>.build/image/lock
  flock --nonblock "$lock" || fail "another run is at work in .build/image"
  buildah rm --all >/dev/null  # what an interrupted run left
  read_apt_settings
  base=localhost/bilevel-base:$(cat .build/image/sources.list .build/image/apt.conf | sha256sum | head -c 12)
  if [[ -z "$(buildah images --quiet --filter "reference=$base")" ]]; then
    echo "== base"
    build_base "$base"
  fi
  # The build stage has a name too, so that the layers of the latest build, and only those, outlive the pruning.
  for stage in build runtime; do
    echo "== stage $stage"
    buildah build --isolation chroot --format docker --layers --build-arg "BASE=$base" \
      --target "$stage" --tag "localhost/bilevel-$stage" --file docker/Dockerfile .
  done
  buildah rmi --prune >/dev/null
}

in_image() { buildah run --isolation chroot --tty=false "$container" -- "$@"; }

# The Go template over the image's configuration, one word a line.
configured() { buildah inspect --type image --format "{{range $1}}{{println .}}{{end}}" localhost/bilevel-runtime; }

expect() {
  local pattern=$1 output
  shift
  output=$("$@") || fail "$* exited with $?"
  grep -E -- "$pattern" <<<"$output" || fail "$* printed no /$pattern/: $output"
}

hypergradient() { in_image bilevel example "$1" | in_image bilevel hypergradient -; }
optimize() { in_image bilevel example "$1" | in_image bilevel optimize -; }

# The process of the server. Only this script's processes are in its network.
server_process() { pgrep --ns $$ --nslist net --exact bilevel_server; }

stop() {
  if server=$(server_process); then kill -KILL "$server"; fi
  buildah rm "$container" >/dev/null
}

try_image() {
  local size entrypoint health runner server status=0
  ip link set lo up
  mapfile -t entrypoint < <(configured .OCIv1.Config.Entrypoint)
  mapfile -t health < <(configured .Docker.Config.Healthcheck.Test)
  [[ ${health[0]} == CMD ]] || fail "the image has no health check of a command"

  container=$(buildah from localhost/bilevel-runtime)
  trap stop EXIT
  size=$(du -sm --apparent-size "$(buildah mount "$container")" | cut -f1)
  buildah umount "$container" >/dev/null
  echo "== image of $size MB"
  ((size < size_limit_mb)) || fail "the image has $size MB, the limit is $size_limit_mb"

  in_image "${entrypoint[@]}" </dev/null &
  runner=$!
  until in_image "${health[@]:1}" 2>/dev/null; do
    kill -0 "$runner" 2>/dev/null || fail "the server ended"
    ((SECONDS < 60)) || fail "the server is not healthy after $SECONDS s"
    sleep 0.2
  done
  server=$(server_process) || fail "no process, or more than one, is the server"
  expect '^Uid:(\s+10001){4}$' grep Uid "/proc/$server/status"
  expect '^CapEff:\s+0+$' grep CapEff "/proc/$server/status"

  # By hand: client/problems/two_state.h. Four-Rooms: the published value.
  expect '^objective +0\.5 ' hypergradient two-state
  expect '^ +0 +0 +-0\.25$' hypergradient two-state
  expect '^objective +0\.288158' hypergradient four-rooms
  expect '^objective +0\.567143' optimize two-state

  SECONDS=0
  kill -TERM "$server"
  wait "$runner" || status=$?
  ((status == 0)) || fail "the server ended with $status after SIGTERM"
  echo "stopped by SIGTERM with exit code 0 after $SECONDS s"
  if in_image "${health[@]:1}" 2>/dev/null; then fail "the health check passes without a server"; fi
  echo "== the image works"
}

mkdir -p .build  # the caller's, not root's
if ((EUID != 0)); then exec sudo -E "${BASH_SOURCE[0]}" "$@"; fi
if [[ "${1:-}" == try ]]; then
  try_image
else
  build_image
  # In a network of its own, the server gets the port that the image says, and nothing else is reached.
  exec unshare --net "${BASH_SOURCE[0]}" try
fi
