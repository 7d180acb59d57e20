"""Times Headstart's detectors against OpenCV's DNN module and PyTorch, in turn, and prints seconds and ratios.

    python bench/detection/run.py WEIGHTS_FOLDER DETECTOR_TIMES [--mobilenet FILE]

WEIGHTS_FOLDER holds yolo-fastest-1.1.cfg and .weights; DETECTOR_TIMES is the built example
(target/release/examples/detector_times). Needs opencv-python-headless 4.14 for inference, torch and torchvision for steps; what is
not installed is left out. Peers and we take turns, two threads each; the median of the medians of three turns counts.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

THREADS = 2


def ours(binary, *arguments):
    out = subprocess.run([binary, *map(str, arguments)], check=True, capture_output=True, text=True).stdout
    return json.loads(out)["seconds"]


def opencv(folder, size=320, count=60):
    import cv2
    import numpy as np

    cv2.setNumThreads(THREADS)
    net = cv2.dnn.readNetFromDarknet(str(folder / "yolo-fastest-1.1.cfg"), str(folder / "yolo-fastest-1.1.weights"))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    blob = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)
    names = net.getUnconnectedOutLayersNames()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        net.setInput(blob)
        net.forward(names)
        times.append(time.perf_counter() - start)
    return statistics.median(times[count // 4 :])


def turns(name, we, peer, times=3):
    mine, theirs = [], []
    for _ in range(times):
        mine.append(we())
        time.sleep(1)
        theirs.append(peer())
        time.sleep(1)
    a, b = statistics.median(mine), statistics.median(theirs)
    print(json.dumps({"what": name, "ours": a, "peer": b, "ratio": b / a}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("binary")
    parser.add_argument("--mobilenet", type=Path)
    options = parser.parse_args()
    weights = options.folder / "yolo-fastest-1.1.weights"
    here = Path(__file__).resolve().parent
    torch_job = lambda *arguments: json.loads(
        subprocess.run([sys.executable, here / "pytorch_job.py", *map(str, arguments)], check=True, capture_output=True, text=True).stdout
    )["seconds"]
    try:
        import cv2  # noqa: F401

        turns("inference of Yolo-Fastest 320", lambda: ours(options.binary, weights, "infer", 320, 1, 80, THREADS), lambda: opencv(options.folder))
    except ImportError:
        print("opencv is not installed", file=sys.stderr)
    try:
        import torch  # noqa: F401

        turns("step of Yolo-Fastest, batch 16", lambda: ours(options.binary, weights, "train", 320, 16, 8, THREADS), lambda: torch_job("yolo", options.folder, 16, 8))
        if options.mobilenet:
            turns("step of RetinaNet-MobileNetV2, batch 4, 512 px", lambda: ours(options.binary, options.mobilenet, "train", 512, 4, 5, THREADS), lambda: torch_job("retinanet", options.folder, 4, 5))
    except ImportError:
        print("torch is not installed", file=sys.stderr)


main()
