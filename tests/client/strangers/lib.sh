# Sourced: what the strangers' tests share. A test that cannot get what it needs says so and exits with 77.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../../.." && pwd)

skip() {
  echo "SKIPPED: $*"
  exit 77
}

# need PROGRAM WHY
need() { command -v "$1" >/dev/null || skip "no $1, so $2 was not tried"; }
