#!/usr/bin/env bash
# with_server.sh SERVER COMMAND...: starts the server on a free loopback port, runs the command with the address as its
# last argument, stops the server, and exits with the command's code. A server that does not stop cleanly is a failure.
set -euo pipefail
server_binary=$1
shift

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

for _ in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 12000))
  "$server_binary" --listen="127.0.0.1:$port" --ephemeral --drain_delay=0s &
  server=$!
  for _ in {1..200}; do
    if answers "$port" || ! kill -0 "$server" 2>/dev/null; then break; fi
    sleep 0.05
  done
  if kill -0 "$server" 2>/dev/null; then break; fi
done
trap 'kill "$server" 2>/dev/null || true' EXIT

code=0
"$@" "127.0.0.1:$port" || code=$?
kill "$server"
wait "$server"
trap - EXIT
exit "$code"
