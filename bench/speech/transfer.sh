#!/usr/bin/env bash
# What a source model is worth: English sentences and digits → Spanish sentences, and English sentences → digits, each beside the
# same network from scratch, three seeds.
#
#     bench/speech/transfer.sh target/release/headstart DATA OUT
#
# DATA holds english_sentences, spanish_sentences (wav/ with transcripts.tsv) and fsdd (recordings/, named by digit).
set -euo pipefail
headstart=$1 data=$2 out=$3
mkdir -p "$out"
python3 "$(dirname "$0")/join.py" "$data" "$out"
common=(--backbone deepspeech:256 --views 8 --seed 0)
"$headstart" train "$out/english_and_digits" "${common[@]}" --epochs 50 --speakers mixed --out "$out/english.headstart"
"$headstart" train "$data/english_sentences" "${common[@]}" --epochs 80 --out "$out/sentences.headstart"
for seed in 0 1 2; do
    for start in pretrained scratch; do
        from=(--weights random --backbone deepspeech:256)
        of_digits=("${from[@]}")
        if [ $start = pretrained ]; then
            from=(--weights "$out/english.headstart")
            of_digits=(--weights "$out/sentences.headstart")
        fi
        "$headstart" train "$data/spanish_sentences" "${from[@]}" --epochs 30 --views 8 --val 0.2 --seed $seed --json \
            --out "$out/spanish_$start$seed.headstart" > "$out/spanish_$start$seed.jsonl"
        "$headstart" train "$out/digits$seed/train" "${of_digits[@]}" --head linear --epochs 30 --views 4 --val 0.2 --seed $seed \
            --out "$out/digits_$start$seed.headstart"
        "$headstart" evaluate "$out/digits_$start$seed.headstart" "$out/digits$seed/test"
    done
done
