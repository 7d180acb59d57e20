"""Judges backbones by a linear probe: logistic regression on frozen pooled features.

    python probe.py                          the published networks and random weights
    python probe.py student.safetensors ...  files written by distil.py

Two numbers a data set. `val`: the probe is fitted on the photos of `train/` and judged on those of `val/`.
`val cv`: 5-fold cross-validation, 5 times, within `val/` alone, whose photos no distillation has seen.
"""

import argparse
import pathlib
import warnings

import numpy as np
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mobilenet import KERAS_EPSILON, MobileNetV2, load_published_student, load_student, load_teacher, shared_folder

DATA_SETS = ["ants_bees", "trashnet6"]
STRENGTHS = [1e-4, 1e-3, 1e-2, 1e-1]


def photo_pixels(path: pathlib.Path, size: int) -> torch.Tensor:
    """Short side to 8/7 of `size` (146 for 128, 256 for 224), center crop, -1..1: [3, size, size]."""
    image = Image.open(path).convert("RGB")
    short = size * 8 // 7
    scale = short / min(image.size)
    image = image.resize([max(short, round(side * scale)) for side in image.size], Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)


@torch.inference_mode()
def folder_features(model: torch.nn.Module, folder: pathlib.Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, 1280] and class indices [N] of a folder with one sub-folder a class."""
    features, labels = [], []
    for index, group in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        paths = sorted(path for path in group.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        for start in range(0, len(paths), 32):
            batch = torch.stack([photo_pixels(path, size) for path in paths[start : start + 32]])
            features.append(model(batch.contiguous(memory_format=torch.channels_last)).float().numpy())
        labels += [index] * len(paths)
    return np.concatenate(features), np.array(labels)


def probe(model: torch.nn.Module, size: int, folders: list[pathlib.Path]) -> list[float]:
    """Percentages right: val and val cv of each data set. PCA only rotates here: it keeps all that the photos span."""
    model = model.eval().to(memory_format=torch.channels_last)
    scores = []
    for folder in folders:
        train, train_labels = folder_features(model, folder / "train", size)
        val, val_labels = folder_features(model, folder / "val", size)
        search = LogisticRegressionCV(
            Cs=STRENGTHS, cv=StratifiedKFold(5, shuffle=True, random_state=0), max_iter=300,
            l1_ratios=(0.0,), use_legacy_attributes=False,
        )
        fitted = make_pipeline(StandardScaler(), PCA(), search).fit(train, train_labels)
        folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=5, random_state=0)
        within = make_pipeline(StandardScaler(), PCA(), LogisticRegression(C=1e-2, max_iter=300))
        scores.append(100 * fitted.score(val, val_labels))
        scores.append(100 * cross_val_score(within, val, val_labels, cv=folds).mean())
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", nargs="*", type=pathlib.Path)
    parser.add_argument("--data", nargs="*", type=pathlib.Path, help="folders with train/ and val/ to judge on instead")
    parser.add_argument("--shared", type=pathlib.Path, default=shared_folder())
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", category=FutureWarning)
    folders = arguments.data or [arguments.shared / "data" / name for name in DATA_SETS]
    print("| backbone |" + "".join(f" {folder.name} val | val cv |" for folder in folders))
    print("|---|" + "---|---|" * len(folders))

    def report(name: str, model: torch.nn.Module, size: int) -> None:
        print(f"| {name} | " + " | ".join(f"{score:.1f}" for score in probe(model, size, folders)) + " |", flush=True)

    for path in arguments.students:
        report(path.name, load_student(path), 128)
    if arguments.students:
        return
    for seed in range(3):
        torch.manual_seed(seed)
        report(f"0.35 @128, random weights, seed {seed}", MobileNetV2(0.35, KERAS_EPSILON), 128)
    report("0.35 @128, published", load_published_student(arguments.shared), 128)
    report("0.35 @224, published", load_published_student(arguments.shared), 224)
    report("1.0 @224, published (the teacher)", load_teacher(arguments.shared)[0], 224)
    report("1.0 @128, published", load_teacher(arguments.shared)[0], 128)


if __name__ == "__main__":
    main()
