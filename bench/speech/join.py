"""Data sets of `transfer.sh`: English sentences joined with spoken digits, and digits with 20 recordings each to learn from.

    python join.py DATA OUT
"""

import csv
import random
import sys
from pathlib import Path

WORDS = "zero one two three four five six seven eight nine".split()


def main():
    data, out = (Path(argument).resolve() for argument in sys.argv[1:3])
    rows = []
    with open(data / "english_sentences" / "transcripts.tsv", encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
            rows.append((data / "english_sentences" / row["file"], row["text"]))
    recordings = sorted((data / "fsdd" / "recordings").iterdir())
    rows += [(path, WORDS[int(path.name[0])]) for path in recordings]
    (out / "english_and_digits").mkdir(parents=True, exist_ok=True)
    lines = ["file\ttext", *(f"{path}\t{text}" for path, text in rows)]
    (out / "english_and_digits" / "transcripts.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for seed in range(3):
        draw = random.Random(seed)
        for digit in range(10):
            names = sorted(path.name for path in recordings if path.name.startswith(f"{digit}_"))
            draw.shuffle(names)
            for place, name in enumerate(names):
                folder = out / f"digits{seed}" / ("train" if place < 20 else "test") / str(digit)
                folder.mkdir(parents=True, exist_ok=True)
                link = folder / name
                if not link.exists():
                    link.symlink_to(data / "fsdd" / "recordings" / name)


main()
