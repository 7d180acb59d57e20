"""Times DeepSpeech: Headstart and PyTorch, interleaved, each a process of its own.

    cargo build --release --workspace --examples
    bench/.venv/bin/python bench/speech/run.py --headstart target/release/examples/speech_steps

Rows: a step of Adam in which everything learns, batch 8 of 5 s clips; and hearing one recording of 30 s on one thread, for
Headstart from its samples on, for PyTorch from its windows on.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
from interleaved import add_options, print_rows, rounds_of, write  # noqa: E402

HERE = Path(__file__).resolve().parent
# What, units, recordings, seconds, repetitions, threads (those that were asked for, where there is none).
ROWS = [("step", 2048, 8, 5, 4, None), ("pass", 2048, 1, 30, 3, 1), ("step", 512, 8, 5, 6, None)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "speech_steps")
    options = parser.parse_args()
    result, threads_asked = [], options.threads
    for what, hidden, batch, seconds, count, threads in ROWS:
        options.threads = threads or threads_asked
        numbers = ["--hidden", str(hidden), "--batch", str(batch), "--seconds", str(seconds), "--count", str(count),
                   "--threads", str(options.threads)]
        ours = [str(number) for number in (hidden, batch, seconds, count, options.threads)]
        commands = {
            "headstart": [str(options.headstart), what, *ours],
            "pytorch": [str(options.python), str(HERE / "pytorch_job.py"), what, *numbers],
        }
        runs = rounds_of(commands, options)
        print_rows(f"DeepSpeech {hidden} {what}", runs, batch * seconds, "s of audio")
        result.append({"work": what, "hidden": hidden, "batch": batch, "seconds": seconds, "runs": runs})
    write(result, options)


if __name__ == "__main__":
    main()
