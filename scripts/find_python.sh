#!/usr/bin/env bash
# Print a CPython 3.11 that can make virtual environments, or say what to install. PYTHON=... is tried alone.
set -u

works() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

candidates=(python3.11 python3 python)
if command -v uv >/dev/null 2>&1; then
    candidates+=("$(uv python find 3.11 2>/dev/null)")
fi
if [ -n "${PYTHON:-}" ]; then
    candidates=("$PYTHON")
fi
for candidate in "${candidates[@]}"; do
    if [ -n "$candidate" ] && works "$candidate"; then
        "$candidate" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done

{
    echo "setup: CPython 3.11 with venv was not found (tried: ${candidates[*]})."
    echo "PyBullet's wheels end at CPython 3.11, so no other version will do. Install one of:"
    echo "  Debian 12:    sudo apt install python3.11 python3.11-venv   (Ubuntu: from the deadsnakes archive)"
    echo "  with pyenv:   pyenv install 3.11 && pyenv local 3.11"
    echo "  with uv:      uv python install 3.11"
    echo "then run make setup again, or name it: make setup PYTHON=/path/to/python3.11"
} >&2
exit 1
