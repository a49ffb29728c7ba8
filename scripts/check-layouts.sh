#!/bin/sh
# The layouts that tests, demo and benchmarks work on must have the same digests everywhere.
set -eu
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$(dirname "$0")/make-layouts.py" "$out" check
