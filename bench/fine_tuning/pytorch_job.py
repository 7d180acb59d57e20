"""Times training steps of MobileNetV2 in PyTorch on random pictures and prints one JSON object.

    python pytorch_job.py [none|STAGES|all] [--format channels_last] [--batch 16] [--steps 12] [--threads 2]

`none` trains everything, `all` only a head on given features, `last2` the last two stages (features[17:] of torchvision)
with the layers below frozen, as a user writes it: they run in every step, without gradients. BatchNorm uses its running
statistics wherever a pretrained network is fine-tuned.
"""

import argparse
import json
import resource
import statistics
import time

import torch
import torchvision
from torch import nn
from torch.nn import functional


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("freeze", nargs="?", default="none", choices=["none", "last2", "all"])
    parser.add_argument("--format", default="channels_last", choices=["channels_last", "contiguous_format"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    layout = getattr(torch, options.format)
    trunk = torchvision.models.mobilenet_v2(weights=None).features.eval().to(memory_format=layout)
    head = nn.Sequential(nn.Linear(1280, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 1))
    if options.freeze == "all":
        inputs = torch.rand(options.batch, 1280)
        learning = list(head.parameters())
    else:
        inputs = torch.rand(options.batch, 3, 224, 224).contiguous(memory_format=layout)
        first = {"none": 0, "last2": 17}[options.freeze]
        trunk[:first].requires_grad_(False)
        learning = [value for value in [*trunk.parameters(), *head.parameters()] if value.requires_grad]
    labels = (torch.arange(options.batch) % 2).float()
    optimizer = torch.optim.Adam(learning, 1e-4)
    times = []
    for _ in range(options.steps):
        start = time.perf_counter()
        features = inputs if options.freeze == "all" else trunk(inputs).mean([2, 3])
        loss = functional.binary_cross_entropy_with_logits(head(features)[:, 0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times[len(times) // 4 :])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "steps": 1 / seconds, "examples": options.batch / seconds, "mebibytes": peak}))


if __name__ == "__main__":
    main()
