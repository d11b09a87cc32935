#!/usr/bin/env bash
# Runs the scenarios of the load test one after the other and leaves a report:
#
#   scripts/loadtest.sh quick|full DIR
#
# A scenario that misses something does not keep the others from running; the exit
# status tells of it in the end.
set -uo pipefail
cd "$(dirname "$0")/.."

profile=${1:-} out=${2:-}
case $profile in
  quick) runs=1 measured=5s soaked=1m ;;
  full) runs=5 measured=30s soaked=1h ;;
  *) out= ;;
esac
if [[ -z $out ]]; then
  echo "usage: scripts/loadtest.sh quick|full DIR" >&2
  exit 2
fi

missed=()
# scenario DIR NAME FLAGS…
scenario() {
  local dir=$1
  shift
  echo "== loadtest $*" >&2
  bin/loadtest "$@" --out "$dir" || missed+=("$*")
}

for ((run = 1; run <= runs; run++)); do
  dir=$out/run-$run
  scenario "$dir" verify --local --rate 500,2000,max --duration "$measured"
  scenario "$dir" issue --rate 20,50 --duration "$measured"
done
scenario "$out" soak --duration "$soaked"

bin/loadtest report "$out" >/dev/null || missed+=(report)
echo "the report: $out/report.html" >&2
if ((${#missed[@]})); then
  printf 'missed: loadtest %s\n' "${missed[@]}" >&2
  exit 1
fi
