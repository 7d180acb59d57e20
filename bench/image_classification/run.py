"""Times the same image classification job as whole processes: Headstart, Keras and PyTorch, side by side.

    bench/.venv/bin/python bench/image_classification/run.py --data DIR --weights FILE --headstart BINARY

Rounds are interleaved and their order turns, so that a slow minute of the machine hits everyone. Every process is
held to the same first `--threads` CPUs. Wall time is from start to exit, imports included. Peak memory is `ru_maxrss`
of the process or of its largest child: the workers of a data loader are *not* added up.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/, two classes")
    parser.add_argument("--weights", type=Path, required=True, help="MobileNetV2 1.0 safetensors, TensorFlow padding")
    parser.add_argument("--headstart", type=Path, required=True, help="the binary")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="interpreter of the reference jobs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-ups", type=int, default=1, help="rounds that are not counted")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds of rest before each process")
    parser.add_argument("--only", nargs="+", choices=["headstart", "keras", "pytorch"], help="leave the others out")
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    return parser.parse_args()


def commands(options, seed, folder):
    """Name → command line of the job."""
    shared = ["--epochs", str(options.epochs), "--seed", str(seed)]
    reference = [str(options.data), str(options.weights), *shared]
    every = {
        "headstart": [
            *[str(options.headstart), "train", str(options.data), "--weights", str(options.weights)],
            *["--head", "mlp:256", "--output", "sigmoid", "--keep-last", *shared, "--threads", str(options.threads)],
            *["--json", "--out", str(folder / "job.headstart")],
        ],
        "keras": [str(options.python), str(HERE / "keras_job.py"), *reference],
        "pytorch": [
            *[str(options.python), str(HERE / "pytorch_job.py"), *reference],
            *["--threads", str(options.threads), "--workers", str(options.threads)],
        ],
    }
    return {name: command for name, command in every.items() if not options.only or name in options.only}


def accuracy_of(event):
    return event["metrics"]["accuracy"] if event.get("event") == "report" else event["accuracy"]


def measure(command, threads, folder):
    """Runs one whole process: wall seconds, peak memory in MiB, the accuracy it reports."""
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    count = str(threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": count,
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": count,
        "CUDA_VISIBLE_DEVICES": "",
        "HEADSTART_CACHE": str(folder / "cache"),  # empty, so that every run extracts its features
    }
    output, errors = folder / "stdout", folder / "stderr"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=stdout, stderr=stderr, env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with {process.returncode}:\n{errors.read_text(errors='replace')[-4000:]}")
    last = output.read_text(errors="replace").strip().splitlines()[-1]
    mebibytes = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "mebibytes": mebibytes, "accuracy": accuracy_of(json.loads(last))}


def summary(values):
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def table(results):
    first = next(iter(results))
    lines = [
        f"{'':<10} {'wall s':>8} {'spread':>15} {'CPU s':>8} {'peak MiB':>9} {'accuracy':>9} {'time ×':>8} {'memory ×':>9}"
    ]
    for name, result in results.items():
        seconds, cpu, memory, accuracy = (result[key] for key in ["seconds", "cpu_seconds", "mebibytes", "accuracy"])
        spread = f"{seconds['lowest']:.2f}–{seconds['highest']:.2f}"
        slower = seconds["median"] / results[first]["seconds"]["median"]
        larger = memory["median"] / results[first]["mebibytes"]["median"]
        lines.append(
            f"{name:<10} {seconds['median']:>8.2f} {spread:>15} {cpu['median']:>8.2f} {memory['median']:>9.0f}"
            f" {accuracy['median']:>9.4f} {slower:>8.2f} {larger:>9.2f}"
        )
    return "\n".join(lines)


def main():
    options = parse_arguments()
    runs = {}
    with tempfile.TemporaryDirectory() as scratch:
        for round_index in range(-options.warm_ups, options.rounds):
            seed = max(round_index, 0)
            names = list(commands(options, seed, Path(scratch)))
            turn = round_index % len(names)
            for name in names[turn:] + names[:turn]:
                folder = Path(tempfile.mkdtemp(dir=scratch))  # a fresh output each time
                time.sleep(options.pause)
                measured = measure(commands(options, seed, folder)[name], options.threads, folder)
                label = f"round {round_index + 1}/{options.rounds}" if round_index >= 0 else "warm-up"
                print(
                    f"{label} {name}: {measured['seconds']:.2f} s, {measured['mebibytes']:.0f} MiB,"
                    f" accuracy {measured['accuracy']:.4f}",
                    file=sys.stderr,
                    flush=True,
                )
                if round_index >= 0:
                    runs.setdefault(name, []).append(measured)

    order = [name for name in ["headstart", "keras", "pytorch"] if name in runs]
    results = {name: {key: summary([run[key] for run in runs[name]]) for key in runs[name][0]} for name in order}
    report = {
        "bench": "image_classification",
        "epochs": options.epochs,
        "threads": options.threads,
        "rounds": options.rounds,
        "machine": platform.machine(),
        "results": results,
        "runs": {name: runs[name] for name in order},
    }
    print(table(results))
    print(json.dumps(report))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
