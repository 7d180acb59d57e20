"""Times passes and training steps of BERT-base: Headstart and PyTorch, interleaved, each a process of its own.

    cargo build --release --workspace --examples
    bench/.venv/bin/python bench/text/run.py --headstart target/release/examples/transformer_steps

Rows: `pass` of a batch of 8, `step` of AdamW in which everything learns, both for 128 tokens each and for mixed lengths of
8 to 128 tokens, which PyTorch pads to the longest and Headstart does not pad.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
from interleaved import add_options, print_rows, rounds_of, write  # noqa: E402

HERE = Path(__file__).resolve().parent
BATCH = 8
# What, length, repetitions.
ROWS = [("pass", "128", 8), ("pass", "mixed", 8), ("step", "128", 5), ("step", "mixed", 5)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "transformer_steps")
    parser.add_argument("--only", nargs="*", choices=["pass", "step"], help="what to time")
    options = parser.parse_args()
    result = []
    for what, length, count in ROWS:
        if options.only and what not in options.only:
            continue
        numbers = ["--batch", str(BATCH), "--length", length, "--count", str(count), "--threads", str(options.threads)]
        commands = {
            "headstart": [str(options.headstart), what, str(BATCH), length, str(count), str(options.threads)],
            "pytorch": [str(options.python), str(HERE / "pytorch_job.py"), what, *numbers],
        }
        runs = rounds_of(commands, options)
        print_rows(f"BERT-base {what} {length}", runs, BATCH, "sequences")
        result.append({"work": what, "length": length, "batch": BATCH, "runs": runs})
    write(result, options)


if __name__ == "__main__":
    main()
