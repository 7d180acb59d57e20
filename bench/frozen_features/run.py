"""Times frozen networks with average pooling: Headstart, ONNX Runtime and PyTorch, interleaved, each a process of its own.

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
# Our name, theirs, batch, passes.
ROWS = [
    ("mobilenet_v2:1.0", "mobilenet_v2", 32, 16),
    ("mobilenet_v2:1.0", "mobilenet_v2", 1, 120),
    ("vgg16:plain", "vgg16", 8, 5),
    ("inception_v3:1.0", "inception_v3", 16, 4),
]


def paired(ours, theirs):
    """The median over rounds of how much longer they took than ours in the same round: noise that lasts hits both."""
    return statistics.median(their / our for our, their in zip(ours, theirs))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headstart", type=Path, required=True, help="the example frozen_passes")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--only", nargs="*", help="networks to time: mobilenet_v2, vgg16, inception_v3")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds of rest before each process")
    parser.add_argument("--bf16", action="store_true", help="also time our reduced precision (AVX-512 BF16)")
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    result = []
    for backbone, network, batch, passes in ROWS:
        if options.only and network not in options.only:
            continue
        job = [str(options.python), str(HERE / "peer_job.py")]
        numbers = ["--network", network, "--batch", str(batch), "--passes", str(passes), "--threads", str(options.threads)]
        commands = {
            "headstart": [str(options.headstart), backbone, str(batch), str(passes), str(options.threads)],
            "onnxruntime": [*job, "onnxruntime", *numbers],
            "pytorch channels_last": [*job, "pytorch", *numbers],
        }
        if options.bf16:
            commands["headstart bf16"] = [*commands["headstart"], "bf16"]
        runs = {who: [] for who in commands}
        for _ in range(options.rounds):
            for who, command in commands.items():
                time.sleep(options.pause)
                environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
                output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True)
                runs[who].append(json.loads(output.stdout.splitlines()[-1])["seconds"])
        for who, seconds in runs.items():
            median = statistics.median(seconds)
            print(
                f"{network:<13} batch {batch:<3} {who:<22} {median * 1000:8.2f} ms"
                f"  ({min(seconds) * 1000:.2f}–{max(seconds) * 1000:.2f})  {batch / median:7.1f} pictures/s"
                f"  {paired(runs['headstart'], seconds):5.2f} ×",
                flush=True,
            )
        result.append({"network": network, "batch": batch, "seconds": runs})
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
