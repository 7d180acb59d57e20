"""Times frozen MobileNetV2 1.0 at 224 pixels: Headstart, ONNX Runtime and PyTorch, interleaved, each a process of its own.

    cargo build --release --workspace --examples
    bench/.venv/bin/python bench/frozen_features/run.py --headstart target/release/examples/frozen_passes
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
ROWS = [(32, 16), (1, 120)]  # batch, passes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headstart", type=Path, required=True, help="the example frozen_passes")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds of rest before each process")
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    result = []
    for batch, passes in ROWS:
        job = [str(options.python), str(HERE / "peer_job.py")]
        numbers = ["--batch", str(batch), "--passes", str(passes), "--threads", str(options.threads)]
        commands = {
            "headstart": [str(options.headstart), str(batch), str(passes), str(options.threads)],
            "onnxruntime": [*job, "onnxruntime", *numbers],
            "pytorch channels_last": [*job, "pytorch", *numbers],
        }
        runs = {who: [] for who in commands}
        for _ in range(options.rounds):
            for who, command in commands.items():
                time.sleep(options.pause)
                environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
                output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True)
                runs[who].append(json.loads(output.stdout.splitlines()[-1])["seconds"])
        ours = statistics.median(runs["headstart"])
        for who, seconds in runs.items():
            median = statistics.median(seconds)
            print(
                f"batch {batch:<3} {who:<22} {median * 1000:8.2f} ms  ({min(seconds) * 1000:.2f}–{max(seconds) * 1000:.2f})"
                f"  {batch / median:7.1f} pictures/s  {median / ours:5.2f} ×",
                flush=True,
            )
        result.append({"batch": batch, "seconds": runs})
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
