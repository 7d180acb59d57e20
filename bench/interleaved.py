"""What the benchmarks of single steps and passes share: processes one after the other, in rounds, each held to its threads."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path


def add_options(parser, example):
    """The options that every benchmark has."""
    parser.add_argument("--headstart", type=Path, required=True, help=f"the example {example}")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds of rest before each process")
    parser.add_argument("--output", type=Path, help="also write the JSON here")


def measure(command, threads):
    """The JSON object that a process prints last, and the peak of its memory."""
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


def rounds_of(commands, options):
    """Runs by name: every command once a round, so that a busy minute hits all of them."""
    runs = {who: [] for who in commands}
    for _ in range(options.rounds):
        for who, command in commands.items():
            time.sleep(options.pause)
            runs[who].append(measure(command, options.threads))
    return runs


def paired(ours, theirs):
    """The median over rounds of how much longer they took than ours in the same round: noise that lasts hits both."""
    return statistics.median(their["seconds"] / our["seconds"] for our, their in zip(ours, theirs))


def print_rows(label, runs, count, unit):
    """A line for each program: median, lowest and highest time, rate, memory, ratio to Headstart."""
    for who, found in runs.items():
        seconds = [run["seconds"] for run in found]
        median = statistics.median(seconds)
        print(
            f"{label:<24} {who:<22} {median * 1000:9.2f} ms  ({min(seconds) * 1000:.2f}–{max(seconds) * 1000:.2f})"
            f"  {count / median:9.1f} {unit}/s  {statistics.median(run['mebibytes'] for run in found):7.0f} MiB"
            f"  {paired(runs['headstart'], found):5.2f} ×",
            flush=True,
        )


def write(result, options):
    """The JSON, where it is asked for."""
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")
