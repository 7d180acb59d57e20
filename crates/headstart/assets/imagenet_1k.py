"""Makes imagenet_1k.txt beside this script: WordNet id, tab, label, in the order of the outputs of ImageNet networks.

    python imagenet_1k.py imagenet_labels.txt

The labels are those of `imagenet_labels.txt` of github.com/google-coral/test_data (Apache-2.0), whose first line is
`background`; the WordNet ids in their order are those of timm 1.0.31 (`timm/data/_info/imagenet_synsets.txt`, Apache-2.0).
Both are ImageNet's own; timm's lemmas of each id must share a word with the label beside it.
"""

import sys
from pathlib import Path

import timm.data

background, *labels = Path(sys.argv[1]).read_text().splitlines()
info = Path(timm.data.__file__).parent / "_info"
synsets = (info / "imagenet_synsets.txt").read_text().split()
lemmas = dict(line.split("\t", 1) for line in (info / "imagenet_synset_to_lemma.txt").read_text().splitlines())
assert background == "background" and len(labels) == len(synsets) == 1000 and synsets == sorted(synsets)
for synset, label in zip(synsets, labels, strict=True):
    words = lambda text: {word.strip().lower() for word in text.split(",")}
    if not words(label) & words(lemmas[synset]):
        raise SystemExit(f"{synset}: `{label}` is not `{lemmas[synset]}`")
lines = (f"{synset}\t{label}\n" for synset, label in zip(synsets, labels, strict=True))
Path(__file__).with_suffix(".txt").write_text("".join(lines))
