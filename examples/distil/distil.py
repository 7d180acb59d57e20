"""Distils MobileNetV2 1.0 at 224 pixels into MobileNetV2 0.35 at 128 pixels.

    python distil.py pool POOL                              augmented views and what the teachers say of them
    python distil.py fit POOL student.safetensors           a student fitted to them

After Hinton et al. (https://arxiv.org/abs/1503.02531), with the consistent views of Beyer et al.
(https://arxiv.org/abs/2106.05237): teacher and student look at the same crop under the same distortion.
"""

import argparse
import copy
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from mobilenet import KERAS_EPSILON, MobileNetV2, load_published_student, load_teacher, shared_folder, write_student
from pictures import SOURCES, VIEW, Pictures

STUDENT_SIZE = 128
TEMPERATURE = 2.0
CHUNK = 32
POOL_ARRAYS = ("views", "teacher", "anchor", "sources")
HELD_BACK = 1024  # views at the end of the pool that are never fitted, only measured


def to_pixels(batch: torch.Tensor) -> torch.Tensor:
    """Bytes [B, H, W, 3] to -1..1 [B, 3, H, W], channels last in memory."""
    return (batch.float() / 127.5 - 1).permute(0, 3, 1, 2)


def write_pool(arguments: argparse.Namespace) -> None:
    """Writes student views [N, 128, 128, 3], features [N, 1280] of both teachers, and the sources [N].

    Each process fills every n-th chunk alone: whole views in parallel need no barrier inside a forward pass.
    """
    arguments.pool.mkdir(parents=True, exist_ok=True)
    shapes = ((STUDENT_SIZE, STUDENT_SIZE, 3), (1280,), (1280,), ())
    for name, shape in zip(POOL_ARRAYS, shapes, strict=True):
        dtype = np.uint8 if name in ("views", "sources") else np.float16
        np.lib.format.open_memmap(arguments.pool / f"{name}.npy", "w+", dtype, (arguments.count, *shape))
    torch.multiprocessing.spawn(fill_pool, (arguments,), arguments.threads)


def fill_pool(process: int, arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    arrays = {name: np.load(arguments.pool / f"{name}.npy", mmap_mode="r+") for name in POOL_ARRAYS}
    pictures = Pictures(arguments.shared / "data", arguments.seed)
    networks = {"teacher": load_teacher(arguments.shared)[0], "anchor": load_published_student(arguments.shared)}
    for network in networks.values():
        network.to(memory_format=torch.channels_last)
    begun = time.time()
    for start in range(process * CHUNK, arguments.count, arguments.threads * CHUNK):
        rows = range(start, min(start + CHUNK, arguments.count))
        large = np.empty((len(rows), VIEW, VIEW, 3), np.uint8)
        for slot, row in enumerate(rows):
            large[slot], arrays["sources"][row] = pictures.view(row)
            small = Image.fromarray(large[slot]).resize((STUDENT_SIZE, STUDENT_SIZE), Image.Resampling.BILINEAR)
            arrays["views"][row] = small
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            for name, network in networks.items():
                arrays[name][rows.start : rows.stop] = network(to_pixels(torch.from_numpy(large))).float().half()
        if process == 0 and start // CHUNK % (20 * arguments.threads) == 0:
            pace = rows.stop / (time.time() - begun)
            print(f"{rows.stop} of {arguments.count} views, {pace:.0f} a second", flush=True)


class Pool:
    """A written pool; `standardized` features have zero mean and unit variance in each channel over the pool."""

    def __init__(self, folder: pathlib.Path, without: list[str]):
        self.views = torch.from_numpy(np.load(folder / "views.npy"))
        self.teacher = torch.from_numpy(np.load(folder / "teacher.npy"))
        self.anchor = torch.from_numpy(np.load(folder / "anchor.npy"))
        bits = sum(1 << list(SOURCES).index(name) for name in without)
        rows = np.flatnonzero(np.load(folder / "sources.npy") & bits == 0)
        self.fitted, self.held_back = torch.from_numpy(rows[:-HELD_BACK]), torch.from_numpy(rows[-HELD_BACK:])
        self.teacher_scale = scale_of(self.teacher[self.fitted].float())
        self.anchor_scale = scale_of(self.anchor[self.fitted].float())


def scale_of(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each channel; the floor keeps channels that are silent here from shouting."""
    deviation = features.std(0)
    return features.mean(0), deviation.clamp(min=0.1 * deviation.median().item())


def standardized(features: torch.Tensor, scale: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return (features - scale[0]) / scale[1]


def feature_loss(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Cosine distance plus smooth L1 of standardized features [B, 1280]."""
    return 1 - F.cosine_similarity(ours, theirs).mean() + F.smooth_l1_loss(ours, theirs)


def logit_loss(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of softened classes [B, 1001], on the scale of Hinton et al."""
    softened = [F.log_softmax(logits / TEMPERATURE, 1) for logits in (ours, theirs)]
    return F.kl_div(softened[0], softened[1], reduction="batchmean", log_target=True) * TEMPERATURE**2


def relation_loss(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Difference of the two B x B tables of cosine similarity (after Park et al., https://arxiv.org/abs/1904.05068)."""
    ours, theirs = F.normalize(ours), F.normalize(theirs)
    return (ours @ ours.T - theirs @ theirs.T).square().mean() * 10


class Objective(nn.Module):
    """What the student is asked for.

    `direct`: the student's features are to be the teacher's. `projector`: a linear layer, dropped afterwards,
    translates the student's features into the teacher's, and the features themselves are anchored to those
    that the published student gives at 224 pixels.
    """

    def __init__(self, arguments: argparse.Namespace, pool: Pool):
        super().__init__()
        self.pool, self.arguments = pool, arguments
        self.classifier = load_teacher(arguments.shared)[1]
        self.projector = nn.Linear(1280, 1280) if arguments.align == "projector" else None

    def forward(self, features: torch.Tensor, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        pool, weights = self.pool, self.arguments
        teacher = pool.teacher[rows].float()
        wanted = standardized(teacher, pool.teacher_scale)
        losses = {}
        if self.projector is None:
            given, raw = standardized(features, pool.teacher_scale), features
        else:
            own = standardized(features, pool.anchor_scale)
            given = self.projector(own)
            raw = given * pool.teacher_scale[1] + pool.teacher_scale[0]
            anchor = standardized(pool.anchor[rows].float(), pool.anchor_scale)
            losses["anchor"] = weights.anchor * feature_loss(own, anchor)
        losses["feature"] = feature_loss(given, wanted)
        losses["logit"] = weights.logit * logit_loss(self.classifier(raw), self.classifier(teacher))
        losses["relation"] = weights.relation * relation_loss(given, wanted)
        return losses


def student_batch(pool: Pool, rows: torch.Tensor, flip: bool) -> torch.Tensor:
    pixels = to_pixels(pool.views[rows])
    return pixels.flip(3) if flip else pixels


def recalibrate(model: nn.Module, pool: Pool, views: int = 4096) -> None:
    """Replaces BatchNorm's running statistics by plain averages under the final weights."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    model.train()
    with torch.inference_mode():
        for rows in pool.fitted[:: max(1, len(pool.fitted) // views)].split(128):
            model(student_batch(pool, rows, False))
    model.eval()


@torch.inference_mode()
def measure(model: nn.Module, objective: Objective, pool: Pool) -> str:
    """Mean losses over the views held back."""
    sums: dict[str, float] = {}
    for rows in pool.held_back.split(128):
        for name, loss in objective(model(student_batch(pool, rows, False)), rows).items():
            sums[name] = sums.get(name, 0) + loss.item() * len(rows) / len(pool.held_back)
    return " ".join(f"{name} {value:.4f}" for name, value in sums.items())


def fit(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    pool = Pool(arguments.pool, arguments.without)
    published = arguments.init == "published"
    student = load_published_student(arguments.shared) if published else MobileNetV2(0.35, KERAS_EPSILON)
    student = student.to(memory_format=torch.channels_last).train()
    objective = Objective(arguments, pool)
    trained = [*student.parameters(), *(objective.projector.parameters() if objective.projector else [])]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": arguments.decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=arguments.rate)
    averaged = copy.deepcopy(student)
    batches = len(pool.fitted) // arguments.batch
    total = arguments.steps
    warmup = max(1, total // 20)
    step, begun, order = 0, time.time(), torch.empty(0)
    while step < total:
        if step % batches == 0:
            order = pool.fitted[torch.randperm(len(pool.fitted))]
        rows = order[step % batches * arguments.batch :][: arguments.batch]
        share = step / warmup if step < warmup else 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (total - warmup))
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * share
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = student(student_batch(pool, rows, bool(torch.rand(()) < 0.5)))
        losses = objective(features.float(), rows)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        keep = min(arguments.average, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.parameters()), list(student.parameters()), 1 - keep)
        if step % 50 == 0:
            text = " ".join(f"{name} {loss.item():.4f}" for name, loss in losses.items())
            pace = step * arguments.batch / (time.time() - begun)
            print(f"step {step} of {total}: {text}, {pace:.0f} views/s", flush=True)
    recalibrate(averaged, pool)
    print("held back:", measure(averaged, objective, pool), flush=True)
    start = "Google's published MobileNetV2 0.35" if published else "random weights"
    source = (
        f"MobileNetV2 0.35 for 128 pixels, distilled from Google's published MobileNetV2 1.0 (ImageNet, 224 pixels), "
        f"starting from {start}; made by examples/distil of headstart"
    )
    write_student(averaged, arguments.output, source)
    print(f"{arguments.output} after {time.time() - begun:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=pathlib.Path, default=shared_folder())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    commands = parser.add_subparsers(required=True)
    pool = commands.add_parser("pool")
    pool.add_argument("pool", type=pathlib.Path)
    pool.add_argument("--count", type=int, default=20_000)
    pool.set_defaults(run=write_pool)
    fitting = commands.add_parser("fit", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    fitting.add_argument("pool", type=pathlib.Path)
    fitting.add_argument("output", type=pathlib.Path)
    fitting.add_argument("--init", choices=["published", "random"], default="published")
    fitting.add_argument("--align", choices=["direct", "projector"], default="projector")
    fitting.add_argument("--steps", type=int, default=800, help="batches to fit")
    fitting.add_argument("--batch", type=int, default=128, help="views a step")
    fitting.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    fitting.add_argument("--decay", type=float, default=0.02, help="weight decay")
    fitting.add_argument("--average", type=float, default=0.998, help="keep rate of the moving average of the weights")
    fitting.add_argument("--logit", type=float, default=0.2, help="weight of the loss of classes")
    fitting.add_argument("--relation", type=float, default=1.0, help="weight of the loss of relations")
    fitting.add_argument("--anchor", type=float, default=1.0, help="weight of the anchor, with the projector")
    fitting.add_argument("--without", nargs="*", default=[], choices=list(SOURCES), help="sources to leave out")
    fitting.set_defaults(run=fit)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
