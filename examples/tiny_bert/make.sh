#!/usr/bin/env bash
# Makes crates/headstart/assets/tiny_bert: see README.md.
#   make.sh PACKAGES TEACHER WORK     PACKAGES as `npm pack` leaves them, the folder of all-MiniLM-L6-v2, room for the rest
set -euo pipefail
packages=$1 teacher=$2 work=$3
here=$(cd "$(dirname "$0")" && pwd)
headstart=${HEADSTART:-headstart}

python "$here/corpus.py" "$packages" "$work/corpus"
"$headstart" pretrain --task masked-lm "$work/corpus" --width 128 --layers 2 --heads 4 --vocabulary 8000 \
    --dropout 0 --batch 4096 --steps 1500 --seed 0 --output "$work/tiny_mlm"
python "$here/distil.py" teach "$teacher" "$work/corpus" "$work/tiny_mlm" "$work/pool"
python "$here/distil.py" fit "$work/pool" "$work/tiny_mlm" "$work/tiny_bert"
cp "$work"/tiny_bert/{config.json,model.safetensors,tokenizer.json} "$here/../../crates/headstart/assets/tiny_bert/"
