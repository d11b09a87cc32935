#!/usr/bin/env bash
# Installs Chromium from the distribution (Debian; needs root or sudo), in which the
# tests of the load test's report look at it. They are skipped where there is none.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then
    "$name" --version
    exit 0
  fi
done

as_root=()
((EUID == 0)) || as_root=(sudo)

"${as_root[@]}" apt-get update
# The fonts are those that the drawings are measured for.
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium fonts-liberation
chromium --version
