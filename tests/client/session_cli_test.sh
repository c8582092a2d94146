#!/usr/bin/env bash
# session_cli_test.sh BILEVEL ADDRESS: `bilevel session` against a running server.
set -euo pipefail
bilevel=$1
export BILEVEL_SERVER=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failures=0

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# expect CODE PATTERN COMMAND...: exit code, and an extended regular expression in what it prints.
expect() {
  local code=$1 pattern=$2 actual=0
  shift 2
  "$@" >"$dir/out" 2>&1 || actual=$?
  if [[ $actual != "$code" ]]; then fail "$* exited with $actual, expected $code: $(head -3 "$dir/out")"; fi
  if ! grep -Eq -- "$pattern" "$dir/out"; then fail "$* printed no /$pattern/: $(head -3 "$dir/out")"; fi
}

session() { "$bilevel" session "$@"; }

for command in create list show feed act watch policy gradient parameters step steps preferences delete; do
  expect 0 "usage: bilevel session $command" session "$command" --help
done
expect 0 'usage: bilevel session' session --help
expect 2 'usage: bilevel session' session
expect 2 'unknown command "session nourish"' session nourish

# By hand: client/problems/two_state.h. The transitions are certain, so the estimate is the truth, whoever acts.
"$bilevel" example two-state >"$dir/two.json"
expect 0 '^sessions/two$' session create "$dir/two.json" --id two --update-interval 1000 --merge-round 64 --seed 3
expect 0 "^note: the problem's transitions are left out" bash -c "'$bilevel' session create '$dir/two.json' --id gone"
expect 0 '^sessions/s[0-9]+$' bash -c "'$bilevel' example four-rooms | '$bilevel' session create -"
expect 1 'ALREADY_EXISTS' session create "$dir/two.json" --id two
expect 1 'INVALID_ARGUMENT: session_id' session create "$dir/two.json" --id 'a b'
expect 1 'INVALID_ARGUMENT: .*merge_round' session create "$dir/two.json" --merge-round 0
expect 0 '^the request is valid; the session may come to hold [0-9.]+ MB$' session create "$dir/two.json" --validate-only
expect 2 'learner is "q"; must be plug-in, count, soft-q or observed' session create "$dir/two.json" --learner q
expect 2 'prior is "none"; must be stay, end or neighbours' session create "$dir/two.json" --prior none
expect 2 'follower is "unspecified"; must be solved, simulated or observed' session create "$dir/two.json" --follower unspecified
expect 2 'belong to --learner soft-q' session create "$dir/two.json" --replay-draws 3
expect 0 '' session create "$dir/two.json" --id soft --learner soft_q --replay-draws 2 --prior neighbours --prior-strength 1

expect 0 '^3000 transitions accepted$' session feed two --simulate "$dir/two.json" --steps 3000 --seed 1 --wait
expect 0 '^2000 transitions accepted, after 3000 that the session had; the writer has finished' \
  session feed sessions/two --simulate "$dir/two.json" --steps 5000 --seed 1 --wait --finish
expect 0 '^0 transitions accepted, after 5000' session feed two --simulate "$dir/two.json" --steps 5000 --seed 1 --finish
expect 2 'the session has 5000 transitions of this writer, and there are only 100' \
  session feed two --simulate "$dir/two.json" --steps 100
expect 1 'FAILED_PRECONDITION: step 5001 of the simulation.*the writer finished at 5000' \
  session feed two --simulate "$dir/two.json" --steps 6000
expect 0 'estimator +PLUG_IN' session gradient two --seed 7
expect 0 '^objective +0\.5 ' session gradient two
expect 0 '^ +0 +-0\.25 ' session gradient two --redraws 8
expect 0 'assumed:' session gradient two
echo '[-0.567143290409784]' >"$dir/best.json"
expect 0 '^objective +0\.567143 ' session gradient two --at "$dir/best.json"
expect 2 'estimator is "best"; must be plug-in, return' session gradient two --estimator best
expect 2 'critic is "me"; must be model, learned or continuations' session gradient two --critic me
expect 1 'INVALID_ARGUMENT: .*redraws' session gradient two --redraws 1
expect 0 'version [0-9]+, from 5000 transitions' session policy two
expect 0 '0\.693147 +0\.5000 +0\.5000' session policy two
expect 0 '^transitions +5000 accepted, 5000 merged' session show two
expect 0 '^sessions/two +5000 +5000' session list
expect 0 '^ +5000 +5000 ' session watch two --once
expect 0 '^\{"name":"sessions/two",' session watch two --once --json
expect 0 '' timeout --preserve-status --signal=INT 1s "$bilevel" session watch two --interval 100ms
if (($(wc -l <"$dir/out") < 5)); then fail "watch printed too little: $(cat "$dir/out")"; fi
expect 0 '^policy +version' session policy two --out "$dir/pi.npy"
expect 0 "'descr': '<f8', 'fortran_order': False, 'shape': \(2, 2, \), \}" head -c 128 "$dir/pi.npy"
expect 0 '0\.(5|49999).* 0\.(5|49999)' od -A n -t f8 -j 128 "$dir/pi.npy"
expect 2 'out is "/none/pi.npy", which cannot be written' session policy two --out /none/pi.npy
expect 1 'NOT_FOUND' session policy gone
expect 1 'NOT_FOUND' session show nobody
expect 1 'NOT_FOUND' session feed nobody --simulate "$dir/two.json" --steps 5
expect 1 'NOT_FOUND' session feed two --writer stranger --simulate "$dir/two.json" --steps 5

# Writers take turns; one that is waited for is named.
expect 0 '' session create "$dir/two.json" --id pair --writers north,south
expect 3 'note: the session waits for writer north' timeout --preserve-status --signal=INT 4s \
  "$bilevel" session feed pair --writer south --simulate "$dir/two.json" --steps 40000
expect 1 'UNAVAILABLE' session --server 127.0.0.1:1 feed two --simulate "$dir/two.json" --steps 5 --deadline 1s

# Who acts: at random, as the follower would, or by a policy from a file.
expect 0 '' session create "$dir/two.json" --id acted --writers uniform,soft,file
expect 0 '^500 transitions' session feed acted --writer uniform --finish --simulate "$dir/two.json" --steps 500
expect 0 '^500 transitions' session feed acted --writer soft --finish --simulate "$dir/two.json" --steps 500 --policy soft --at "$dir/best.json"
expect 0 '^500 transitions' session feed acted --writer file --finish --simulate "$dir/two.json" --steps 500 --policy "$dir/pi.npy" --wait
expect 2 'policy is "none.npy", which|none.npy: cannot be read' session feed acted --simulate "$dir/two.json" --steps 5 --policy none.npy
expect 2 '--simulate needs --steps' session feed acted --simulate "$dir/two.json"
expect 2 'nothing to feed' session feed acted
expect 2 'give one of them' session feed acted x.csv --simulate "$dir/two.json" --steps 5
expect 2 'max-episode-steps is 0' session feed acted --simulate "$dir/two.json" --steps 5 --max-episode-steps 0
sed 's/"list": \[1, 0, 0, 1, 1, 0, 0, 1\]/"list": [1, 0, 0, 0.9, 1, 0, 0, 1]/' "$dir/two.json" >"$dir/bad.json"
expect 2 'transitions: row 1 \(s=0, a=1\) sums to 0.9' session feed acted --simulate "$dir/bad.json" --steps 5

# Files. Twice the same is once; a bad row is named, and what precedes it counts.
create() { expect 0 "^sessions/$1$" session create "$dir/two.json" --id "$1"; }
create csv
printf 'episode,state,action,next_state,kind\n1,0,1,1,running\n1,1,0,0,0\n2,1,1,1,2\r\n1, 0, 1, , terminated\n' >"$dir/steps.csv"
expect 0 '^4 transitions accepted$' session feed csv "$dir/steps.csv"
expect 0 '^0 transitions accepted, after 4' session feed csv "$dir/steps.csv"
printf '5,0,0,0,trunc\n' >>"$dir/steps.csv"
expect 2 'steps.csv:6: column kind is "trunc"; must be 0 or running, 1 or terminated, 2 or truncated' session feed csv "$dir/steps.csv"
expect 0 '^1 transitions accepted, after 4 that the session had$' bash -c "sed 's/trunc\$/truncated/' '$dir/steps.csv' | '$bilevel' session feed csv -"
printf '7,0,1,1,0\n7,1,9,1,0\n7,1,1,1,0\n' >"$dir/tail.csv"
sed 's/trunc$/truncated/' "$dir/steps.csv" | cat - "$dir/tail.csv" >"$dir/more.csv"
expect 1 'INVALID_ARGUMENT: .*more.csv:8: transition 7: action is 9; must be in \[0, 1\]' session feed csv "$dir/more.csv"
expect 0 '^transitions +6 accepted' session show csv
expect 0 '^2 transitions accepted, after 6' bash -c "sed 's/^7,1,9/7,1,0/' '$dir/more.csv' | sed 's/^7,1,0,1/7,1,0,0/; s/^7,1,1,1/7,0,1,1/' | '$bilevel' session feed csv -"

# refuse_csv PATTERN TEXT: a file that is none.
create csv2
refuse_csv() {
  printf "$2" >"$dir/bad.csv"
  expect 2 "bad.csv:$1" session feed csv2 "$dir/bad.csv"
}
refuse_csv '1: "stat" is no column; there are episode, state' 'stat,action\n'
refuse_csv '1: column next_state is missing' 'state,action\n'
refuse_csv '1: column state is given twice' 'state,state,action,next_state\n'
refuse_csv '1: column features_1 is given, but one before it is missing' 'state,action,next_state,features_1,next_features_0\n'
expect 2 'none.csv: cannot be read' session feed csv2 "$dir/none.csv"
bad_row() {
  printf "state,action,next_state,kind,leader_reward\n$2\n" >"$dir/bad.csv"
  expect 2 "bad.csv:2: $1" session feed csv2 "$dir/bad.csv"
}
bad_row 'has 3 cells; the header names 5 columns' '0,1,1'
bad_row 'column state is "x"; must be a whole number' 'x,1,1,0,'
bad_row 'column action is 99999999999; must be at most 4294967295' '0,99999999999,1,0,'
bad_row 'column next_state is empty' '0,1,,0,'
bad_row 'column leader_reward is "much"; must be a number' '0,1,1,0,much'
bad_row 'column leader_reward is inf; must be finite' '0,1,1,0,inf'
bad_row 'is empty, and others follow' '\n0,1,1,0,'

# .npy: a structured array, plain columns, and what is refused.
/usr/bin/env python3 - "$dir" <<'PYTHON'
import struct, sys

def npy(name, descr, shape, data, order="False", version=1, magic=b"\x93NUMPY"):
    header = ("{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape)).encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    open(f"{sys.argv[1]}/{name}.npy", "wb").write(magic + bytes([version, 0]) + length + header + data)

steps = [(1, 0, 1, 1, 0), (1, 1, 0, 0, 0), (1, 0, 1, 1, 1)]
fields = "[('episode', '<u8'), ('state', '<i4'), ('action', '|u1'), ('next_state', '<i8'), ('kind', '|i1')]"
npy("structured", fields, "(3,)", b"".join(struct.pack("<QiBqb", *step) for step in steps))
plain = b"".join(struct.pack("<5q", *step) for step in steps)
npy("plain", "'<i8'", "(3, 5)", plain, version=2)
npy("fortran", "'<i8'", "(3, 5)", plain, order="True")
npy("big", "'>i8'", "(3, 5)", plain)
npy("short", "'<i8'", "(4, 5)", plain)
npy("odd", "'<c16'", "(3, 5)", plain)
npy("third", "'<i8'", "(3, 5)", plain, version=3)
npy("no", "'<i8'", "(3, 5)", plain, magic=b"\x93NUMPX")
npy("negative", "'<i8'", "(1, 5)", struct.pack("<5q", 1, -1, 0, 0, 0))
npy("broken", "'<i8'", "(3, 5", plain)
npy("huge", "'<i8'", "(4294967296, 4294967296, 3)", plain)
npy("features", "[('state', '<u4'), ('action', '<u4'), ('next_state', '<u4'), ('features', '<f8', (2,))]", "(0,)", b"")
PYTHON
create npy
columns=episode,state,action,next_state,kind
expect 0 '^3 transitions accepted$' session feed npy "$dir/structured.npy"
expect 0 '^0 transitions accepted, after 3' session feed npy "$dir/plain.npy" --columns "$columns"
expect 2 'does not name its columns: --columns' session feed npy "$dir/plain.npy"
expect 2 'is not \[N, 3\]' session feed npy "$dir/plain.npy" --columns state,action,next_state
expect 2 'Fortran order' session feed npy "$dir/fortran.npy" --columns "$columns"
expect 2 'big-endian' session feed npy "$dir/big.npy" --columns "$columns"
expect 2 'holds 120 bytes behind its header, not what its shape says' session feed npy "$dir/short.npy" --columns "$columns"
expect 2 'holds 120 bytes' session feed npy "$dir/huge.npy" --columns "$columns"
expect 2 'the type <c16 is not known' session feed npy "$dir/odd.npy" --columns "$columns"
expect 2 'has version 3 of .npy; must be 1 or 2' session feed npy "$dir/third.npy" --columns "$columns"
expect 2 'no.npy: is no .npy file' session feed npy "$dir/no.npy"
expect 2 'has a header that is not' session feed npy "$dir/broken.npy"
expect 2 'negative.npy\[0\]: column state is -1; must be a whole number >= 0' session feed csv2 "$dir/negative.npy" --columns "$columns"
expect 2 'not as many columns features_i as next_features_i' session feed npy "$dir/features.npy"

# Ctrl-C leaves what was accepted, and the same command goes on from there.
create interrupted
interrupted=0
timeout --preserve-status --signal=INT 1s "$bilevel" session feed interrupted --simulate "$dir/two.json" \
  --steps 2000000000 >"$dir/out" 2>"$dir/error" || interrupted=$?
if [[ $interrupted != 3 ]]; then fail "an interrupted feed gave $interrupted: $(cat "$dir/out" "$dir/error")"; fi
if ! grep -q 'the same command goes on from there' "$dir/error"; then fail "an interrupted feed said $(cat "$dir/error")"; fi
sent=$(awk '{print $1}' "$dir/out")
expect 0 "^10 transitions accepted, after $sent that" session feed interrupted --simulate "$dir/two.json" --steps $((sent + 10))

# A follower that acts.
expect 0 '' session create "$dir/two.json" --id actor --follower simulated --update-interval 100 --trajectories 1000
expect 0 '^300 transitions in 8 episodes; the last action came from policy [0-9]$' \
  session act actor --simulate "$dir/two.json" --steps 300 --max-episode-steps 40 --explore least-tried --share 0.2
expect 0 '^100 transitions in 1 episode; .*the writer has finished$' session act actor --simulate "$dir/two.json" --steps 100 --finish
expect 0 '^transitions +400 accepted' session show actor
expect 0 '^trajectories +9, of 400 steps' session show actor
expect 1 'FAILED_PRECONDITION: .*without both walks complete' session gradient actor --estimator return --critic continuations
expect 0 '' session create "$dir/two.json" --id walker --follower simulated --update-interval 100 --trajectories 2000
expect 0 'transitions in [0-9]+ episodes' session act walker --simulate "$dir/two.json" --steps 100 --max-episode-steps 3 --walks
expect 0 'walks go on from a state' session gradient walker --estimator reward-to-go --critic continuations
expect 1 'FAILED_PRECONDITION: .*not SIMULATED' session act two --simulate "$dir/two.json" --steps 5
expect 1 'FAILED_PRECONDITION: .*the writer finished' session act actor --simulate "$dir/two.json" --steps 5
expect 1 'NOT_FOUND' session act nobody --simulate "$dir/two.json" --steps 5
expect 2 'explore is "all"; must be none, uniform or least-tried' session act actor --simulate "$dir/two.json" --steps 5 --explore all
expect 2 'share belongs to --explore' session act actor --simulate "$dir/two.json" --steps 5 --share 0.5
expect 2 'are required' session act actor --steps 5
expect 0 '' session create "$dir/two.json" --id restless --follower simulated
interrupted=0
timeout --preserve-status --signal=INT 1s "$bilevel" session act restless --simulate "$dir/two.json" --steps 2000000000 \
  >"$dir/out" 2>&1 || interrupted=$?
if [[ $interrupted != 3 ]]; then fail "an interrupted follower gave $interrupted: $(cat "$dir/out")"; fi
expect 0 "^transitions +$(awk '{print $1}' "$dir/out") accepted" session show restless

# x and preferences.
echo '[1, 2]' >"$dir/wide.json"
expect 0 '^\[0\]$' session parameters two
expect 2 'after-merged needs --at' session parameters two --after-merged 5
echo '[{"first": {"range": {"episode_id": 2, "count": 5}}, "second": {"range": {"episode_id": 3, "count": 5}},
  "first_preferred": 1}]' >"$dir/preferences.json"
expect 0 '^1 preferences accepted; it holds fragments of 10 steps$' session preferences actor "$dir/preferences.json"
expect 0 '^0 preferences accepted, after 1 that the session had; .* 10 steps$' session preferences actor "$dir/preferences.json"
expect 0 'new ones begin with --first 2$' session preferences actor "$dir/preferences.json"
expect 0 '^1 preferences accepted, after 1 .* 20 steps$' session preferences actor "$dir/preferences.json" --first 2
expect 1 'FAILED_PRECONDITION' session preferences actor "$dir/preferences.json" --first 9
expect 1 'FAILED_PRECONDITION: .*theirs is a loss' session gradient actor --estimator preference-fit
sed 's/SENSE_MAXIMIZE/SENSE_MINIMIZE/' "$dir/two.json" >"$dir/loss.json"
expect 0 '' session create "$dir/loss.json" --id loss --follower simulated --update-interval 100 --trajectories 2000
expect 0 'transitions in [0-9]+ episodes' session act loss --simulate "$dir/two.json" --steps 100 --max-episode-steps 10
expect 1 'FAILED_PRECONDITION: .*no preferences' session gradient loss --estimator preference-fit
for first in 1 2; do
  expect 0 'preferences accepted' session preferences loss "$dir/preferences.json" --first "$first"
done
for estimator in preference-fit preference preference-excess-risk; do
  expect 0 '20 transitions, 2 pairs, 0 left out' session gradient loss --estimator "$estimator"
done
expect 0 '^\[-0\.567143290409784\]$' session parameters actor --at "$dir/best.json"
expect 0 '"parameters_version": 2' session parameters actor --json
expect 1 'INVALID_ARGUMENT: .*parameters' session parameters actor --at "$dir/wide.json"
expect 2 'first is 0; must be >= 1' session preferences two "$dir/best.json" --first 0
echo '[{"frist": {}}]' >"$dir/preferences.json"
expect 2 'preferences.json: .*frist' session preferences two "$dir/preferences.json"
echo '[]' >"$dir/preferences.json"
expect 2 'holds no preferences' session preferences two "$dir/preferences.json"
expect 2 'rows is -1; must be >= 0' session gradient two --rows -1
"$bilevel" example four-rooms >"$dir/rooms.json"
expect 2 'the world has 2 contexts' session feed two --simulate "$dir/rooms.json" --steps 10

# The leader moves by itself.
expect 0 '' session create "$dir/two.json" --id loop --optimize sobirl --gradient-tolerance 0.01 --update-interval 500 --redraws 4
expect 0 '' session feed loop --simulate "$dir/two.json" --steps 10000 --wait
expect 0 '^ +3 +1500 +0\.567089 .* 1\.0000 ' session steps loop --against "$dir/two.json"
expect 0 'stopped +CONVERGED' session steps loop
expect 0 '^ +3 +1500 ' session steps loop --after 2 --once
expect 0 '^\{"number":1,' session steps loop --once --json
if (($(wc -l <"$dir/out") != 3)); then fail "steps --once --json printed: $(cat "$dir/out")"; fi
expect 0 '^steps +3$' session show loop
expect 0 '^stopped +CONVERGED' session show loop
expect 0 '' session create "$dir/two.json" --id asked --optimize sobirl --on-request
expect 1 'FAILED_PRECONDITION: .*nothing to estimate from' session step asked
expect 0 '^waits +the session has not learned' session show asked
expect 0 '^policy +none yet, the next at 10000 merged transitions$' session show asked
expect 1 'no policy yet; the first comes at 10000 merged transitions, of which it has 0' session policy asked
expect 0 '^0$' bash -c "'$bilevel' session steps asked --once | wc -l"
expect 0 '' session feed asked --simulate "$dir/two.json" --steps 500 --wait
expect 0 '^ +1 +500 +0\.5 ' session step asked
expect 0 '^ +1 +500 +0\.5 ' session step asked --number 1
expect 1 'number is 3; the next step is 2' session step asked --number 3
expect 0 '' timeout --preserve-status --signal=INT 1s "$bilevel" session steps asked
expect 1 'FAILED_PRECONDITION: the session has no outer_loop' session steps two
expect 1 'NOT_FOUND' session steps nobody
expect 0 '' session create "$dir/two.json" --id acting --follower simulated --optimize sobirl --estimator reward-to-go \
  --update-interval 500 --merge-round 500 --max-steps 3 --steps 0.5,0.5,10
expect 0 '' session act acting --simulate "$dir/two.json" --steps 2000 --max-episode-steps 20
expect 3 'ITERATION_LIMIT' session steps acting
expect 2 'optimize is "adam"; must be sobirl or stoc-sobirl-storm' session create "$dir/two.json" --optimize adam
expect 2 'belong to --optimize$' session create "$dir/two.json" --first-step 2
expect 2 'belong to --optimize stoc-sobirl-storm' session create "$dir/two.json" --optimize sobirl --weight-cap 2
expect 2 'steps is "a"; must be FIRST, FIRST,POWER or FIRST,POWER,SCALE' session create "$dir/two.json" --optimize sobirl --steps a
expect 1 'INVALID_ARGUMENT: outer_loop.first_step: is 0' session create "$dir/two.json" --optimize sobirl --first-step 0

# From some step on each action does what the other did before.
awk 'BEGIN {
  print "episode,state,action,next_state,kind"
  for (i = 0; i < 4000; ++i) { a = int(i / 3) % 2; n = i < 2000 ? a : 1 - a; print "1," s + 0 "," a "," n ",0"; s = n }
}' >"$dir/drifting.csv"
expect 1 'INVALID_ARGUMENT: .*drift.window: is 50; must be in \[100, ' session create "$dir/two.json" --drift-window 50
expect 0 '' session create "$dir/two.json" --id drifting --drift-window 500 --drift-significance 0.001
expect 0 '' session feed drifting "$dir/drifting.csv" --wait
expect 0 '^drift +1 alarm; last: the world of context 0 drifted, noticed after 2500 transitions \(p = ' session show drifting
expect 0 '^the world of context 0 drifted, noticed after 2500 transitions' session watch drifting --once

# Every key that is printed is in the README.
for command in "show two" "show drifting" "list" "policy two" "gradient two" "watch two --once" "feed two --simulate $dir/two.json --steps 5000" \
  "act restless --simulate $dir/two.json --steps 5" "show loop" "step asked --number 1"; do
  read -ra words <<<"$command"
  "$bilevel" session "${words[@]}" --json >"$dir/out"
  for key in $(/usr/bin/env python3 -c 'import json, sys; o = json.load(sys.stdin); print(*o, *o.get("contexts", o.get("sessions", [[]]))[0])' <"$dir/out"); do
    if ! grep -q "\`$key\`" "$(dirname "$0")/../../client/README.md"; then fail "session $command prints $key, which no README explains"; fi
  done
done

expect 0 '^deleted sessions/two$' session delete two
expect 1 'NOT_FOUND' session delete two

exit $((failures > 0))
