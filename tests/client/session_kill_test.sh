#!/usr/bin/env bash
# session_kill_test.sh BILEVEL ADDRESS: writers killed 50 times at random moments leave the policy of writers that were
# not, bit for bit.
set -euo pipefail
bilevel=$1
export BILEVEL_SERVER=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
readonly steps=400000 kills=50
RANDOM=1

session() { "$bilevel" session "$@"; }
feed() { # NAME WRITER...: in the background, where it takes the place of the shell
  exec "$bilevel" session feed "$1" --writer "$2" --simulate "$dir/world.json" --steps $steps --seed "${2#w}" "${@:3}"
}

"$bilevel" example four-rooms >"$dir/world.json"
for name in calm wild; do
  session create "$dir/world.json" --id $name --writers w1,w2 --update-interval 20000 --seed 5 >/dev/null 2>&1
done

for writer in w1 w2; do feed calm $writer --finish >/dev/null & done
wait

# Each writer is started anew after each kill, and resumes by what the server has.
pids=()
start() { # INDEX
  feed wild "w$1" --batch $((1 + RANDOM % 8)) >/dev/null 2>&1 &
  pids[$1]=$!
}
start 1
start 2
killed=0
for ((attempt = 0; killed < kills; attempt++)); do
  if ((attempt == 4 * kills)); then
    echo "the writers were through after $killed kills: too few steps for this machine" >&2
    exit 1
  fi
  sleep "0.0$((RANDOM % 10))"
  victim=$((1 + RANDOM % 2))
  kill -KILL "${pids[$victim]}" 2>/dev/null || true
  code=0
  wait "${pids[$victim]}" 2>/dev/null || code=$?
  if ((code == 137)); then killed=$((killed + 1)); fi  # else it was through
  start $victim
done
wait
for writer in w1 w2; do feed wild $writer --finish >/dev/null & done
wait

for name in calm wild; do
  for _ in $(seq 200); do
    session show $name | grep -q "$((2 * steps)) accepted, $((2 * steps)) merged" && break
    sleep 0.05
  done
  session policy $name --json >"$dir/$name.json"
  session show $name | grep "$((2 * steps)) accepted, $((2 * steps)) merged"
done
sed -i 's/sessions\/wild/sessions\/calm/' "$dir/wild.json"
cmp "$dir/calm.json" "$dir/wild.json"
echo "$killed writers killed; the policies are the same"
