#!/usr/bin/env bash
# with_server.sh SERVER COMMAND...: starts the server on a free loopback port, runs the command with the address as its
# last argument, stops the server, and exits with the command's code. A server that does not stop cleanly is a failure.
set -euo pipefail
server_binary=$1
shift

exec {log}< <(exec "$server_binary" --listen=127.0.0.1:0 --ephemeral --drain_delay=0s)
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
if ! read -r -t 60 line <&"$log"; then
  echo "with_server.sh: the server did not start" >&2
  exit 1
fi

code=0
"$@" "${line##* }" || code=$?
kill "$server"
wait "$server"
trap - EXIT
exit "$code"
