"""Times a DeepSpeech in PyTorch on random frames and prints one JSON object.

    python pytorch_job.py [pass|step] [--hidden 2048] [--batch 8] [--seconds 5] [--count 4] [--threads 2]

Layers and sizes are those of Mozilla DeepSpeech 0.9: frames with nine on each side, three dense layers cut at 20, an LSTM
(`torch.nn.LSTM`), a dense layer, letters. A step trains everything by `ctc_loss` with dropout 0.05 and fused Adam; a pass hears
one recording in inference mode.
"""

import argparse
import json
import resource
import statistics
import time

import torch
from torch.nn import functional

WINDOW, CLASSES = 494, 29


class DeepSpeech(torch.nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.dense = torch.nn.ModuleList(
            [torch.nn.Linear(WINDOW, hidden), torch.nn.Linear(hidden, hidden), torch.nn.Linear(hidden, hidden)])
        self.lstm = torch.nn.LSTM(hidden, hidden, batch_first=True)
        self.fifth = torch.nn.Linear(hidden, hidden)
        self.letters = torch.nn.Linear(hidden, CLASSES)

    def cut(self, values):
        return functional.dropout(values.clamp(0, 20), 0.05, self.training)

    def forward(self, windows):
        for layer in self.dense:
            windows = self.cut(layer(windows))
        states, _ = self.lstm(windows)
        return self.letters(self.cut(self.fifth(states)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="step", choices=["pass", "step"])
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    model = DeepSpeech(options.hidden)
    batch = 1 if options.what == "pass" else options.batch
    frames = (int(options.seconds * 16000) - 512) // 320 + 1
    windows = torch.randn(batch, frames, WINDOW)
    times = []
    if options.what == "pass":
        model.eval()
        with torch.inference_mode():
            for _ in range(options.count):
                start = time.perf_counter()
                model(windows)
                times.append(time.perf_counter() - start)
    else:
        optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
        letters = torch.randint(0, CLASSES - 1, [batch, int(options.seconds) * 14])
        lengths = [torch.full([batch], count) for count in (frames, letters.shape[1])]
        for _ in range(options.count):
            start = time.perf_counter()
            logits = model(windows).log_softmax(2).transpose(0, 1)
            loss = functional.ctc_loss(logits, letters, *lengths, blank=CLASSES - 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            times.append(time.perf_counter() - start)
    seconds = statistics.median(times[1:] or times)
    heard = options.seconds * batch
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "audio_seconds": heard / seconds, "real_time_factor": seconds / heard,
                      "mebibytes": peak}))


if __name__ == "__main__":
    main()
