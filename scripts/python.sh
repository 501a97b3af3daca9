#!/usr/bin/env bash
# Prints the Python to use: $PYTHON, or the first of 3.11-3.13 that runs here. Fails with what to install.
set -euo pipefail
# 3.12 comes last: the speech engine of the embedded backends has newer wheels for the others.
for python in ${PYTHON:-python3.11 python3.13 python3 python3.12}; do
  if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    command -v "$python"
    exit 0
  fi
done
echo "No Python 3.11, 3.12 or 3.13 found${PYTHON:+ (PYTHON=$PYTHON)}." >&2
echo "Debian/Ubuntu: sudo apt-get install python3 python3-venv   macOS: brew install python@3.13   then run make again." >&2
exit 1
