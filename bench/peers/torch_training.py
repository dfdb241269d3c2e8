#!/usr/bin/env python3
"""Items per second of a PyTorch user's training loop: nn.Module, optim.Adam, one model, one thread.

    pip install torch
    taskset -c 0 python3 bench/peers/torch_training.py [--shape S1] [--mode label] [--compile]

Shapes and modes are those of `bench_training`. Prints one JSON object a line.
"""
import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional as F

SHAPES = {  # heads, width, seq_len, vocab, batch
    "S1": (1, 8, 8, 16, 16),
    "S2": (4, 32, 16, 64, 64),
    "S3": (8, 64, 64, 256, 256),
}


class Block(nn.Module):
    def __init__(self, heads, width, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, n, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, n, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Model(nn.Module):
    def __init__(self, heads, width, seq_len, vocab, mode):
        super().__init__()
        self.mode = mode
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(seq_len, width)
        self.block, self.norm = Block(heads, width, mode == "lm"), nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)

    def forward(self, tokens):
        x = self.block(self.tokens(tokens) + self.positions.weight)
        return self.head(self.norm(x[:, -1] if self.mode == "label" else x))


def measure(shape, mode, compiled, seconds):
    heads, width, seq_len, vocab, batch = SHAPES[shape]
    model = Model(heads, width, seq_len, vocab, mode)
    forward = torch.compile(model) if compiled else model
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    items = 16 * batch
    tokens = torch.randint(vocab, (items, seq_len))
    targets = torch.randint(vocab, (items,) if mode == "label" else (items, seq_len))

    def step(i):
        at = i * batch % (items - batch + 1)
        adam.zero_grad()
        logits = forward(tokens[at:at + batch])
        F.cross_entropy(logits.reshape(-1, vocab), targets[at:at + batch].reshape(-1)).backward()
        adam.step()

    start = time.perf_counter()
    for i in range(3):
        step(i)
    first = time.perf_counter() - start
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step(done)
        done += 1
    elapsed = time.perf_counter() - start
    return {"peer": "torch " + torch.__version__, "shape": shape, "mode": mode, "compiled": compiled,
            "items_per_second": done * batch / elapsed, "microseconds_per_step": 1e6 * elapsed / done,
            "first_steps_seconds": first}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--mode", choices=["label", "seq", "lm"], action="append")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for shape in options.shape or SHAPES:
        for mode in options.mode or ["label", "seq"]:
            print(json.dumps(measure(shape, mode, options.compile, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
