"""The reference job in PyTorch, as a user writes it: frozen MobileNetV2, a new head, ten epochs, validation each epoch.

    python pytorch_job.py DATA WEIGHTS [--epochs 10] [--batch 32] [--seed 0] [--threads 2] [--workers 2]

DATA has train/ and val/ with a folder for each of two classes. WEIGHTS is a safetensors file with torchvision's names
and TensorFlow's padding. The last line is JSON: accuracy on val/ after the last epoch, and seconds since the script's
first line.
"""

import time

START = time.perf_counter()

import argparse
import json
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

SIZE = 224
FEATURES = 1280


def pad_as_tensorflow(module, inputs):
    """Stride 2 on an even size: one pixel at the right and the bottom, none at the left and the top."""
    (pixels,) = inputs
    height, width = pixels.shape[2] % 2, pixels.shape[3] % 2
    return (functional.pad(pixels, (width, 1, height, 1)),)


def pretrained(path):
    model = torchvision.models.mobilenet_v2(weights=None, num_classes=1001)
    missing, unused = model.load_state_dict(load_file(path), strict=False)
    assert not unused and all(name.endswith("num_batches_tracked") for name in missing), (missing, unused)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.padding = (0, 0)
            module.register_forward_pre_hook(pad_as_tensorflow)
    return model.features.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="processes that decode photos")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)

    transform = transforms.Compose(
        [transforms.Resize((SIZE, SIZE)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    )

    def photos(part, shuffle):
        return DataLoader(
            datasets.ImageFolder(options.data / part, transform),
            batch_size=options.batch,
            shuffle=shuffle,
            num_workers=options.workers,
            persistent_workers=options.workers > 0,
        )

    base = pretrained(options.weights)
    head = nn.Sequential(nn.Linear(FEATURES, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 1))
    optimizer = torch.optim.Adam(head.parameters(), 1e-3)

    def features(pixels):
        with torch.no_grad():
            return base(pixels.contiguous(memory_format=torch.channels_last)).mean([2, 3])

    train, validation = photos("train", True), photos("val", False)
    for epoch in range(options.epochs):
        head.train()
        for pixels, labels in train:
            loss = functional.binary_cross_entropy_with_logits(head(features(pixels))[:, 0], labels.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        head.eval()
        correct = count = 0
        with torch.no_grad():
            for pixels, labels in validation:
                correct += int(((head(features(pixels))[:, 0] > 0) == labels.bool()).sum())
                count += len(labels)
        print(f"epoch {epoch + 1}/{options.epochs}: last loss {loss.item():.4f}, val accuracy {correct / count:.4f}")
    print(json.dumps({"accuracy": correct / count, "seconds": time.perf_counter() - START}))


if __name__ == "__main__":
    main()
