#!/bin/sh
# Layout, limits, links and commands in documents. Usage: lint.sh [--fix] [FOLDER_OF_PROGRAMS]
# --fix rewrites what a tool can rewrite: Swift, C, comments and the order of imports. Without programs the commands in
# documents and the compiler's warnings are not checked.
set -eu
cd "$(dirname "$0")/.."
fix=no
if [ "${1:-}" = --fix ]; then fix=yes && shift; fi
bin=${1:-}
sh Scripts/setup.sh lint
tools=${BUILD:-.build}/lint
# Another list of packages makes another environment.
if ! cmp -s Scripts/lint-requirements.txt "$tools/installed"; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" install -q --disable-pip-version-check -r Scripts/lint-requirements.txt
  cp Scripts/lint-requirements.txt "$tools/installed"
fi

# Tracked and new files; links to files are their targets' business.
files() {
  git ls-files -co --exclude-standard "$@" | while read -r file; do
    if [ -f "$file" ] && [ ! -L "$file" ]; then printf '%s\0' "$file"; fi
  done
}

# In the PATH, as a subcommand, or where Debian keeps it: beside the real compiler.
beside=$(dirname "$(readlink -f "$(command -v swiftc || command -v swift)")")
if command -v swift-format >/dev/null 2>&1; then
  swift_format=swift-format
elif [ -x "$beside/swift-format" ]; then
  swift_format=$beside/swift-format
elif swift format --version >/dev/null 2>&1; then
  swift_format="swift format"
else
  echo "swift-format is missing; it comes with Swift 6" >&2
  exit 1
fi

if [ "$fix" = yes ]; then
  files '*.swift' '*.c' '*.h' | xargs -0 python3 Scripts/wrap-comments.py
  # $swift_format may be two words.
  # shellcheck disable=SC2086
  files '*.swift' | xargs -0 $swift_format format --in-place --parallel --configuration .swift-format
  files '*.c' '*.h' | xargs -0 "$tools/bin/clang-format" -i
  "$tools/bin/ruff" check -q --fix .
  exit 0
fi

failed=0
# part NAME COMMAND...
part() {
  name=$1
  shift
  if "$@" >"$tools/log" 2>&1; then
    echo "ok: $name"
  else
    failed=1
    echo "FAILED: $name"
    tail -n 40 "$tools/log"
  fi
}
swift_is_formatted() {
  # shellcheck disable=SC2086,SC2317
  files '*.swift' | xargs -0 $swift_format lint --strict --parallel --configuration .swift-format
}
# shellcheck disable=SC2317
c_is_formatted() { files '*.c' '*.h' | xargs -0 "$tools/bin/clang-format" --dry-run -Werror; }
# shellcheck disable=SC2317
shell_is_sound() { files '*.sh' .ci/run | xargs -0 shellcheck; }
part "swift-format (make format)" swift_is_formatted
part "clang-format (make format)" c_is_formatted
part shellcheck shell_is_sound
part ruff "$tools/bin/ruff" check -q .
part "limits (Scripts/check-limits.py)" python3 Scripts/check-limits.py
part "documents (Scripts/check-docs.py)" python3 Scripts/check-docs.py "$bin"
if [ -n "$bin" ]; then part "compiler (Scripts/check-warnings.py)" python3 Scripts/check-warnings.py "$bin"; fi
exit $failed
