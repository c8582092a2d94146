#!/usr/bin/env bash
# Builds the server, starts it, and optimises Four-Rooms with it. Enough on a fresh Debian 12, as root or with sudo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

docker/install_packages.sh docker/packages.txt
cmake --preset release -DBILEVEL_BUILD_TESTS=OFF >/dev/null
cmake --build --preset release --target bilevel_server bilevel example_four_rooms_demo
client/with_server.sh .build/release/bin/bilevel_server .build/release/bin/example_four_rooms_demo
