#!/usr/bin/env bash
# Checks the Protocol Buffers schema: lint, generated code as committed, and no
# change that old readers would misread. Needs buf and protoc-gen-go in PATH.
set -euo pipefail
cd "$(dirname "$0")/../events"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

buf lint

buf generate -o "$work/generated"
if ! diff -ru --exclude='*.proto' "$work/generated/proto" proto; then
  echo "generated code differs from the schema: run make generate" >&2
  exit 1
fi

# Against the last release; before there is one, against the main branch. What
# neither has (a fresh history, a source archive) cannot be compared.
base=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) || base=main
if git cat-file -e "$base:./buf.yaml" 2>/dev/null; then
  git archive --output "$work/base.tar" "$base" .
  mkdir "$work/base"
  tar -xf "$work/base.tar" -C "$work/base"
  buf breaking --against "$work/base"
else
  echo "no earlier schema in this history to compare with"
fi
