"""Times training steps of MobileNetV2 1.0 at 224 pixels: Headstart, PyTorch and Keras, interleaved, each a process of its own.

    cargo build --release --workspace --examples
    bench/.venv/bin/python bench/fine_tuning/run.py --headstart target/release/examples/training_steps

Rows: `none` everything learns, batch 16; `last2` the last two stages learn (ours from cached features, PyTorch's with the
layers below frozen, in every step); `all` the head 1280 → 256 → 1 on given features, batch 32 (Keras as `fit`).
Adam, f32.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
from interleaved import add_options, print_rows, rounds_of, write  # noqa: E402

HERE = Path(__file__).resolve().parent
# name, our frozen stage, batch, steps
ROWS = [("none", "none", 16, 12), ("last2", "stage6", 16, 24), ("all", "all", 32, 600)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "training_steps")
    options = parser.parse_args()
    result = []
    for name, ours, batch, steps in ROWS:
        numbers = ["--batch", str(batch), "--steps", str(steps), "--threads", str(options.threads)]
        job = [str(options.python), str(HERE / "pytorch_job.py"), name, *numbers]
        commands = {
            "headstart": [str(options.headstart), ours, str(batch), str(steps), str(options.threads)],
            "pytorch channels_last": [*job, "--format", "channels_last"],
        }
        if name == "all":
            keras = [str(options.python), str(HERE / "keras_job.py")]
            commands["keras fit"] = [*keras, "--batch", str(batch), "--steps", str(steps)]
        else:
            commands["pytorch contiguous"] = [*job, "--format", "contiguous_format"]
        runs = rounds_of(commands, options)
        print_rows(name, runs, batch, "examples")
        result.extend({"work": name, "who": who, "runs": found} for who, found in runs.items())
    write(result, options)


if __name__ == "__main__":
    main()
