"""Seeds for the fuzzers from the fixtures of the readers.

    python seed.py        # Python's own library alone; writes corpus/<target>/ beside itself
"""

import io
import struct
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
FORMATS = HERE.parent / "fixtures" / "formats"


def seed(target, name, content):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def parts(*contents):
    """Each but the last with its length before it, as `parts` of the fuzzers takes them apart."""
    return b"".join(struct.pack("<I", len(part)) + part for part in contents[:-1]) + contents[-1]


def members(archive):
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def pytorch():
    for name in ("legacy.pth", "wrapped_legacy.pt"):
        seed("pytorch_legacy", name, (FORMATS / name).read_bytes())
    for name in ("zip.pth", "wrapped.pt", "whole_module.pt"):
        seed("pytorch_zip", name, b"\0" + (FORMATS / name).read_bytes())
        found = members(FORMATS / name)
        pickle = next(content for path, content in found.items() if path.endswith("data.pkl"))
        longest = max((content for path, content in found.items() if "/data/" in path), key=len)
        seed("pytorch_zip", name + ".parts", b"\1" + parts(pickle, longest * 4))


def keras():
    for path, content in members(FORMATS / "keras" / "files.zip").items():
        name = path.replace("/", "_")
        if len(content) > 60_000:
            continue
        if path.endswith(".safetensors"):
            seed("safetensors", name, content)
        elif path.endswith(".keras"):
            seed("keras_v3", name, b"\0" + content)
            found = members(io.BytesIO(content))
            inside = (found["config.json"], found["metadata.json"], found["model.weights.h5"])
            seed("keras_v3", name + ".parts", b"\2" + parts(*inside))
        elif path.endswith(".weights.h5"):
            seed("keras_v3", name, b"\1" + content)
        else:
            seed("keras_h5", name, content)


def tfjs():
    root = FORMATS / "tfjs"
    seed("tfjs", "layers.zip", b"\0" + (root / "layers.zip").read_bytes())
    for folder, manifest in (("layers", "model.json"), ("graph", "weights_manifest.json")):
        shards = sorted(path for path in (root / folder).iterdir() if path.suffix != ".json")
        text = (root / folder / manifest).read_text()
        # The fuzzer has two shards: all but the last group in the first.
        groups = {}
        for shard in shards:
            groups.setdefault(shard.name.split("-")[0], []).append(shard)
        bytes_of = []
        for name, group in zip("ab", groups.values()):
            listed = ", ".join(f'"{shard.name}"' for shard in group)
            compact = text.replace(listed, f'"{name}"').replace(listed.replace(", ", ","), f'"{name}"')
            assert compact != text or len(group) == 0, folder
            text = compact
            bytes_of.append(b"".join(shard.read_bytes() for shard in group))
        bytes_of += [b""] * (2 - len(bytes_of))
        for way in (1, 2):
            seed("tfjs", f"{folder}.{way}", bytes([way]) + parts(text.encode(), *bytes_of))


def tensorflow():
    for name, content in members(FORMATS / "tf_checkpoint" / "files.zip").items():
        if not name.endswith(".index"):
            continue
        found = members(FORMATS / "tf_checkpoint" / "files.zip")
        prefix = name.removesuffix(".index")
        shards = [found[path] for path in sorted(found) if path.startswith(prefix + ".data-")]
        shards += [b""] * (2 - len(shards))
        seed("tf_checkpoint", name.replace("/", "_"), parts(*shards[:2], content))
    for name, content in members(FORMATS / "tf_graph" / "files.zip").items():
        if not name.endswith(".safetensors"):
            seed("tf_graph", name.replace("/", "_"), content)


def darknet():
    """No file of Darknet is a fixture: a small network of every section, and values for it."""
    sections = [
        "net width=16 height=16 channels=4",
        "convolutional batch_normalize=1 filters=8 size=3 stride=1 pad=1 groups=2 activation=mish",
        "maxpool size=2 stride=2",
        "convolutional filters=8 size=1 stride=1 activation=swish",
        "dropout probability=.2",
        "shortcut from=-2 activation=linear",
        "reorg stride=2",
        "route layers=-1 groups=2 group_id=1",
        "convolutional filters=8 activation=relu6",
        "upsample stride=2",
        "route layers=-1,-5",
        "convolutional filters=12 activation=linear",
        "yolo mask=0,1 anchors=1,2,3,4 classes=1 num=2 scale_x_y=1.05",
        "region anchors=1,2,3,4 classes=1 num=2 coords=4 softmax=1",
    ]
    def written(section):
        name, *settings = section.split()
        return "\n".join([f"[{name}]", *settings]) + "\n"
    values = 4 * 8 + 8 * 2 * 9 + 8 + 8 * 8 + 8 + 8 * 16 + 12 + 12 * 16
    content = b"".join(struct.pack("<f", number / 64) for number in range(values))
    for minor, seen in ((2, 8), (1, 4)):
        header = struct.pack("<3i", 0, minor, 0) + bytes(seen)
        seed("darknet", f"every_section.{minor}", parts("\n".join(map(written, sections)).encode(), header + content))


def main():
    for name in ("expected.safetensors", "tfjs/layers.safetensors", "tfjs/graph.safetensors"):
        seed("safetensors", name.replace("/", "_"), (FORMATS / name).read_bytes())
    pytorch()
    keras()
    tfjs()
    tensorflow()
    darknet()


if __name__ == "__main__":
    main()
