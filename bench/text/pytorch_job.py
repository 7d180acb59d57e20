"""Times passes or training steps of BERT-base in PyTorch on random tokens and prints one JSON object.

    python pytorch_job.py [pass|step] [--batch 8] [--length 128|mixed] [--count 8] [--threads 2]

The network is Hugging Face's `BertModel` with its fastest attention for the CPU (scaled_dot_product_attention), in inference
mode for a pass; a step trains everything with dropout, a linear output on the first token and AdamW. `mixed` lengths are
between 8 and 128, padded to the longest with an attention mask, as its users do.
"""

import argparse
import json
import resource
import statistics
import time

import torch
from torch.nn import functional
from transformers import BertConfig, BertModel


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="step", choices=["pass", "step"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", default="128")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    model = BertModel(BertConfig(attn_implementation="sdpa"), add_pooling_layer=False)
    if options.length == "mixed":
        lengths = [8 + (index * 7919) % 121 for index in range(options.batch)]
    else:
        lengths = [int(options.length)] * options.batch
    longest = max(lengths)
    mask = torch.tensor([[1] * length + [0] * (longest - length) for length in lengths])
    ids = torch.randint(0, 30522, [options.batch, longest]) * mask
    inputs = {"input_ids": ids}
    if min(lengths) < longest:
        inputs["attention_mask"] = mask
    times = []
    if options.what == "pass":
        model.eval()
        with torch.inference_mode():
            for _ in range(options.count):
                start = time.perf_counter()
                model(**inputs)
                times.append(time.perf_counter() - start)
    else:
        model.train()
        head = torch.nn.Linear(768, 1)
        optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], 1e-5, fused=True)
        labels = (torch.arange(options.batch) % 2).float()
        for _ in range(options.count):
            start = time.perf_counter()
            output = head(model(**inputs).last_hidden_state[:, 0])[:, 0]
            loss = functional.binary_cross_entropy_with_logits(output, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            times.append(time.perf_counter() - start)
    seconds = statistics.median(times[1:] or times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "sequences": options.batch / seconds, "mebibytes": peak}))


if __name__ == "__main__":
    main()
