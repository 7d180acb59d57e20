"""One timed job of PyTorch: python pytorch_job.py yolo|retinanet WEIGHTS_FOLDER BATCH COUNT; prints {"seconds": median of steps}.

The network of yolo-fastest-1.1.cfg is built from the file; its loss is the mean square of the outputs, which costs less than a
detector's. RetinaNet is torchvision's own on MobileNetV2 with a pyramid of 64 channels, its losses included, its resizing not.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

torch.set_num_threads(2)


class Darknet(nn.Module):
    def __init__(self, cfg, classes=3):
        super().__init__()
        blocks = [block.splitlines() for block in "\n".join(l for l in cfg.splitlines() if not l.startswith("#")).split("[")[1:]]
        self.kinds, self.layers, channels = [], nn.ModuleList(), []
        for index, block in enumerate(blocks[1:]):
            kind = block[0].rstrip("]")
            said = dict(line.replace(" ", "").split("=", 1) for line in block[1:] if "=" in line)
            before = channels[-1] if channels else 3
            layer, sources, out = nn.Identity(), None, before
            at = lambda text: int(text) if int(text) >= 0 else index + int(text)
            if kind == "convolutional":
                out, size = int(said["filters"]), int(said["size"])
                if "batch_normalize" not in said:
                    out = 3 * (5 + classes)
                parts = [nn.Conv2d(before, out, size, int(said["stride"]), size // 2 if said.get("pad") == "1" else 0, groups=int(said.get("groups", 1)), bias="batch_normalize" not in said)]
                if "batch_normalize" in said:
                    parts.append(nn.BatchNorm2d(out))
                if said["activation"] == "leaky":
                    parts.append(nn.LeakyReLU(0.1, inplace=True))
                layer = nn.Sequential(*parts)
            elif kind == "maxpool":
                size = int(said["size"])
                layer = nn.MaxPool2d(size, int(said["stride"]), size // 2)
            elif kind == "upsample":
                layer = nn.Upsample(scale_factor=2)
            elif kind == "route":
                sources = [at(text) for text in said["layers"].split(",")]
                out = sum(channels[source] for source in sources)
            elif kind == "shortcut":
                sources = [at(said["from"])]
            channels.append(out)
            self.layers.append(layer)
            self.kinds.append((kind, sources))

    def forward(self, x):
        outputs, found = [], []
        for (kind, sources), layer in zip(self.kinds, self.layers):
            if kind == "route":
                x = torch.cat([outputs[source] for source in sources], 1)
            elif kind == "shortcut":
                x = x + outputs[sources[0]]
            elif kind == "yolo":
                found.append(x)
            else:
                x = layer(x)
            outputs.append(x)
        return found


def yolo(folder, batch):
    model = Darknet((folder / "yolo-fastest-1.1.cfg").read_text()).train().to(memory_format=torch.channels_last)
    pictures = lambda: torch.rand(batch, 3, 320, 320).to(memory_format=torch.channels_last)
    return model, lambda: sum(output.square().mean() for output in model(pictures()))


def retinanet(_folder, batch):
    from torchvision.models import mobilenet_v2
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.image_list import ImageList
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    features = mobilenet_v2(weights=None).features
    backbone = BackboneWithFPN(features, {"6": "0", "13": "1", "18": "2"}, [32, 96, 1280], 64, LastLevelP6P7(64, 64))
    sizes = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in [32, 64, 128, 256, 512])
    model = RetinaNet(backbone, 3, anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    model = model.to(memory_format=torch.channels_last)

    def loss():
        images = torch.rand(batch, 3, 512, 512).to(memory_format=torch.channels_last)
        corner = torch.rand(batch, 12, 2) * 400
        targets = [{"boxes": torch.cat([c, c + 20 + torch.rand(12, 2) * 70], 1), "labels": torch.randint(0, 3, (12,))} for c in corner]
        maps = list(model.backbone(images).values())
        anchors = model.anchor_generator(ImageList(images, [(512, 512)] * batch), maps)
        return sum(model.compute_loss(targets, model.head(maps), anchors).values())

    return model, loss


def main():
    kind, folder, batch, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    model, loss = {"yolo": yolo, "retinanet": retinanet}[kind](folder, batch)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(times[count // 4 :])}))


main()
