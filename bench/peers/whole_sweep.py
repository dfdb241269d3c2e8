#!/usr/bin/env python3
"""Points per hour of a whole sweep on one core: capsweep, a JAX script and a plain PyTorch loop over the same points.

    capsweep run sweeps/ecm-small.yaml --db sweep.db        # or until it has listed its points; then Ctrl-C
    pip install jax numpy torch
    taskset -c 0 python3 bench/peers/whole_sweep.py --db sweep.db --every 12 --peer capsweep

Trains every n-th group of points that differ in their seeds only, compiling included, and extrapolates to the sweep.
JAX trains the seeds of a group together: jit(vmap(scan)), mode label, Adam with a cosine. PyTorch trains one point after
the other, and of every group the first only. Both peers take batches in the order of the library, without drawing an
order, and count once at the end. Prints one JSON object.
"""
import argparse
import json
import math
import os
import sqlite3
import subprocess
import time

FIELDS = ["mode", "vocab", "seq_len", "layers", "heads", "head_dim", "width", "freeze_mlp", "dataset_size", "batch_size",
          "lr", "lr_final", "schedule", "eval_every", "data_seed", "init_seed"]
SEEDS = {"data_seed", "init_seed"}


def read_groups(path):
    """Points of the database as lists that differ in their seeds only, largest cost first."""
    rows = sqlite3.connect(path)
    rows.row_factory = sqlite3.Row
    groups = {}
    for row in rows.execute("SELECT * FROM points ORDER BY cost_seconds DESC, point_id"):
        point = {field: row[field] for field in FIELDS}
        point["freeze_mlp"] = bool(point["freeze_mlp"])
        # No early stop: all do the same steps.
        point.update(steps=row["budget_steps"], epochs=row["budget_epochs"], patience=0)
        groups.setdefault(tuple(v for k, v in point.items() if k not in SEEDS), []).append(point)
    return list(groups.values())


def steps_of(p):
    return p["steps"] or p["epochs"] * math.ceil(p["dataset_size"] / p["batch_size"])


# ---- capsweep ----
def train_capsweep(groups, trainer):
    lines = "".join(json.dumps(p) + "\n" for group in groups for p in group)
    out = subprocess.run([trainer], input=lines, capture_output=True, text=True, check=True).stdout
    assert out.count('"result"') >= sum(map(len, groups)), out
    return sum(map(len, groups))


# ---- JAX ----
def train_jax(groups):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    import jax.numpy as jnp

    def init(key, p):
        b, inner, v, n = p["width"], p["heads"] * p["head_dim"], p["vocab"], p["seq_len"]
        sizes = {"tokens": (v, b), "positions": (n, b), "q": (inner, b), "k": (inner, b), "v": (inner, b),
                 "out": (b, inner), "up": (4 * b, b), "down": (b, 4 * b), "head": (v, b)}
        w = {name: (1.0 if name in ("tokens", "positions") else size[1] ** -0.5) * jax.random.normal(k, size)
             for (name, size), k in zip(sizes.items(), jax.random.split(key, len(sizes)))}
        w.update(norm1=jnp.ones(b), norm2=jnp.ones(b), norm3=jnp.ones(b), up_bias=jnp.zeros(4 * b),
                 down_bias=jnp.zeros(b))
        frozen = {"up", "up_bias", "down", "down_bias"} if p["freeze_mlp"] else set()
        return {k: x for k, x in w.items() if k not in frozen}, {k: x for k, x in w.items() if k in frozen}

    def norm(x, gain):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gain

    def logits_of(w, tokens, p):
        heads, d = p["heads"], p["head_dim"]
        x = w["tokens"][tokens] + w["positions"] / math.sqrt(p["width"])
        y = norm(x, w["norm1"])
        split = lambda a: a.reshape(a.shape[0], -1, heads, d).transpose(0, 2, 1, 3)
        q, k, v = (split(y @ w[name].T) for name in "qkv")
        mixed = jax.nn.softmax(q @ k.transpose(0, 1, 3, 2) / math.sqrt(d), -1) @ v
        x = x + mixed.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[1], -1) @ w["out"].T
        x = x + jax.nn.gelu(norm(x, w["norm2"]) @ w["up"].T + w["up_bias"], approximate=False) @ w["down"].T + w["down_bias"]
        return norm(x[:, -1], w["norm3"]) @ w["head"].T

    def run(key, p):
        k1, k2, k3 = jax.random.split(key, 3)
        items, batch, steps = p["dataset_size"], min(p["batch_size"], p["dataset_size"]), steps_of(p)
        tokens = jax.random.randint(k1, (items, p["seq_len"]), 0, p["vocab"])
        targets = jax.random.randint(k2, (items,), 0, p["vocab"])
        trained, frozen = init(k3, p)
        zeros = jax.tree_util.tree_map(jnp.zeros_like, trained)

        def loss(w, x, y):
            picked = jnp.take_along_axis(jax.nn.log_softmax(logits_of({**w, **frozen}, x, p)), y[:, None], -1)
            return -picked.mean()

        def step(state, i):
            w, m, v = state
            at = (i * batch) % (items - batch + 1)
            g = jax.grad(loss)(w, jax.lax.dynamic_slice_in_dim(tokens, at, batch),
                               jax.lax.dynamic_slice_in_dim(targets, at, batch))
            m = jax.tree_util.tree_map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
            v = jax.tree_util.tree_map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
            t = i + 1.0
            rate = p["lr"] * 0.5 * (1 + jnp.cos(jnp.pi * i / steps)) / (1 - 0.9**t)
            correct = jnp.sqrt(1 - 0.999**t)
            w = jax.tree_util.tree_map(lambda a, b, c: a - rate * b / (jnp.sqrt(c) / correct + 1e-8), w, m, v)
            return (w, m, v), None

        (w, _, _), _ = jax.lax.scan(step, (trained, zeros, zeros), jnp.arange(steps))
        return (logits_of({**w, **frozen}, tokens, p).argmax(-1) == targets).sum()

    for group in groups:
        keys = jnp.stack([jax.random.PRNGKey(p["init_seed"]) for p in group])
        jax.block_until_ready(jax.jit(jax.vmap(lambda key: run(key, group[0])))(keys))
    return sum(map(len, groups))


# ---- PyTorch ----
def train_torch(groups):
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(1)

    class Model(nn.Module):
        def __init__(self, p):
            super().__init__()
            b, inner = p["width"], p["heads"] * p["head_dim"]
            self.heads = p["heads"]
            self.tokens, self.positions = nn.Embedding(p["vocab"], b), nn.Embedding(p["seq_len"], b)
            self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(b) for _ in range(3))
            self.qkv, self.out = nn.Linear(b, 3 * inner, bias=False), nn.Linear(inner, b, bias=False)
            self.mlp = nn.Sequential(nn.Linear(b, 4 * b), nn.GELU(), nn.Linear(4 * b, b))
            self.head = nn.Linear(b, p["vocab"], bias=False)
            self.mlp.requires_grad_(not p["freeze_mlp"])

        def forward(self, tokens):
            x = self.tokens(tokens) + self.positions.weight
            b, n, _ = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1))
            x = x + self.mlp(self.norm2(x))
            return self.head(self.norm3(x[:, -1]))

    for group in groups:
        p = group[0]
        torch.manual_seed(p["init_seed"])
        items, batch, steps = p["dataset_size"], min(p["batch_size"], p["dataset_size"]), steps_of(p)
        tokens, targets = torch.randint(p["vocab"], (items, p["seq_len"])), torch.randint(p["vocab"], (items,))
        model = Model(p)
        adam = torch.optim.Adam([w for w in model.parameters() if w.requires_grad], lr=p["lr"])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for i in range(steps):
            at = i * batch % (items - batch + 1)
            adam.zero_grad()
            F.cross_entropy(model(tokens[at:at + batch]), targets[at:at + batch]).backward()
            adam.step()
            schedule.step()
        with torch.no_grad():
            (model(tokens).argmax(-1) == targets).sum().item()
    return len(groups)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", required=True)
    parser.add_argument("--every", type=int, default=12)
    parser.add_argument("--peer", choices=["capsweep", "jax", "torch"], required=True)
    parser.add_argument("--trainer", default="build/release/bin/capsweep-trainer")
    options = parser.parse_args()
    groups = read_groups(options.db)
    sample = groups[options.every // 2::options.every]
    if any(p["mode"] != "label" or p["layers"] != 1 for group in sample for p in group):
        parser.error("the peers know mode label and one layer only")
    start = time.perf_counter()
    train = {"capsweep": lambda: train_capsweep(sample, options.trainer), "jax": lambda: train_jax(sample),
             "torch": lambda: train_torch(sample)}[options.peer]
    trained = train()
    seconds = time.perf_counter() - start
    points = sum(map(len, groups))
    print(json.dumps({"peer": options.peer, "points_trained": trained, "seconds": round(seconds, 1),
                      "points_per_hour": round(3600 * trained / seconds),
                      "whole_sweep_hours": round(points * seconds / trained / 3600, 2)}))


if __name__ == "__main__":
    main()
