"""Pictures to distil on: photos without their labels, generated pictures, and the augmentation of both.

Only training photos are opened. The photos of `val/`, the test lists of `bccd` and `aerial_cars`, and the
share-alike half of `aerial_cars` are never read.
"""

import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

GENERATED = "generated"
# Share of the pool that each source gets, and the areas of its random crops.
SOURCES = {
    "ants_bees": (0.36, (0.2, 1.0)),
    "trashnet6": (0.36, (0.2, 1.0)),
    "bccd": (0.06, (0.1, 0.8)),
    "aerial_cars": (0.10, (0.02, 0.3)),
    GENERATED: (0.12, (0.4, 1.0)),
}
VIEW = 224


def source_paths(data: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The photos of each source, in a fixed order."""
    held_out = {pathlib.Path(line).stem for line in (data / "aerial_cars/split_val.txt").read_text().split()}
    named = (data / "bccd/ImageSets/Main/train.txt").read_text().split()
    aerial = sorted((data / "aerial_cars/kit_ais_cc_by").glob("*.jp*g"))
    return {
        "ants_bees": sorted((data / "ants_bees/train").glob("*/*.jp*g")),
        "trashnet6": sorted((data / "trashnet6/train").glob("*/*.jp*g")),
        "bccd": [data / "bccd/JPEGImages" / f"{name}.jpg" for name in named],
        "aerial_cars": [path for path in aerial if path.stem not in held_out],
    }


def random_crop(image: Image.Image, area: tuple[float, float], random: np.random.Generator) -> Image.Image:
    """A crop of random area and of aspect 3/4..4/3, resampled from the original pixels to VIEW."""
    width, height = image.size
    for _ in range(10):
        pixels = width * height * random.uniform(*area)
        aspect = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round((pixels * aspect) ** 0.5), round((pixels / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            break
    else:
        w = h = min(width, height)
    left, top = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
    return image.resize((VIEW, VIEW), Image.Resampling.BICUBIC, (left, top, left + w, top + h))


def distort(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Flip, color jitter, gray, blur and rotation, each with its chance."""
    if random.random() < 0.5:
        image = ImageOps.mirror(image)
    if random.random() < 0.7:
        for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhancer(image).enhance(random.uniform(0.6, 1.4))
    if random.random() < 0.2:
        hue, saturation, value = image.convert("HSV").split()
        turn = int(random.integers(-20, 21))
        image = Image.merge("HSV", (hue.point(lambda h: (h + turn) % 256), saturation, value)).convert("RGB")
    if random.random() < 0.1:
        image = ImageOps.grayscale(image).convert("RGB")
    if random.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 2.5)))
    if random.random() < 0.1:
        image = image.rotate(random.uniform(-25, 25), Image.Resampling.BILINEAR)
    return image


def noise(random: np.random.Generator, size: int) -> np.ndarray:
    """Colored noise of several octaves, 0..1: [size, size, 3]."""
    total, falloff = np.zeros((size, size, 3), np.float32), random.uniform(0.3, 0.9)
    for octave in range(1, 8):
        cells = random.random((2**octave, 2**octave, 3), np.float32)
        layers = [Image.fromarray(cells[..., c]).resize((size, size), Image.Resampling.BICUBIC) for c in range(3)]
        total += falloff**octave * np.stack([np.asarray(layer) for layer in layers], -1)
    total -= total.min()
    return total / total.max()


def generate(random: np.random.Generator, size: int = 256) -> Image.Image:
    """A picture of gradients, stripes, noise and shapes in random colors."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle, first, second = random.uniform(0, 2 * np.pi), random.random(3), random.random(3)
    ramp = np.cos(angle) * columns + np.sin(angle) * rows
    kind = random.integers(3)
    if kind == 0:
        weight = (ramp - ramp.min()) / np.ptp(ramp)
    elif kind == 1:
        weight = 0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(2, 30) * ramp)
    else:
        weight = noise(random, size)[..., 0]
    canvas = weight[..., None] * first + (1 - weight[..., None]) * second
    texture = noise(random, size)
    image = Image.fromarray((255 * np.clip(0.7 * canvas + 0.3 * texture, 0, 1)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(0, 12))):
        color = tuple(int(c) for c in random.integers(0, 256, 3))
        points = [tuple(point) for point in random.uniform(-0.1, 1.1, (int(random.integers(2, 7)), 2)) * size]
        if len(points) == 2:
            (x0, x1), (y0, y1) = sorted(p[0] for p in points), sorted(p[1] for p in points)
            shape = draw.ellipse if random.random() < 0.6 else draw.rectangle
            shape((x0, y0, x1, y1), fill=color)
        elif random.random() < 0.5:
            draw.polygon(points, fill=color)
        else:
            draw.line(points, fill=color, width=int(random.integers(1, 12)))
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 2)))
    return image


class Pictures:
    """Augmented views by number: view `index` is the same in every run with the same seed."""

    def __init__(self, data: pathlib.Path, seed: int):
        self.seed, self.names = seed, list(SOURCES)
        self.shares = np.array([share for share, _ in SOURCES.values()])
        self.photos = {
            name: [Image.open(path).convert("RGB") for path in paths] for name, paths in source_paths(data).items()
        }

    def single(self, random: np.random.Generator) -> tuple[np.ndarray, int]:
        source = int(random.choice(len(self.names), p=self.shares))
        name = self.names[source]
        photos = self.photos.get(name)
        image = photos[int(random.integers(len(photos)))] if photos else generate(random)
        return np.asarray(distort(random_crop(image, SOURCES[name][1], random), random)), 1 << source

    def view(self, index: int) -> tuple[np.ndarray, int]:
        """Pixels [224, 224, 3] as bytes, and the bits of the sources in them."""
        random = np.random.default_rng([self.seed, index])
        pixels, sources = self.single(random)
        chance = random.random()
        if chance > 0.35:
            return pixels, sources
        other, more = self.single(random)
        if chance < 0.2:  # mixup (Zhang et al., https://arxiv.org/abs/1710.09412)
            weight = random.uniform(0.5, 1.0)
            mixed = weight * pixels.astype(np.float32) + (1 - weight) * other
            return np.round(mixed).astype(np.uint8), sources | more
        side = int(VIEW * random.uniform(0.3, 0.7))  # cutmix (Yun et al., https://arxiv.org/abs/1905.04899)
        top, left = random.integers(VIEW - side + 1, size=2)
        mixed = pixels.copy()
        mixed[top : top + side, left : left + side] = other[top : top + side, left : left + side]
        return mixed, sources | more
