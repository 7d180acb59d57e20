"""Fine-tunes a BERT with PyTorch and transformers as `headstart train DATA --head linear --epochs H --fine-tune N` does, on the
same split with the same hyper-parameters, and says how good it becomes.

    bench/.venv/bin/python bench/text/fine_tune.py DATA --weights FOLDER --seed 0

DATA is sst2 (tables `train.tsv`, `dev.tsv`, `test.tsv` of a text and its class) or wnut17 (words with tags; found by their
names). First a linear head on frozen features, then everything: AdamW, rates falling layer by layer, linear warm-up over the
first tenth and decay to zero, gradients clipped to 1. The best epoch by the validation part is kept. The head is linear on
the mean of the last states, or on the first token of each word. `--frozen N` trains the head alone for N epochs with the
backbone run again in each, as is usual, and gives its time. Needs torch, transformers and seqeval.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import transformers
from seqeval.metrics import f1_score
from torch.nn.functional import cross_entropy
from transformers import AutoModel, AutoTokenizer

OUTSIDE = -100


def table(path):
    rows = [line.rstrip("\n").split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [row[0] for row in rows], [int(row[1]) for row in rows]


def sentences(path):
    found, words, tags = [], [], []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        if line.strip():
            columns = line.split("\t")
            words.append(columns[0].strip())
            tags.append(columns[-1].strip())
        elif words:
            found.append((words, tags))
            words, tags = [], []
    return found


class Texts:
    """Examples as lists of token numbers, with a class each or a tag for the first token of each word."""

    def __init__(self, data, tokenizer, longest):
        self.is_tagged = not (data / "train.tsv").exists()
        self.parts = {}
        if not self.is_tagged:
            for part in ("train", "dev", "test"):
                texts, labels = table(data / f"{part}.tsv")
                self.parts[part] = (tokenizer(texts, truncation=True, max_length=longest)["input_ids"], labels)
            self.names = sorted({label for label in self.parts["train"][1]})
            return
        files = {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"}
        tagged = {part: sentences(data / file) for part, file in files.items()}
        self.names = ["O", *sorted({tag for part in tagged.values() for _, tags in part for tag in tags if tag != "O"})]
        for part, examples in tagged.items():
            ids, targets = [], []
            for words, tags in examples:
                encoding = tokenizer(words, is_split_into_words=True, truncation=True, max_length=longest)
                of_words = encoding.word_ids()
                first = [word is not None and word != before for before, word in zip([None, *of_words], of_words)]
                ids.append(encoding["input_ids"])
                target = [self.names.index(tags[word]) if is_first else OUTSIDE for word, is_first in zip(of_words, first)]
                targets.append(target)
            self.parts[part] = (ids, targets)

    def batch(self, part, chosen):
        ids, targets = self.parts[part]
        length = max(len(ids[index]) for index in chosen)
        pad = lambda values, filling: values + [filling] * (length - len(values))  # noqa: E731
        tokens = torch.tensor([pad(ids[index], 0) for index in chosen])
        mask = torch.tensor([pad([1] * len(ids[index]), 0) for index in chosen])
        if self.is_tagged:
            return tokens, mask, torch.tensor([pad(targets[index], OUTSIDE) for index in chosen])
        return tokens, mask, torch.tensor([targets[index] for index in chosen])

    def order(self, part, size, shuffled=None):
        """Batches; shuffled ones of about one length, as `group_by_length` makes them."""
        ids, _ = self.parts[part]
        if shuffled is None:
            every = sorted(range(len(ids)), key=lambda index: len(ids[index]))
            return [every[at : at + size] for at in range(0, len(every), size)]
        mixed = torch.randperm(len(ids), generator=shuffled).tolist()
        if shuffled.initial_seed() >= 2**32:  # by length: of fifty batches at a time
            pools = [sorted(mixed[at : at + 50 * size], key=lambda index: len(ids[index])) for at in range(0, len(mixed), 50 * size)]
            batches = [pool[at : at + size] for pool in pools for at in range(0, len(pool), size)]
            return [batches[index] for index in torch.randperm(len(batches), generator=shuffled).tolist()]
        return [mixed[at : at + size] for at in range(0, len(mixed), size)]


class Classifier(torch.nn.Module):
    def __init__(self, backbone, names, is_tagged):
        super().__init__()
        self.backbone, self.is_tagged = backbone, is_tagged
        self.head = torch.nn.Linear(backbone.config.hidden_size, len(names))

    def features(self, tokens, mask):
        states = self.backbone(input_ids=tokens, attention_mask=mask).last_hidden_state
        if self.is_tagged:
            return states
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def forward(self, tokens, mask):
        return self.head(self.features(tokens, mask))


def loss_of(outputs, targets):
    return cross_entropy(outputs.flatten(0, -2), targets.flatten(), ignore_index=OUTSIDE)


@torch.no_grad()
def score(model, texts, part, size):
    """Accuracy, or F1 of entities."""
    model.eval()
    truth, found, right, count = [], [], 0, 0
    for chosen in texts.order(part, size):
        tokens, mask, targets = texts.batch(part, chosen)
        said = model(tokens, mask).argmax(-1)
        if texts.is_tagged:
            for row, target in zip(said, targets):
                asked = target != OUTSIDE
                truth.append([texts.names[tag] for tag in target[asked]])
                found.append([texts.names[tag] for tag in row[asked]])
        right, count = right + (said == targets).sum().item(), count + len(chosen)
    return f1_score(truth, found) if texts.is_tagged else right / count


def groups(model, rate, decay, weight_decay, layers):
    """Rates that fall by `decay` a stage towards the input; vectors do not decay."""
    made = []
    for name, value in model.named_parameters():
        if name.startswith("head."):
            distance = 0
        elif ".layer." in name:
            distance = layers - int(name.split(".layer.")[1].split(".")[0])
        else:
            distance = layers + 1
        if "pooler" in name:
            continue
        decays = weight_decay if value.dim() > 1 else 0.0
        made.append({"params": [value], "lr": rate * decay**distance, "weight_decay": decays})
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3, help="of the head")
    parser.add_argument("--fine-tune", type=int, default=3)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--decay", type=float, default=0.9)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--longest", type=int, default=256)
    parser.add_argument("--frozen", type=int, metavar="EPOCHS", help="time the head alone, batches by length")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    transformers.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(options.weights)
    texts = Texts(options.data, tokenizer, options.longest)
    model = Classifier(AutoModel.from_pretrained(options.weights, add_pooling_layer=False), texts.names, texts.is_tagged)
    layers = model.backbone.config.num_hidden_layers
    adam = {"eps": 1e-7}

    if options.frozen:
        started = time.perf_counter()
        model.backbone.requires_grad_(False)
        model.backbone.eval()
        optimizer = torch.optim.AdamW(model.head.parameters(), lr=1e-3, weight_decay=0.01, **adam)
        by_length = torch.Generator().manual_seed(2**32 + options.seed)
        values = []
        for _ in range(options.frozen):
            for chosen in texts.order("train", options.batch, by_length):
                tokens, mask, targets = texts.batch("train", chosen)
                loss = loss_of(model(tokens, mask), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            values.append(score(model, texts, "dev", 64))
        print(json.dumps({"seconds": time.perf_counter() - started, "epochs": options.frozen, "dev": values}))
        return

    shuffle = torch.Generator().manual_seed(options.seed)
    best, kept = -1.0, None

    def remember():
        nonlocal best, kept
        now = score(model, texts, "dev", 64)
        print(f"dev {now:.4f}", flush=True)
        if now > best:
            best, kept = now, {name: value.clone() for name, value in model.state_dict().items()}

    def train(optimizer, epochs, rates, learns):
        for epoch in range(epochs):
            batches = texts.order("train", options.batch, shuffle)
            for step, chosen in enumerate(batches):
                model.train(learns)
                tokens, mask, targets = texts.batch("train", chosen)
                for group, rate in zip(optimizer.param_groups, rates(epoch * len(batches) + step, epochs * len(batches))):
                    group["lr"] = rate
                loss = loss_of(model(tokens, mask), targets)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            remember()

    started = time.perf_counter()
    model.backbone.requires_grad_(False)
    head = torch.optim.AdamW(groups(model, 1e-3, 1.0, 0.01, layers)[-2:], **adam)
    train(head, options.epochs, lambda step, steps: [1e-3, 1e-3], False)
    if kept is not None:
        model.load_state_dict(kept)
    frozen = best
    model.backbone.requires_grad_(True)
    every = groups(model, options.lr, options.decay, 0.01, layers)
    highest = [group["lr"] for group in every]

    def linear(step, steps):
        warm_up = -(-steps // 10)
        factor = (step + 1) / warm_up if step < warm_up else (steps - step) / max(steps - warm_up, 1)
        return [rate * factor for rate in highest]

    train(torch.optim.AdamW(every, **adam), options.fine_tune, linear, True)
    seconds = time.perf_counter() - started
    model.load_state_dict(kept)
    result = {"seed": options.seed, "frozen": frozen, "dev": best, "test": score(model, texts, "test", 64), "seconds": seconds}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
