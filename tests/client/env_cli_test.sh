#!/usr/bin/env bash
# env_cli_test.sh BILEVEL ADDRESS: environments that stay, by the command line against a running server.
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

env() { expect "$1" "$2" "$bilevel" env "${@:3}"; }

"$bilevel" example two-state >"$dir/two.json"
"$bilevel" example four-rooms >"$dir/rooms.json"
"$bilevel" example worst-case >"$dir/villages.json"

# By hand: the two states of client/problems/two_state.h, in the bytes of environment_service.proto.
/usr/bin/env python3 - "$dir" <<'PYTHON'
import hashlib, struct, sys
whole = b"BILEVEL1" + struct.pack("<IIIIQ", 2, 2, 2, 0, 8) + struct.pack("<5Q", 0, 2, 4, 6, 8)
whole += struct.pack("<2d", 1, 0) + struct.pack("<8I", *[0, 1] * 4) + struct.pack("<8d", 1, 0, 0, 1, 1, 0, 0, 1)
open(sys.argv[1] + "/name", "w").write("environments/" + hashlib.sha256(whole).hexdigest())
PYTHON
name=$(cat "$dir/name")
digits=${name#environments/}

# Up, named in a problem with the same answer, listed, shown, gone.
env 0 "^$name$" upload "$dir/two.json"
if ! grep -q '^2 states, 2 actions, 8 transitions; 184 bytes, .* of the server.s memory$' "$dir/out"; then fail "upload printed $(cat "$dir/out")"; fi
env 0 'the server had it already' upload "$dir/two.json"
env 0 '"existed": true' upload "$dir/two.json" --json
env 0 "^ +2 +2 +8 .* $name$" list
env 0 '"num_transitions": 8' list --json
env 0 "^$name$" show "${digits:0:6}"
env 0 '"total_bytes": 184' show "$name" --json
env 1 'NOT_FOUND' show "environments/$(printf '0%.0s' {1..64})"
env 1 'NOT_FOUND: no environment of the server begins with 0123456789' show 0123456789
env 2 'is no name of an environment; must be environments/' show "${digits:0:5}"
env 2 'is no name of an environment' delete two
expect 0 '"environment_name": "environments/' "$bilevel" env upload "$dir/two.json" --print-problem
cp "$dir/out" "$dir/named.json"
cp "$dir/out" "$dir/world.json"
expect 0 'objective +0\.5 ' "$bilevel" hypergradient "$dir/named.json"
expect 0 '^the request is valid' "$bilevel" lint "$dir/named.json"
expect 0 'objective +0\.567143' "$bilevel" optimize "$dir/named.json"
expect 0 '0\.693147 +0\.5000 +0\.5000' "$bilevel" solve "$dir/named.json"
env 0 "^deleted $name$" delete "${digits:0:12}"
env 1 'NOT_FOUND' delete "$digits"
expect 1 'NOT_FOUND' "$bilevel" hypergradient "$dir/named.json"
env 0 '^ +states +actions' list
if (($(wc -l <"$dir/out") != 1)); then fail "something is left: $(cat "$dir/out")"; fi

# Problems of several contexts; a map stays behind, and where it is wanted, that is said.
"$bilevel" env upload "$dir/rooms.json" --print-problem >"$dir/named.json" 2>"$dir/error"
if ! grep -q '^note: the map of context 1 stays behind' "$dir/error"; then fail "no word of the map: $(cat "$dir/error")"; fi
expect 0 'objective +0\.288158' "$bilevel" hypergradient "$dir/named.json"
expect 2 'contexts\[0\] names its environment, which has no map' "$bilevel" show "$dir/named.json"
expect 0 '"value"' "$bilevel" solve "$dir/named.json" --json
env 2 'problem.contexts\[0\] names its environment already' upload "$dir/named.json"
expect 0 'environment_name' "$bilevel" env upload "$dir/named.json" --print-problem
"$bilevel" session create "$dir/two.json" --id env-cli >/dev/null 2>&1
expect 2 'context 0 of the world names its environment' "$bilevel" session feed env-cli --simulate "$dir/world.json" --steps 5
"$bilevel" session delete env-cli >/dev/null
"$bilevel" env upload "$dir/villages.json" --print-problem >"$dir/named.json"
expect 0 'objective +0\.160061' "$bilevel" hypergradient "$dir/named.json"

# Single precision: 4 bytes less a probability, on the wire and in memory, under another name.
"$bilevel" env upload "$dir/rooms.json" --json >"$dir/double"
"$bilevel" env upload "$dir/rooms.json" --single-precision --json >"$dir/single"
/usr/bin/env python3 - "$dir" <<'PYTHON' || fail "single precision: $(cat "$dir/single")"
import json, sys
double, single = (json.load(open(f"{sys.argv[1]}/{kind}")) for kind in ("double", "single"))
assert double["name"] != single["name"] and double["upload_id"] != single["upload_id"]
saved = 4 * double["num_transitions"]
assert abs(double["total_bytes"] - single["total_bytes"] - saved) < 8, single
assert double["memory_bytes"] - single["memory_bytes"] >= saved, single
PYTHON
"$bilevel" env upload "$dir/rooms.json" --single-precision --print-problem >"$dir/named.json" 2>"$dir/error"
expect 0 'objective +0\.28815' "$bilevel" hypergradient "$dir/named.json"

# Files of NumPy and SciPy: the same matrix in every form has one name.
/usr/bin/python3 - "$dir" <<'PYTHON'
import sys
import numpy as np, scipy.io, scipy.sparse
dir = sys.argv[1]
S, A = 50, 3
rng = np.random.default_rng(1)
P = scipy.sparse.random(S * A, S, density=0.2, format="csr", random_state=rng)
P = P + scipy.sparse.csr_matrix((np.ones(S * A), (np.arange(S * A), rng.integers(S, size=S * A))), shape=(S * A, S))
P = scipy.sparse.csr_matrix(scipy.sparse.diags(1 / np.asarray(P.sum(axis=1)).ravel()) @ P)
P.sort_indices()
scipy.sparse.save_npz(f"{dir}/scipy.npz", P)
np.savez(f"{dir}/numpy.npz", indptr=P.indptr.astype("i8"), indices=P.indices.astype("i8"), data=P.data, shape=P.shape, num_actions=A)
np.savez_compressed(f"{dir}/dense.npz", transitions=P.toarray().reshape(S, A, S))
scipy.io.mmwrite(f"{dir}/rows.mtx", P, precision=17)
scipy.io.mmwrite(f"{dir}/columns.mtx", P.tocsc().tocoo(), precision=17)
scipy.io.mmwrite(f"{dir}/array.mtx", P.toarray(), precision=17)
end = 0.1 * np.ones((S, A))
np.savez(f"{dir}/more.npz", indptr=P.indptr, indices=P.indices, data=(0.9 * P.data), shape=P.shape, num_actions=A,
         termination_probability=end, initial_distribution=np.full(S, 1 / S), available_actions=np.ones((S, A), bool))
np.savez(f"{dir}/single.npz", indptr=P.indptr, indices=P.indices, data=P.data.astype("f4"), shape=P.shape, num_actions=A)
np.savez(f"{dir}/leaks.npz", indptr=P.indptr, indices=P.indices, data=0.9 * P.data, shape=P.shape, num_actions=A)
PYTHON
env 0 "^50 states, 3 actions, [0-9]+ transitions" upload "$dir/scipy.npz" --actions 3
first=$(head -1 "$dir/out")
for file in numpy.npz dense.npz rows.mtx columns.mtx array.mtx; do
  flags=()
  if [[ $file == *.mtx ]]; then flags=(--actions 3); fi
  env 0 "^$first$" upload "$dir/$file" "${flags[@]}"
done
env 0 '^50 states' upload "$dir/more.npz"
env 0 '^50 states' upload "$dir/single.npz"
env 1 'INVALID_ARGUMENT: .*row 0 \(s=0, a=0\) sums to 0.9' upload "$dir/leaks.npz"
env 2 'how many actions there are is not said: --actions A' upload "$dir/scipy.npz"
env 2 'shape: is \[150, 50\] with 4 actions; must be' upload "$dir/scipy.npz" --actions 4
env 2 'none.npz: cannot be read' upload "$dir/none.npz"
env 2 'none.json: cannot be read' upload "$dir/none.json"
env 2 'actions belongs to .npz and .mtx' upload "$dir/two.json" --actions 2
env 2 'context and --print-problem belong to problems' upload "$dir/scipy.npz" --context 0
env 2 'context is 1; the problem has 1 contexts' upload "$dir/two.json" --context 1
head -c 5000 "$dir/numpy.npz" >"$dir/cut.npz"
env 2 'cut.npz: is no zip archive, or is cut off' upload "$dir/cut.npz"
env 1 'UNAVAILABLE' --server 127.0.0.1:1 upload "$dir/two.json"
env 0 '^environments/' upload - <"$dir/two.json"
/usr/bin/env python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["contexts"][0]["environment"]))' \
  <"$dir/two.json" >"$dir/alone.json"
env 0 "^$name$" upload "$dir/alone.json"

# Progress where it is asked for, and nowhere else.
env 0 '\[#{24}\] 100 %  184 bytes of 184 bytes' upload "$dir/two.json" --progress
env 0 '^environments/' upload "$dir/two.json"
if grep -q '%' "$dir/out"; then fail "progress where nobody looks: $(cat "$dir/out")"; fi

# The id that is printed is the one to go on with, whatever the context.
env 0 '"upload_id": "own"' upload "$dir/rooms.json" --context 1 --upload-id own --json

# Ctrl-C leaves what has arrived; the same command goes on.
/usr/bin/python3 - "$dir" <<'PYTHON'
import sys
import numpy as np
S, A, k = 500_000, 4, 10
columns = (np.arange(S * A)[:, None] % (S // k) + np.arange(k) * (S // k)).astype("i4")
np.savez(f"{sys.argv[1]}/large.npz", indptr=np.arange(0, S * A * k + 1, k), indices=columns.ravel(),
         data=np.full(S * A * k, 1 / k, "f4"), shape=(S * A, S), num_actions=A)
PYTHON
(
  for ((i = 0; i < 600; ++i)); do if grep -q ' [1-9][0-9] %' "$dir/error" 2>/dev/null; then break; fi; sleep 0.02; done
  kill -INT "$(cat "$dir/pid")" 2>/dev/null
) &
interrupted=0
: >"$dir/error"
# (Not in the background of a shell, which would ignore SIGINT.)
bash -c 'echo $$ >"$1"; exec "$2" env upload "$3" --progress' - "$dir/pid" "$bilevel" "$dir/large.npz" \
  >"$dir/out" 2>"$dir/error" || interrupted=$?
wait
if [[ $interrupted != 3 ]]; then fail "Ctrl-C gave $interrupted: $(tail -1 "$dir/error")"; fi
if ! grep -Eq '^interrupted at .* of 176 MB; the same command goes on from there' "$dir/error"; then
  fail "Ctrl-C said $(tail -1 "$dir/error")"
fi
env 0 '^500000 states, 4 actions, 20000000 transitions; 176 MB' upload "$dir/large.npz" --progress
# What was on its way is sent again, no more: anew, it would begin at 1 %.
left=$(grep -o '[0-9]* %' "$dir/error" | tail -1) again=$(grep -o '[0-9]* %' "$dir/out" | head -1)
if ((2 * ${again% %} < ${left% %})); then fail "interrupted at $left, it went on from $again"; fi

# Every key is in the README.
"$bilevel" env upload "$dir/two.json" --json >"$dir/out"
"$bilevel" env list --json >>"$dir/out"
for key in $(grep -o '"[a-z_]*":' "$dir/out" | tr -d '":' | sort -u); do
  if ! grep -q "\`$key\`" "$(dirname "$0")/../../client/README.md"; then fail "env prints $key, which no README explains"; fi
done
for command in upload list show delete; do env 0 "usage: bilevel env $command" "$command" --help; done
env 0 'upload +send an environment' --help
env 2 'unknown command "env up"; see bilevel env --help' up

for stored in $("$bilevel" env list | awk 'NR > 1 {print $NF}'); do "$bilevel" env delete "$stored" >/dev/null; done
exit $((failures > 0))
