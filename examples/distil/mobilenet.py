"""MobileNetV2 (Sandler et al., https://arxiv.org/abs/1801.04381) with TensorFlow padding, and its published weights.

Module names are those of torchvision (`features.0.0.weight` ...), so a state dict is the file that headstart reads.
"""

import json
import math
import os
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

# (expansion, channels at width 1.0, blocks, stride of the first block): table 2 of the paper.
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
KERAS_EPSILON = 1e-3
FOLDED_EPSILON = 1e-5


def shared_folder() -> pathlib.Path:
    """The folder with the published weights and the photos: HEADSTART_SHARED, or `shared` beside the repository."""
    return pathlib.Path(os.environ.get("HEADSTART_SHARED", pathlib.Path(__file__).resolve().parents[3] / "shared"))


def rounded_channels(channels: float) -> int:
    """Nearest multiple of 8 that loses at most a tenth, as in the paper's reference code."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class PaddedConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: at stride 2 the odd pixel goes right and below."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        kernel, stride = self.kernel_size[0], self.stride[0]
        down = max((math.ceil(height / stride) - 1) * stride + kernel - height, 0)
        right = max((math.ceil(width / stride) - 1) * stride + kernel - width, 0)
        if (down, right) == (0, 0):
            return super().forward(x)
        if down == right and down % 2 == 0:
            return F.conv2d(x, self.weight, None, self.stride, down // 2, 1, self.groups)
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return super().forward(x)


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int, groups: int, epsilon: float) -> nn.Sequential:
    return nn.Sequential(
        PaddedConv(inputs, outputs, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=epsilon),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, epsilon: float):
        super().__init__()
        hidden = inputs * expansion
        expand = [conv_bn_relu(inputs, hidden, 1, 1, 1, epsilon)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_bn_relu(hidden, hidden, 3, stride, hidden, epsilon),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, eps=epsilon),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Pixels [B, 3, H, W] in -1..1 to pooled features [B, 1280]."""

    def __init__(self, width: float, epsilon: float):
        super().__init__()
        channels = rounded_channels(32 * width)
        layers: list[nn.Module] = [conv_bn_relu(3, channels, 3, 2, 1, epsilon)]
        for expansion, outputs, blocks, stride in STAGES:
            outputs = rounded_channels(outputs * width)
            for block in range(blocks):
                layers.append(InvertedResidual(channels, outputs, stride if block == 0 else 1, expansion, epsilon))
                channels = outputs
        layers.append(conv_bn_relu(channels, 1280, 1, 1, 1, epsilon))
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x).mean((2, 3))  # [B, 1280]


def load_teacher(shared: pathlib.Path) -> tuple[MobileNetV2, nn.Linear]:
    """The published MobileNetV2 1.0 and its own classifier over 1001 classes, both frozen."""
    arrays = load_file(shared / "weights/mobilenet_v2_1.0_safetensors/model.safetensors")
    classifier = nn.Linear(1280, 1001)
    classifier.load_state_dict({name: arrays.pop(f"classifier.1.{name}") for name in ("weight", "bias")})
    teacher = MobileNetV2(1.0, FOLDED_EPSILON)
    load_arrays(teacher, arrays)
    return teacher.eval().requires_grad_(False), classifier.eval().requires_grad_(False)


def load_published_student(shared: pathlib.Path) -> MobileNetV2:
    """MobileNetV2 0.35 as Google published it for 224 pixels: TF.js layers, Keras names, BatchNorm not folded."""
    folder = shared / "weights/mobilenet_v2_0.35_tfjs_teachable_machine"
    theirs: dict[str, np.ndarray] = {}
    for group in json.loads((folder / "model.json").read_text())["weightsManifest"]:
        payload, offset = b"".join((folder / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            count = math.prod(entry["shape"])
            theirs[entry["name"]] = np.frombuffer(payload, "<f4", count, offset).reshape(entry["shape"]).copy()
            offset += 4 * count
    model = MobileNetV2(0.35, KERAS_EPSILON)
    arrays: dict[str, torch.Tensor] = {}
    for ours in model.state_dict():
        if ours.endswith("num_batches_tracked"):
            continue
        prefix, part = ours.rsplit(".", 1)
        name = keras_name(prefix, part)
        array = theirs[name]
        if array.ndim == 4:  # [kH, kW, in, out], or [kH, kW, channels, 1] where depthwise
            array = array.transpose(2, 3, 0, 1) if "depthwise" in name else array.transpose(3, 2, 0, 1)
        arrays[ours] = torch.from_numpy(np.ascontiguousarray(array))
    load_arrays(model, arrays)
    return model.eval()


def keras_name(prefix: str, part: str) -> str:
    """`features.4.conv.1.0`, `weight` to `block_3_depthwise/depthwise_kernel`, and so on."""
    _, index, *rest = prefix.split(".")
    block = int(index) - 1
    if block in (-1, 17):
        convolution, norm = ("Conv1", "bn_Conv1") if block == -1 else ("Conv_1", "Conv_1_bn")
        layer, is_norm = (norm, True) if rest == ["1"] else (convolution, False)
    else:
        slots = ["expand", "depthwise", "project"] if block else ["depthwise", "project"]
        slot = int(rest[1])
        is_norm = rest[2:] == ["1"] if len(rest) == 3 else slot == len(slots)
        role = slots[slot] if len(rest) == 3 else "project"
        layer = ("expanded_conv_" if block == 0 else f"block_{block}_") + role + ("_BN" if is_norm else "")
    if not is_norm:
        return f"{layer}/{'depthwise_kernel' if layer.endswith('depthwise') else 'kernel'}"
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    return f"{layer}/{names[part]}"


def load_arrays(model: nn.Module, arrays: dict[str, torch.Tensor]) -> None:
    """Loads every array; a missing or unknown name is an error."""
    report = model.load_state_dict({name: array.float() for name, array in arrays.items()}, strict=False)
    missing = [name for name in report.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or report.unexpected_keys:
        raise ValueError(f"missing {missing}, unexpected {report.unexpected_keys}")


def load_student(path: pathlib.Path) -> MobileNetV2:
    """A student as written by `write_student`."""
    model = MobileNetV2(0.35, KERAS_EPSILON)
    load_arrays(model, load_file(path))
    return model.eval()


def write_student(model: MobileNetV2, path: pathlib.Path, source: str) -> None:
    """Writes the student in half precision with its BatchNorm layers unfolded.

    Scaling one output channel of a convolution by s, its running mean by s and (variance + epsilon) by s squared
    changes nothing. With s = 1 / sqrt(variance + epsilon) the stored variance is 1 - epsilon, far from both ends of
    half precision. Channels that hardly vary keep their scale, because there epsilon decides what they give while
    BatchNorm trains; half precision errs by at most 3e-8 on such a variance, against an epsilon of 1e-3.
    """
    state = {name: array.detach().clone() for name, array in model.state_dict().items()}
    for name, module in model.named_modules():
        if not isinstance(module, nn.BatchNorm2d):
            continue
        prefix, slot = name.rsplit(".", 1)
        convolution = f"{prefix}.{int(slot) - 1}.weight"
        variance = state[f"{name}.running_var"]
        scale = torch.where(variance > 10 * module.eps, (variance + module.eps).rsqrt(), 1.0)
        state[convolution] *= scale[:, None, None, None]
        state[f"{name}.running_mean"] *= scale
        state[f"{name}.running_var"] = (variance + module.eps) * scale.square() - module.eps
    arrays = {}
    for name, array in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            array = array.clamp(min=0)
        arrays[name] = array.half().contiguous()
        if not torch.isfinite(arrays[name]).all():
            raise ValueError(f"`{name}` does not fit half precision")
    metadata = {
        "architecture": "mobilenet_v2", "width": "0.35", "padding": "tensorflow", "batch_norm_epsilon": "0.001",
        "preprocess": "tensorflow", "input_size": "128", "license": "Apache-2.0", "source": source,
    }
    save_file(arrays, path, metadata)
    sort_metadata(path)


def sort_metadata(path: pathlib.Path) -> None:
    """safetensors writes metadata in the order of a hash map: sorted, the same arrays give the same bytes."""
    payload = path.read_bytes()
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    if len(text) != length:
        raise ValueError(f"the header of `{path}` cannot be rewritten in place")
    path.write_bytes(payload[:8] + text + payload[8 + length :])
