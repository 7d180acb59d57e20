"""Times `fit` of the head 1280 → 256 → 1 on given features in Keras and prints one JSON object: seconds a step.

    python keras_job.py [--batch 32] [--steps 600]
"""

import argparse
import json
import time

import keras
import numpy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((1280,)),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=["accuracy"])
    count = options.batch * options.steps
    features = numpy.random.default_rng(0).random((count, 1280), dtype=numpy.float32)
    labels = (numpy.arange(count) % 2).astype(numpy.float32)
    model.fit(features, labels, batch_size=options.batch, epochs=1, verbose=0)
    start = time.perf_counter()
    model.fit(features, labels, batch_size=options.batch, epochs=1, verbose=0)
    seconds = (time.perf_counter() - start) / options.steps
    print(json.dumps({"seconds": seconds, "steps": 1 / seconds, "examples": options.batch / seconds}))


if __name__ == "__main__":
    main()
