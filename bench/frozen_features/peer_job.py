"""Times a frozen network with average pooling in ONNX Runtime or PyTorch; prints one JSON object.

    python peer_job.py onnxruntime|pytorch [--network mobilenet_v2] [--batch 32] [--passes 20] [--threads 2]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torchvision


def inception_v3():
    # Keras has no auxiliary classifier; without it and with an identity for the last layer the network ends in its pooling.
    network = torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=False)
    network.fc = torch.nn.Identity()
    return network


def averaged(trunk):
    return torch.nn.Sequential(trunk, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


NETWORKS = {
    "mobilenet_v2": (224, lambda: averaged(torchvision.models.mobilenet_v2(weights=None).features)),
    "vgg16": (224, lambda: averaged(torchvision.models.vgg16(weights=None).features)),
    "inception_v3": (299, inception_v3),
}


def in_onnxruntime(model, pixels, threads):
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(model, (pixels,), str(path), input_names=["pixels"], dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    values = {"pixels": pixels.numpy()}
    return lambda: session.run(None, values)


def in_pytorch(model, pixels, _threads):
    model = model.to(memory_format=torch.channels_last)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return lambda: model(pixels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["onnxruntime", "pytorch"])
    parser.add_argument("--network", choices=NETWORKS, default="mobilenet_v2")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    make = {"onnxruntime": in_onnxruntime, "pytorch": in_pytorch}[options.peer]
    with torch.inference_mode():
        side, network = NETWORKS[options.network]
        run = make(network().eval(), torch.rand(options.batch, 3, side, side), options.threads)
        times = []
        for _ in range(options.passes):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    seconds = statistics.median(times[len(times) // 4 :])
    print(json.dumps({"seconds": seconds, "examples": options.batch / seconds}))


if __name__ == "__main__":
    main()
