"""The reference job in Keras, as a user writes it: frozen MobileNetV2, a new head, ten epochs, validation each epoch.

    python keras_job.py DATA WEIGHTS [--epochs 10] [--batch 32] [--seed 0]

DATA has train/ and val/ with a folder for each of two classes. WEIGHTS is a safetensors file with torchvision's names
and TensorFlow's padding. The last line is JSON: accuracy on val/ after the last epoch, and seconds since the script's
first line.
"""

import time

START = time.perf_counter()

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow
from safetensors.numpy import load_file

SIZE = 224
# The file's BatchNorms were written for torch's epsilon; Keras adds another one to the variance.
FILE_EPSILON = 1e-5


def convolutions():
    """(prefix of the convolution, prefix of its BatchNorm) in the file → the same in Keras."""
    yield ("features.0.0", "features.0.1"), ("Conv1", "bn_Conv1")
    for index in range(17):
        ours = f"features.{index + 1}.conv"
        theirs = f"block_{index}" if index else "expanded_conv"
        parts = ["expand", "depthwise"] if index else ["depthwise"]
        for position, part in enumerate(parts):
            yield (f"{ours}.{position}.0", f"{ours}.{position}.1"), (f"{theirs}_{part}", f"{theirs}_{part}_BN")
        last = len(parts)
        yield (f"{ours}.{last}", f"{ours}.{last + 1}"), (f"{theirs}_project", f"{theirs}_project_BN")
    yield ("features.18.0", "features.18.1"), ("Conv_1", "Conv_1_bn")


def load_weights(base, path):
    arrays = load_file(path)
    loaded = 0
    for (convolution, norm), (keras_convolution, keras_norm) in convolutions():
        kernel = arrays[f"{convolution}.weight"]  # [O, I, H, W], depthwise [C, 1, H, W]
        depthwise = isinstance(base.get_layer(keras_convolution), keras.layers.DepthwiseConv2D)
        axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)  # to HWCM, HWIO
        base.get_layer(keras_convolution).set_weights([kernel.transpose(axes)])
        layer = base.get_layer(keras_norm)
        variance = arrays[f"{norm}.running_var"] + FILE_EPSILON - layer.epsilon
        layer.set_weights([arrays[f"{norm}.weight"], arrays[f"{norm}.bias"], arrays[f"{norm}.running_mean"], variance])
        loaded += 5
    assert loaded == len(base.weights), f"{loaded} of {len(base.weights)} arrays loaded"


def pretrained(path):
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))
    load_weights(base, path)
    base.trainable = False
    return base


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)

    def photos(part, shuffle):
        return keras.utils.image_dataset_from_directory(
            options.data / part,
            label_mode="binary",
            image_size=(SIZE, SIZE),
            batch_size=options.batch,
            shuffle=shuffle,
            seed=options.seed,
        ).prefetch(tensorflow.data.AUTOTUNE)

    base = pretrained(options.weights)
    inputs = keras.Input((SIZE, SIZE, 3))
    outputs = keras.applications.mobilenet_v2.preprocess_input(inputs)
    outputs = base(outputs, training=False)
    outputs = keras.layers.GlobalAveragePooling2D()(outputs)
    outputs = keras.layers.Dense(256, activation="relu")(outputs)
    outputs = keras.layers.Dropout(0.5)(outputs)
    outputs = keras.layers.Dense(1, activation="sigmoid")(outputs)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy", metrics=["accuracy"])
    history = model.fit(photos("train", True), validation_data=photos("val", False), epochs=options.epochs, verbose=2)
    accuracy = history.history["val_accuracy"][-1]
    print(json.dumps({"accuracy": accuracy, "seconds": time.perf_counter() - START}))


if __name__ == "__main__":
    main()
