"""Distils the sentence embeddings of all-MiniLM-L6-v2 into a small BERT that `headstart pretrain` made.

    python distil.py teach TEACHER CORPUS STUDENT POOL     what the teacher says of some lines and of single words
    python distil.py fit POOL STUDENT OUT                  a student fitted to it, in half precision

After Reimers and Gurevych (https://arxiv.org/abs/2004.09813): the mean of the student's states is held, through a linear
projector that is dropped afterwards, to the teacher's embedding of the same text, and the table of similarities within a
batch to the teacher's.
"""

import argparse
import json
import pathlib
import random
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModel, AutoTokenizer, logging

LONGEST = 64
TEMPERATURE = 0.05
HELD_BACK = 1000  # lines that are never fitted, only measured


def mean_state(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """States [B, T, D] under a mask [B, T] to their means [B, D], as `headstart train` pools them."""
    mask = mask.unsqueeze(-1).float()
    return (states * mask).sum(1) / mask.sum(1)


def teach(arguments: argparse.Namespace) -> None:
    tokenizer = AutoTokenizer.from_pretrained(arguments.teacher)
    teacher = AutoModel.from_pretrained(arguments.teacher).eval()
    lines = [line for file in sorted(arguments.corpus.glob("*.txt")) for line in file.read_text().splitlines()]
    random.Random(0).shuffle(lines)
    # Every word of the vocabulary alone: most of what so small a student knows lies in its table of words.
    words = [word for word in json.loads((arguments.student / "tokenizer.json").read_text())["model"]["vocab"]]
    words = [word for word in words if word.isalpha() and len(word) > 2]
    texts = lines[:HELD_BACK] + words + lines[HELD_BACK : arguments.lines]
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    found = np.zeros((len(texts), teacher.config.hidden_size), np.float16)
    begun = time.time()
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            batch = tokenizer([texts[row] for row in rows], padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
            pooled = mean_state(teacher(**batch).last_hidden_state, batch["attention_mask"])
            found[rows] = F.normalize(pooled).numpy()
            if start // 64 % 100 == 0:
                print(f"{start} of {len(order)}, {time.time() - begun:.0f} s", flush=True)
    arguments.pool.mkdir(parents=True, exist_ok=True)
    np.save(arguments.pool / "embeddings.npy", found)
    (arguments.pool / "texts.json").write_text(json.dumps(texts))


def fit(arguments: argparse.Namespace) -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(arguments.student)
    student = AutoModel.from_pretrained(arguments.student, add_pooling_layer=False).train()
    texts = json.loads((arguments.pool / "texts.json").read_text())
    targets = torch.from_numpy(np.load(arguments.pool / "embeddings.npy")).float()
    ids = tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]
    projector = nn.Linear(student.config.hidden_size, targets.shape[1], bias=False)
    parameters = [*student.parameters(), *projector.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=arguments.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, arguments.rate, arguments.steps, pct_start=0.1)

    def loss(rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(ids[row]) for row in rows)
        tokens = torch.tensor([ids[row] + [0] * (width - len(ids[row])) for row in rows])
        mask = torch.tensor([[1] * len(ids[row]) + [0] * (width - len(ids[row])) for row in rows])
        state = mean_state(student(input_ids=tokens, attention_mask=mask).last_hidden_state, mask)
        wanted = targets[rows]
        cosine = 1 - F.cosine_similarity(projector(state), wanted).mean()
        normal = F.normalize(state)
        away = torch.eye(len(rows), dtype=torch.bool)
        table = (normal @ normal.T / TEMPERATURE).masked_fill(away, -1e4).log_softmax(1)
        theirs = (wanted @ wanted.T / TEMPERATURE).masked_fill(away, -1e4).softmax(1)
        return cosine, F.kl_div(table, theirs, reduction="batchmean")

    fitted = list(range(HELD_BACK, len(texts)))
    shuffler, queue, begun = random.Random(0), [], time.time()
    for step in range(arguments.steps):
        if len(queue) < 4 * arguments.batch:
            pool = fitted.copy()
            shuffler.shuffle(pool)
            # Texts of like length together, so that little is padded.
            chunks = [sorted(pool[at : at + 20 * arguments.batch], key=lambda row: len(ids[row])) for at in range(0, len(pool), 20 * arguments.batch)]
            batches = [chunk[at : at + arguments.batch] for chunk in chunks for at in range(0, len(chunk), arguments.batch)]
            shuffler.shuffle(batches)
            queue = [row for batch in batches if len(batch) == arguments.batch for row in batch]
        rows, queue = queue[: arguments.batch], queue[arguments.batch :]
        cosine, tables = loss(rows)
        optimizer.zero_grad()
        (cosine + 0.1 * tables).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step + 1 == arguments.steps:
            with torch.inference_mode():
                student.eval()
                held = [loss(list(range(at, at + 250)))[0].item() for at in range(0, HELD_BACK, 250)]
                student.train()
            print(f"step {step + 1}: cosine {cosine:.4f}, tables {tables:.4f}, held back {sum(held) / 4:.4f}, {time.time() - begun:.0f} s", flush=True)

    arguments.out.mkdir(parents=True, exist_ok=True)
    arrays = {name: array.detach().half().contiguous() for name, array in student.state_dict().items() if "position_ids" not in name}
    save_file(arrays, arguments.out / "model.safetensors", {"format": "pt"})
    config = json.loads((arguments.student / "config.json").read_text())
    config.update(architectures=["BertModel"], torch_dtype="float16", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    (arguments.out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(arguments.student / name, arguments.out / name)


def main() -> None:
    logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("teach")
    for name in ("teacher", "corpus", "student", "pool"):
        command.add_argument(name, type=pathlib.Path)
    command.add_argument("--lines", type=int, default=30_000)
    command = commands.add_parser("fit")
    for name in ("pool", "student", "out"):
        command.add_argument(name, type=pathlib.Path)
    command.add_argument("--steps", type=int, default=1500)
    command.add_argument("--batch", type=int, default=256)
    command.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    {"teach": teach, "fit": fit}[arguments.command](arguments)


if __name__ == "__main__":
    main()
