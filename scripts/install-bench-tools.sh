#!/usr/bin/env bash
# Installs what the benchmarks compare with: Redis from the distribution, of which
# only the program is wanted (Debian and Ubuntu; needs root or sudo; no service is left
# running), and Open Policy Agent from its module into .tools/.
set -euo pipefail
cd "$(dirname "$0")/.."

opa=v1.22.2
bin=$PWD/.tools/opa@$opa
if [[ ! -x $bin/opa ]]; then
  GOBIN=$bin GOWORK=off CGO_ENABLED=0 go install "github.com/open-policy-agent/opa@$opa"
fi
"$bin/opa" version | head -1
echo "for the comparison of the fronts: export PATH=$bin:\$PATH"

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
