#!/usr/bin/env bash
# Installs the Debian packages named in the given lists (one a line, # for comments) that are missing. Needs root or
# sudo only when something is missing.
set -euo pipefail

missing=()
while read -r package; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  if [[ "$status" != installed ]]; then missing+=("$package"); fi
done < <(cat "$@" | grep -vE '^(#|$)')
if ((${#missing[@]} == 0)); then exit 0; fi

echo "Installing ${missing[*]}"
as_root=()
if ((EUID != 0)); then as_root=(sudo); fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
