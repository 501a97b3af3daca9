#!/usr/bin/env bash
# Puts what checks deploy/ into $BIN (.venv/bin): deploy/requirements.lock (hashes checked, wheels only) and kubectl. Harmless twice.
# In CI a tool that cannot be had is an error; elsewhere it is named, and the tests that need it say that they were skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
export BIN=${BIN:-.venv/bin}
if "$BIN/python" -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps --only-binary :all: -r deploy/requirements.lock &&
  kubectl=$(scripts/kubectl.sh); then
  [ -z "${STAMP:-}" ] || touch "$STAMP" # what is missing is tried again
  echo "==> deploy/ can be checked: $kubectl"
else
  echo "NOT INSTALLED: the tools that check deploy/ (see above)" >&2
  [ -z "${CI:-}" ]
fi
