#!/usr/bin/env bash
# Checks what the documents claim against the tree, and the other way round:
#
#   - a test named as `dir.TestName` exists in dir;
#   - every invariant names a test, every requirement that is done names one;
#   - an INV-n or ADR-nnnn cited anywhere exists;
#   - relative links and `paths/in/the/tree` lead somewhere, `make target` is a target.
#
# Prints every fault, then exits 1 if there was one.
set -euo pipefail
cd "$(dirname "$0")/.."

faults=0
fault() {
  echo "docs: $*" >&2
  faults=$((faults + 1))
}

mapfile -t pages < <(find . -name '*.md' -not -path '*/.*/*' -not -path '*/node_modules/*' | sort)
sources=(events services sidecar loadtest deploy scripts)

# --- tests that documents name -------------------------------------------------

named='`[a-z][A-Za-z0-9_/.-]*\.(Test|Fuzz|Benchmark|Example)[A-Za-z0-9_]*`'

while IFS=: read -r page test; do
  test=${test//\`/}
  dir=${test%.*} name=${test##*.}
  grep -qsE "^func $name\(" "$dir"/*_test.go || fault "$page names $test, which does not exist"
done < <(grep -oE "$named" "${pages[@]}" /dev/null | sort -u)

# --- invariants ----------------------------------------------------------------

# Each section's body on one line, so that a search for a test sees all of it.
sections=$(awk '/^## INV-/ { printf "\n" } /^## INV-/, 0 { printf "%s ", $0 }' docs/invariants.md)
while read -r section; do
  [[ -z $section ]] && continue
  id=$(grep -oE 'INV-[0-9]+' <<<"$section" | head -n 1)
  grep -qE "$named" <<<"${section#*Proved by}" || fault "docs/invariants.md: $id names no test"
done <<<"$sections"

while IFS=: read -r file id; do
  grep -qE "^## $id\b" docs/invariants.md || fault "$file cites $id, which docs/invariants.md does not have"
done < <(grep -rsIoE '\bINV-[0-9]+\b' "${sources[@]}" "${pages[@]}" | sort -u)

# --- requirements ---------------------------------------------------------------

rows=0
while IFS='|' read -r _ id _ state tests _; do
  rows=$((rows + 1))
  state=$(xargs <<<"$state")
  case $state in
    done | partly)
      grep -qE "$named" <<<"$tests" || fault "docs/requirements.md:$id is $state but names no test" ;;
    later) ;;
    *) fault "docs/requirements.md:$id has state \"$state\", want done, partly or later" ;;
  esac
done < <(grep -E '^\| R[0-9]+ ' docs/requirements.md)
((rows == 33)) || fault "docs/requirements.md has $rows rows, want 33"

# --- citations, links, targets ----------------------------------------------------

while IFS=: read -r file id; do
  compgen -G "docs/adr/${id#ADR-}-*.md" >/dev/null || fault "$file cites $id, which docs/adr does not have"
done < <(grep -rsIoE '\bADR-[0-9]{4}\b' "${sources[@]}" "${pages[@]}" | sort -u)

for page in "${pages[@]}"; do
  while read -r link; do
    target=${link%%#*}
    [[ -z $target || -e $(dirname "$page")/$target ]] || fault "$page links to $target, which does not exist"
  done < <(grep -oE '\]\([^)]+\)' "$page" | sed -E 's/^\]\(//; s/\)$//' | grep -vE '^[a-z]+:' || true)
done

place='`(deploy|docs|events|loadtest|scripts|services|sidecar)(/[A-Za-z0-9_.-]+)*`'
while IFS=: read -r page path; do
  [[ $path =~ \.(Test|Fuzz|Benchmark|Example) ]] && continue # a test, checked above
  path=${path//\`/}
  [[ -e $path ]] || fault "$page mentions $path, which does not exist"
done < <(grep -oE "$place" "${pages[@]}" /dev/null | sort -u)

# In backticks, or on a line of its own as in a block of commands.
command='`make [a-z-]+|^(\$ )?make [a-z-]+( *$| +#| [A-Z]+=)'
while IFS=: read -r page target; do
  target=$(sed -E 's/.*make ([a-z-]+).*/\1/' <<<"$target")
  grep -qE "^$target:" Makefile || fault "$page mentions make $target, which the Makefile does not have"
done < <(grep -oE "$command" "${pages[@]}" /dev/null | sort -u)

((faults == 0)) || exit 1
