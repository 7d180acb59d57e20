#!/bin/sh
# Makes bench/.venv with what the reference jobs need (several gigabytes, once).
set -eu
cd "$(dirname "$0")"
python3 -m venv .venv
.venv/bin/python -m pip install --quiet --upgrade pip
.venv/bin/python -m pip install --quiet -r requirements.txt
echo "ready: bench/.venv/bin/python"
