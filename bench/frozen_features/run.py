"""Times frozen networks with average pooling: Headstart, ONNX Runtime and PyTorch, interleaved, each a process of its own.

    cargo build --release --workspace --examples
    bench/.venv/bin/python bench/frozen_features/run.py --headstart target/release/examples/frozen_passes
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
from interleaved import add_options, print_rows, rounds_of, write  # noqa: E402

HERE = Path(__file__).resolve().parent
# Our name, theirs, batch, passes.
ROWS = [
    ("mobilenet_v2:1.0", "mobilenet_v2", 32, 16),
    ("mobilenet_v2:1.0", "mobilenet_v2", 1, 120),
    ("vgg16:plain", "vgg16", 8, 5),
    ("inception_v3:1.0", "inception_v3", 16, 4),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "frozen_passes")
    parser.add_argument("--only", nargs="*", help="networks to time: mobilenet_v2, vgg16, inception_v3")
    parser.add_argument("--bf16", action="store_true", help="also time our reduced precision (AVX-512 BF16)")
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
        runs = rounds_of(commands, options)
        print_rows(f"{network} batch {batch}", runs, batch, "pictures")
        result.append({"network": network, "batch": batch, "runs": runs})
    write(result, options)


if __name__ == "__main__":
    main()
