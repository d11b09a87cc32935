#!/usr/bin/env bash
# Fuzzes every target of every module for $FUZZTIME each, one after the other.
# Stops at the first that fails; Go then leaves the input under testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

# Only packages that have a target are built: instrumented builds are slow.
mapfile -t dirs < <(
  grep -rlE --include='*_test.go' '^func Fuzz[A-Z0-9_]' -- */ | xargs -r -n1 dirname | sort -u
)
if ((${#dirs[@]} == 0)); then
  echo "no fuzz targets found" >&2
  exit 1
fi

for dir in "${dirs[@]/#/./}"; do
  targets=$(go test -list '^Fuzz' "$dir")
  for target in $(grep '^Fuzz' <<<"$targets"); do
    echo "$dir $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-5s}" "$dir"
  done
done
