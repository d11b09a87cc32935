#!/usr/bin/env bash
# Installs what the benchmarks compare with, from the distribution: Redis, of which
# only the program is wanted. No service is left running. Debian and Ubuntu; needs
# root or sudo.
set -euo pipefail

if command -v redis-server >/dev/null; then
  redis-server --version
  exit 0
fi

as_root=()
((EUID == 0)) || as_root=(sudo)

# The package starts a service when it is installed, unless this file says no.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi

"${as_root[@]}" apt-get update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server
redis-server --version
