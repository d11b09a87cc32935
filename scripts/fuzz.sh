#!/usr/bin/env bash
# Fuzzes every target of every module for $FUZZTIME each, one after the other.
# Stops at the first that fails; Go then leaves the input under testdata/fuzz.
#
# Inputs that reach something new are made smaller only briefly: it would take most of a
# short time, and a failing one that is long is one all the same.
#
# Go before 1.27 sometimes takes the end of the time for a failure (golang/go#75804): it
# then says "context deadline exceeded" and names no input. Such a run is no run, and is
# repeated, twice at most.
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

said=$(mktemp)
trap 'rm -f "$said"' EXIT

fuzz() {
  local dir=$1 target=$2
  for attempt in 1 2 3; do
    if go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-5s}" -fuzzminimizetime 20x "$dir" 2>&1 | tee "$said"; then
      return
    fi
    if ((attempt == 3)) || ! grep -q '^ *context deadline exceeded$' "$said" || grep -q 'Failing input written' "$said"; then
      return 1
    fi
    echo "$dir $target once more: no input failed"
  done
}

for dir in "${dirs[@]/#/./}"; do
  targets=$(go test -list '^Fuzz' "$dir")
  for target in $(grep '^Fuzz' <<<"$targets"); do
    echo "$dir $target"
    fuzz "$dir" "$target"
  done
done
