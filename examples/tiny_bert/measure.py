"""How good source models of texts are on SST-2, with few and with more labels.

    python measure.py HEADSTART OUT WEIGHTS...      WEIGHTS as `--weights` takes them: embedded, random, a folder

For 100, 500 and 5,000 labelled sentences, drawn from the training part with seeds 0, 1 and 2, a linear head on the
frozen network, and the same with everything fine-tuned afterwards. The last epoch counts, not the best, so nothing is
chosen on the 872 validation sentences that are scored.
"""

import json
import os
import pathlib
import random
import statistics
import subprocess
import sys

FROZEN = ["--head", "linear", "--epochs", "30", "--lr", "0.003", "--keep-last"]
TUNED = ["--head", "linear", "--epochs", "30", "--lr", "5e-4", "--keep-last"]
EPOCHS = {100: 20, 500: 8, 5000: 3}  # of fine-tuning: small networks forget little, and learn many sentences by heart


def main() -> None:
    program, out, *sources = sys.argv[1:]
    out = pathlib.Path(out)
    shared = pathlib.Path(os.environ.get("HEADSTART_SHARED", pathlib.Path(__file__).resolve().parents[3] / "shared"))
    lines = (shared / "data/sst2/train.tsv").read_text().splitlines()
    for weights in sources:
        for count, epochs in EPOCHS.items():
            scores = {"frozen": [], "fine-tuned": []}
            for seed in range(3):
                data = out / f"sst2-{count}-{seed}"
                if not data.exists():
                    data.mkdir(parents=True)
                    rows = random.Random(seed).sample(lines, count)
                    (data / "train.tsv").write_text("\n".join(rows) + "\n")
                    (data / "dev.tsv").write_text((shared / "data/sst2/dev.tsv").read_text())
                for name, options in (("frozen", [*FROZEN, "--freeze", "all"]), ("fine-tuned", [*TUNED, "--fine-tune", str(epochs)])):
                    common = ["--weights", weights, "--seed", str(seed), "--out", str(out / "bundle"), "--json"]
                    if "gpt2" in weights:
                        options = ["--head", "last+linear", *options[2:]]
                    command = [program, "train", str(data), *options, *common]
                    run = subprocess.run(command, capture_output=True, text=True, check=True)
                    report = json.loads(run.stdout.splitlines()[-1])
                    scores[name].append(100 * report["metrics"]["accuracy"])
            for name, found in scores.items():
                shown = " ".join(f"{score:.1f}" for score in found)
                print(f"{weights} {count} {name}: {statistics.mean(found):.1f} ({shown})", flush=True)


if __name__ == "__main__":
    main()
