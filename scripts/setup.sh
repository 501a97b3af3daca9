#!/usr/bin/env bash
# Makes .venv on a machine where nothing was installed by hand: Python packages from requirements.lock (hashes checked, wheels only),
# this project, and the system libraries that make it better. Run by every `make` target that needs it; harmless twice.
#
# What must work fails loudly: Python, its venv module, the packages. What only makes things better never fails the build and never
# waits for a password; it is named at the end, with what it means. NO_SYSTEM_PACKAGES=1 leaves the system alone.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
say() { printf '==> %s\n' "$*"; }

# --- the system's package manager ------------------------------------------------------------------------------------------------

as_root() { # runs a command as root, or fails; never asks
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
  [ -z "${NO_SYSTEM_PACKAGES:-}" ] || return 1
  case $(uname -s) in
    Darwin) command -v brew >/dev/null ;;
    Linux) command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; } ;;
    *) return 1 ;;
  esac
}

install() { # installs packages with apt-get or brew; quiet, without questions, bounded by apt's own time-outs
  case $(uname -s) in
    Darwin) HOMEBREW_NO_AUTO_UPDATE=1 brew install --quiet "$@" </dev/null ;;
    *)
      [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -mtime -7 2>/dev/null | head -n 1)" ] ||
        as_root apt-get -qq -o Acquire::http::Timeout=20 update </dev/null
      as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=60 -o Acquire::http::Timeout=20 \
        install --no-install-recommends "$@" </dev/null
      ;;
  esac
}

# --- Python ----------------------------------------------------------------------------------------------------------------------

can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
  local found
  if ! found=$(scripts/python.sh 2>/dev/null) && [ -z "${PYTHON:-}" ] && [ "$(uname -s)" = Linux ] && may_install; then
    say "installing Python" >&2
    install python3 python3-venv >&2 || true
  fi
  scripts/python.sh
}

PYTHON=$(find_python)
version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! can_make_venv "$PYTHON"; then # Debian and Ubuntu ship venv apart
  may_install && install "python$version-venv" >/dev/null || true
  can_make_venv "$PYTHON" || {
    echo "Python $version has no venv module. Install it with: sudo apt-get install python$version-venv   then run make again." >&2
    exit 1
  }
fi
if [ ! -x "$VENV/bin/python" ] || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
  say "making $VENV with Python $version ($PYTHON)"
  rm -rf "$VENV"
  "$PYTHON" -m venv "$VENV"
fi
if ! command -v cc >/dev/null && ! command -v gcc >/dev/null && ! command -v clang >/dev/null && may_install && [ "$(uname -s)" = Linux ]; then
  say "installing a C compiler" # the echo canceller is compiled; without one another canceller is used, and named at the end
  install gcc libc6-dev >/dev/null 2>&1 || true
fi
say "installing the locked packages (wheels only, hashes checked)"
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install --require-hashes --no-deps --only-binary :all: -r requirements.lock # the lock is complete: nothing is left to resolve
pip install --no-deps --no-build-isolation --editable .

# --- system libraries ------------------------------------------------------------------------------------------------------------

has_library() { # is there a shared library of this name?
  "$VENV/bin/python" - "$1" <<'PY'
import ctypes, ctypes.util, sys
name = sys.argv[1]
places = [f"lib{name}.so.1", f"lib{name}.so.2", f"/opt/homebrew/lib/lib{name}.dylib", f"/usr/local/lib/lib{name}.dylib", ctypes.util.find_library(name)]
for place in filter(None, places):
    try:
        ctypes.CDLL(place)
    except OSError:
        continue
    sys.exit(0)
sys.exit(1)
PY
}

missing=""
"$VENV/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("pocketsphinx") is None)' || missing="
  - pocketsphinx (has no wheel for Python $version on this machine; PYTHON=python3.13 or python3.11 has one): without it there are no
    embedded backends, and \`make demo\` does not work"
[ -e voicefsm/aec/native/_ear.so ] || missing="$missing
  - a C compiler (Debian/Ubuntu: gcc libc6-dev; macOS: xcode-select --install), then rm $VENV/.set-up and make again: without it the
    project's own echo canceller is missing, and Speex or AEC3 stands in"
want() { # want LIBRARY DEBIAN-PACKAGES BREW-FORMULA MEANING
  has_library "$1" && return 0
  local packages=$2
  [ "$(uname -s)" = Darwin ] && packages=$3
  if [ -n "$packages" ] && may_install; then
    say "installing $packages"
    # shellcheck disable=SC2086  # several packages
    install $packages >/dev/null 2>"$VENV/system-packages.log" || true
    has_library "$1" && return 0
  fi
  missing="$missing
  - $1 (Debian/Ubuntu: ${2:-none}; macOS: ${3:-none}): $4"
}

want speexdsp libspeexdsp1 speexdsp "without it the echo canceller is AEC3 from a wheel instead of Speex"
want flite "libflite1 flite" flite "without it the embedded voices are espeak-ng only, which sound harsher and are recognised worse"
want portaudio libportaudio2 portaudio "without it \`voicefsm talk\` has no microphone; nothing else needs it"

if [ -n "$missing" ]; then
  why="tried, in vain"
  [ -z "${NO_SYSTEM_PACKAGES:-}" ] || why="NO_SYSTEM_PACKAGES is set"
  may_install || [ -n "${NO_SYSTEM_PACKAGES:-}" ] || why="no apt-get with root or password-less sudo here, and no brew"
  printf '\nNOT INSTALLED (%s):%s\n\n' "$why" "$missing"
else
  say "nothing is missing"
fi
