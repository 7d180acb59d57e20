"""Times training steps of MobileNetV2 1.0 at 224 pixels: Headstart, PyTorch and Keras, interleaved, each a process of its own.

    cargo build --release --workspace --examples
    bench/.venv/bin/python bench/fine_tuning/run.py --headstart target/release/examples/training_steps

Rows: `none` everything learns, batch 16; `last2` the last two stages learn (ours from cached features, PyTorch's with the
layers below frozen, in every step); `all` the head 1280 → 256 → 1 on given features, batch 32 (Keras as `fit`).
Adam, f32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# name, our frozen stage, batch, steps
ROWS = [("none", "none", 16, 12), ("last2", "stage6", 16, 24), ("all", "all", 32, 600)]


def measure(command, threads):
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",
    }
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, stderr=subprocess.DEVNULL)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command} ended with {process.returncode}")
    return json.loads(output.splitlines()[-1]) | {"mebibytes": usage.ru_maxrss / 1024}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headstart", type=Path, required=True, help="the example training_steps")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds of rest before each process")
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    runs = {}
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
        for _ in range(options.rounds):
            for who, command in commands.items():
                time.sleep(options.pause)
                runs.setdefault((name, who), []).append(measure(command, options.threads))
        ours_seconds = statistics.median(run["seconds"] for run in runs[name, "headstart"])
        for who in commands:
            seconds = [run["seconds"] for run in runs[name, who]]
            median = statistics.median(seconds)
            peak = statistics.median(run["mebibytes"] for run in runs[name, who])
            print(
                f"{name:<6} {who:<22} {median * 1000:9.2f} ms  ({min(seconds) * 1000:.2f}–{max(seconds) * 1000:.2f})"
                f"  {batch / median:9.1f} examples/s  {peak:7.0f} MiB  {median / ours_seconds:5.2f} ×",
                flush=True,
            )
    result = [{"work": name, "who": who, "runs": found} for (name, who), found in runs.items()]
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
