#!/usr/bin/env bash
# Create a virtual environment that has pip.  Usage: venv.sh PYTHON FOLDER
# Debian's python3 lacks ensurepip until python3-venv is installed: root gets it installed, others are told what to do.
set -euo pipefail
python=$1
folder=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "AILink needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1). Try: make PYTHON=python3.12 …" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv
    else
        echo "'$python' cannot make virtual environments here. On Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
fi
"$python" -m venv "$folder"
