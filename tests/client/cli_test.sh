#!/usr/bin/env bash
# cli_test.sh BILEVEL ADDRESS: the command line against a running server.
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

"$bilevel" example two-state >"$dir/two.json"
"$bilevel" example four-rooms >"$dir/rooms.json"
"$bilevel" example four-rooms --print start >"$dir/start.json"
"$bilevel" example policy-matching --seed 1 >"$dir/matching.json"
"$bilevel" example policy-matching --seed 1 --print start >"$dir/matching_start.json"
echo '[{"policy": {"values": {"list": [1, 0, 0, 0]}}}]' >"$dir/cotangents.json"

expect 0 'SERVING' "$bilevel" health
expect 0 'm.sobirl' "$bilevel" methods
expect 0 'SERVING' env http_proxy=http://127.0.0.1:1 "$bilevel" health
expect 1 'UNAVAILABLE.*127.0.0.1:1:' env http_proxy=http://127.0.0.1:1 "$bilevel" --server server.invalid:1 --deadline 5s health
expect 0 '"message_bytes": 4194304' "$bilevel" methods --json

# By hand: client/problems/two_state.h.
expect 0 '"objective": 0\.(5[,0]|4999999)' "$bilevel" hypergradient "$dir/two.json" --json
expect 0 '"gradient": \[-0\.(25\]|250000|249999)' "$bilevel" hypergradient "$dir/two.json" --json
expect 0 '0\.693147 +0\.5000 +0\.5000' "$bilevel" solve "$dir/two.json"
expect 0 'relative error +[0-9.]+e-(0[7-9]|1)' "$bilevel" check "$dir/two.json"
expect 3 'relative error [0-9.e-]+ is above the tolerance 1e-20' "$bilevel" check "$dir/two.json" --tolerance 1e-20
expect 0 'objective +0\.567143' "$bilevel" optimize "$dir/two.json"
expect 0 'd/d reward' "$bilevel" pullback "$dir/two.json" --cotangents "$dir/cotangents.json"
expect 0 'about' "$bilevel" hypergradient "$dir/two.json" --validate-only

# What is wrong, what looks unintended, what it costs.
expect 0 '^the request is valid; it needs about' "$bilevel" lint "$dir/two.json"
if (($(wc -l <"$dir/out") != 1)); then fail "lint finds fault with the two states: $(cat "$dir/out")"; fi
sed 's/"temperature": 0.5/"temperature": 1e6/; s/"discount": 0.5/"discount": 0/' "$dir/two.json" >"$dir/odd.json"
echo '[1]' >"$dir/one.json"
expect 0 'contexts\[0\].temperature is 1e\+06 and rewards differ by 1 at most' "$bilevel" lint "$dir/odd.json" --at "$dir/one.json"
expect 0 '"field": "problem.contexts\[0\].discount"' "$bilevel" lint "$dir/odd.json" --json
/usr/bin/env python3 -c 'import json, sys; p = json.load(open(sys.argv[1])); del p["contexts"][0]["objective"]; print(json.dumps(p))' \
  "$dir/two.json" >"$dir/follower.json"
expect 0 '^the request is valid' "$bilevel" lint "$dir/follower.json"
expect 2 'plot is "/none/x.svg", which cannot be written' "$bilevel" optimize "$dir/two.json" --plot /none/x.svg
sed 's/"list": \[1, 0, 0, 1, 1, 0, 0, 1\]/"list": [1, 0, 0, 0.9, 1, 0, 0, 1]/' "$dir/two.json" >"$dir/bad.json"
expect 1 'transitions: row 1 \(s=0, a=1\) sums to 0.9' "$bilevel" lint "$dir/bad.json"

# The published check values.
expect 0 'objective +0\.288158' "$bilevel" hypergradient "$dir/rooms.json"
expect 0 '0 +-0\.147461 +goal \(1,9\)' "$bilevel" hypergradient "$dir/rooms.json"
expect 0 '1 +0\.723777 +goal \(11,11\)' "$bilevel" hypergradient "$dir/rooms.json"
"$bilevel" example four_rooms --beta 1 >/dev/null 2>&1 && fail "an unknown example was accepted"
for beta_and_value in 3:0.0132 5:-0.261623; do
  "$bilevel" example four-rooms --beta "${beta_and_value%:*}" >"$dir/beta.json"
  expect 0 "objective +${beta_and_value#*:}" "$bilevel" hypergradient "$dir/beta.json"
done

# A problem for each use: by default at x = 0, with the values of client/problems/*.h.
for example in congestion-tax:-0.875422 reward-shaping:0.776922 inverse-rl:2.88108 stackelberg-game:-5 worst-case:0.160061 \
  policy-matching:; do
  expect 0 '"num_parameters"' "$bilevel" example "${example%:*}"
  cp "$dir/out" "$dir/example.json"
  expect 0 "^objective +${example#*:}" "$bilevel" hypergradient "$dir/example.json"
done
expect 2 'unknown example "tax"; must be two-state, .* or synthetic' "$bilevel" example tax
expect 0 '^  worst-case +worst case over contexts' "$bilevel" example --help

# Standard input, many points, an earlier output as --at, limits, methods by name.
expect 0 'objective +0\.5' bash -c "cat '$dir/two.json' | '$bilevel' hypergradient -"
echo '[[0], [-0.567143290409784]]' >"$dir/points.json"
expect 0 'objective +0\.567143' "$bilevel" hypergradient "$dir/two.json" --at "$dir/points.json"
expect 3 '"termination": "ITERATION_LIMIT"' "$bilevel" optimize "$dir/rooms.json" --at "$dir/start.json" --max-iterations 2 --json
cp "$dir/out" "$dir/earlier.json"
expect 3 'ITERATION_LIMIT' "$bilevel" optimize "$dir/rooms.json" --at "$dir/earlier.json" --max_iterations=1
# What a time limit leaves is the best point, evaluated: above the start's 0.288.
expect 3 'TIME_LIMIT' "$bilevel" optimize "$dir/rooms.json" --at "$dir/start.json" --time-limit 500ms \
  --max-iterations 100000000 --gradient-tolerance 0
if ! grep -Eq 'objective +(0\.[3-9]|1\.)' "$dir/out"; then fail "a time limit lost the best point: $(grep objective "$dir/out")"; fi
expect 3 '"method": "m.sobirl"' "$bilevel" optimize "$dir/matching.json" --at "$dir/matching_start.json" \
  --method m-sobirl --adjoint-step l1 --step-size 1 --max-iterations 5 --json
expect 0 '"method": "quasi.newton"' "$bilevel" optimize "$dir/matching.json" --at "$dir/matching_start.json" \
  --method quasi-newton --memory 5 --json
expect 0 'evaluations, [0-9]+ Hessian products' "$bilevel" optimize "$dir/matching.json" --at "$dir/matching_start.json" \
  --method truncated-newton --max-products 20
expect 0 'stationarity +optimum: curvature in \[[0-9.]+, [0-9.]+\] on a face of dimension [0-9]+$' \
  "$bilevel" optimize "$dir/matching.json" --at "$dir/matching_start.json" --method truncated-newton
expect 0 '"kind": "OPTIMUM"' "$bilevel" optimize "$dir/matching.json" --at "$dir/matching_start.json" \
  --method quasi-newton --json
expect 3 'stationarity +not stationary: projected gradient 0' "$bilevel" optimize "$dir/rooms.json" --at "$dir/start.json" \
  --max-iterations 2
expect 2 'max-products belongs to --method truncated-newton' "$bilevel" optimize "$dir/matching.json" --max-products 5
expect 2 'memory belongs to --method quasi-newton' "$bilevel" optimize "$dir/matching.json" --memory 5
expect 0 'local optima, best first' "$bilevel" optimize "$dir/two.json" --method portfolio --islands 2 --patience 1
expect 0 '^round [0-9]+  evaluations [0-9]+  best objective 0\.5' "$bilevel" optimize "$dir/two.json" --method portfolio --islands 2 \
  --evaluations-per-round 50 --patience 1 --max-optima 0 --progress
if grep -q 'local optima\|left' "$dir/out"; then fail "optima or a time left from nowhere: $(cat "$dir/out")"; fi
expect 0 'contexts.0..weight +0\.567143 ' "$bilevel" optimize "$dir/two.json" --method quasi-newton --sensitivities
expect 0 '"contexts.0..temperature"' "$bilevel" optimize "$dir/two.json" --sensitivities --json
# Every key of the two commands' JSON is in the README.
for command in "hypergradient --policies" "hypergradient --at $dir/points.json" \
  "optimize --method portfolio --patience 1 --sensitivities --policies"; do
  read -ra words <<<"$command"
  "$bilevel" "${words[0]}" "$dir/two.json" "${words[@]:1}" --json >"$dir/out"
  for key in $(/usr/bin/env python3 -c 'import json, sys; o = json.load(sys.stdin); print(*o, *o.get("contexts", [[]])[0])' <"$dir/out"); do
    if ! grep -q "\`$key\`" "$(dirname "$0")/../../client/README.md"; then fail "$command prints $key, which no README explains"; fi
  done
done
expect 2 'patience and --max-optima belong to --method portfolio' "$bilevel" optimize "$dir/two.json" --patience 2

# Refusals: one line, with the field's path.
sed 's/"discount": 0.5/"discount": 1/' "$dir/two.json" >"$dir/bad.json"
expect 1 'INVALID_ARGUMENT: .*contexts\[0\].discount' "$bilevel" hypergradient "$dir/bad.json"
if (($(wc -l <"$dir/out") != 1)); then fail "a refusal took more than one line"; fi
expect 1 'UNAVAILABLE' "$bilevel" --server 127.0.0.1:1 health
expect 2 'unknown flag --zetta' "$bilevel" optimize "$dir/two.json" --zetta 1
expect 2 'max-iterations is "1.5"; must be a whole number' "$bilevel" optimize "$dir/two.json" --max-iterations 1.5
expect 2 'unknown command' "$bilevel" solv
expect 2 'cannot be read' "$bilevel" solve "$dir/none.json"
expect 2 'expected 1 operand' "$bilevel" solve
sed 's/"discount"/"discuont"/' "$dir/two.json" >"$dir/bad.json"
expect 2 'problem.contexts\[0\].discuont is no field; Context has environment, environment_name, discount, temp' "$bilevel" solve "$dir/bad.json"
printf '{\n  "num_parameters": 1\n  "sense": 1}' >"$dir/bad.json"
expect 2 'line 3, column 3: Expected , or }' "$bilevel" solve "$dir/bad.json"

# refuse PATTERN JSON: a problem that is none.
refuse() {
  echo "$2" >"$dir/bad.json"
  expect 2 "bad.json: $1" "$bilevel" solve "$dir/bad.json"
}
refuse 'must be a JSON object' '[1]'
refuse 'problem.num_parameter is no field; Problem has num_parameters, ' '{"num_parameter": 1}'
refuse 'problem.num_parameters is "x"; must be a whole number' '{"num_parameters": "x"}'
refuse 'problem.num_parameters is a list; must be a whole number' '{"num_parameters": [1]}'
refuse 'problem.sense is "max"; must be one of SENSE_MINIMIZE, SENSE_MAXIMIZE$' '{"sense": "max"}'
refuse 'problem.contexts\[0\].reward is 5; must be an object' '{"contexts": [{"reward": 5}]}'
refuse 'problem.contexts\[0\].reward.base is a list; must be \{"values": \{"list": ' '{"contexts": [{"reward": {"base": [1, 2]}}]}'
refuse '.*reward.features is a list; must be \{"dense": ' '{"contexts": [{"reward": {"features": [[1, 2]]}}]}'
refuse '.*reward.base.values is a list; must be \{"list": ' '{"contexts": [{"reward": {"base": {"values": [1, 2]}}}]}'
refuse '.*values.list\[1\] is "a b"; must be a number' '{"contexts": [{"reward": {"base": {"values": {"list": [1, "a b"]}}}}]}'
refuse "problem.contexts\[0\].objective\[0\]: oneof field 'term' is already set" \
  '{"contexts": [{"objective": [{"follower_value": {}, "separable": {}}]}]}'
refuse 'line 1, column 16: NaN is no JSON; numbers must be finite' '{"NaN \"": [1, NaN, NaN]}'
refuse 'line 2, column 13: -Infinity is no JSON' '{"contexts":
  [{"list": -Infinity}]}'
refuse 'line 2, column 1: Unexpected end' '{"contexts": [{"discount": 0.5'
refuse 'line 2, column 1: Unexpected end' ''
for command in example lint solve hypergradient pullback check optimize methods health; do
  expect 0 "usage: bilevel $command" "$bilevel" "$command" --help
done

# Ctrl-C cancels and prints the best point so far. (Not in the background of a shell, which would ignore SIGINT.)
expect 3 '"termination": "CANCELLED"' timeout --preserve-status --signal=INT 2s "$bilevel" optimize "$dir/rooms.json" --at "$dir/start.json" \
  --max-iterations 100000000 --gradient-tolerance 0 --json

# A server that dies takes its result along, but not the best point so far.
"$(dirname "$bilevel")/bilevel_server" --listen=127.0.0.1:0 >"$dir/log" &
mortal=$!
: >"$dir/error"
for ((i = 0; i < 200; ++i)); do if [[ -s $dir/log ]]; then break; fi; sleep 0.05; done
(
  for ((i = 0; i < 200; ++i)); do if grep -q 'iteration 1' "$dir/error"; then break; fi; sleep 0.05; done
  kill -KILL "$mortal"
) &
lost=0
"$bilevel" --server "$(awk '{print $NF; exit}' "$dir/log")" optimize "$dir/rooms.json" --at "$dir/start.json" --progress \
  --max-iterations 100000000 --gradient-tolerance 0 >"$dir/out" 2>>"$dir/error" || lost=$?
wait
if [[ $lost != 1 ]]; then fail "a lost server gave $lost"; fi
if ! grep -q '^bilevel: UNAVAILABLE' "$dir/error"; then fail "a lost server was not named: $(tail -1 "$dir/error")"; fi
if ! grep -Eq '^objective +(0\.[2-9]|1\.)' "$dir/out"; then fail "a lost server took the best point: $(cat "$dir/out")"; fi

exit $((failures > 0))
