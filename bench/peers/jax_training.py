#!/usr/bin/env python3
"""Items per second of the strongest thing a careful JAX user writes: jit(vmap(scan(step))) over K models of one shape.

    pip install jax numpy
    taskset -c 0 python3 bench/peers/jax_training.py [--shape S1] [--mode label] [--algebra plain|ours] [--models 1 64]

Shapes and modes are those of `bench_training`. `--algebra ours` computes the last layer of mode label as the cpu back
end does: for the last position only, without keys and values. Prints one JSON object a line, best K last.
"""
import argparse
import json
import math
import os
import time

# On a GPU (where JAX finds one) raise --models: 1 64 256 1024.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp

SHAPES = {  # heads, width, seq_len, vocab, batch
    "S1": (1, 8, 8, 16, 16),
    "S2": (4, 32, 16, 64, 64),
    "S3": (8, 64, 64, 256, 256),
}
ITEMS_PER_BATCH = 16  # library items per item of a batch


def init(key, heads, width, seq_len, vocab):
    inner = width
    sizes = {
        "tokens": (vocab, width), "positions": (seq_len, width), "q": (inner, width), "k": (inner, width),
        "v": (inner, width), "out": (width, inner), "up": (4 * width, width), "down": (width, 4 * width),
        "head": (vocab, width),
    }
    weights = {}
    for name, key_of_it in zip(sizes, jax.random.split(key, len(sizes))):
        scale = 1.0 if name in ("tokens", "positions") else 1 / math.sqrt(sizes[name][1])
        weights[name] = scale * jax.random.normal(key_of_it, sizes[name])
    weights.update(norm1=jnp.ones(width), norm2=jnp.ones(width), norm3=jnp.ones(width),
                   up_bias=jnp.zeros(4 * width), down_bias=jnp.zeros(width))
    return weights


def norm(x, gain):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gain


def attend(w, x, heads, causal):  # [b, N, B] -> [b, N, B]
    b, n, width = x.shape
    split = lambda y: y.reshape(b, n, heads, -1).transpose(0, 2, 1, 3)
    q, k, v = (split(x @ w[name].T) for name in "qkv")
    scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(width // heads)
    if causal:
        scores = jnp.where(jnp.tril(jnp.ones((n, n), bool)), scores, -1e30)
    mixed = jax.nn.softmax(scores, -1) @ v
    return mixed.transpose(0, 2, 1, 3).reshape(b, n, -1) @ w["out"].T


def attend_last(w, x, heads):  # [b, N, B] -> [b, B], keys and values never formed
    b, _, width = x.shape
    q = (x[:, -1] @ w["q"].T).reshape(b, heads, -1)
    by_head = lambda name: w[name].reshape(heads, -1, width)
    r = jnp.einsum("bhd,hdi->bhi", q, by_head("k"))
    p = jax.nn.softmax(jnp.einsum("bhi,bni->bhn", r, x) / math.sqrt(width // heads), -1)
    c = jnp.einsum("bhn,bni->bhi", p, x)
    return jnp.einsum("bhi,hdi->bhd", c, by_head("v")).reshape(b, -1) @ w["out"].T


def loss_of(w, tokens, targets, heads, mode, algebra):
    shown = tokens
    embedded = w["tokens"][shown]
    if mode == "lm":
        embedded = jnp.pad(embedded[:, :-1], ((0, 0), (1, 0), (0, 0)))
    x = embedded + w["positions"] / math.sqrt(w["positions"].shape[1])
    if mode == "label" and algebra == "ours":
        x = x[:, -1] + attend_last(w, norm(x, w["norm1"]), heads)
    else:
        x = x + attend(w, norm(x, w["norm1"]), heads, mode == "lm")
    hidden = jax.nn.gelu(norm(x, w["norm2"]) @ w["up"].T + w["up_bias"], approximate=False)
    x = x + hidden @ w["down"].T + w["down_bias"]
    if mode == "label" and algebra == "plain":
        x = x[:, -1]
    logits = norm(x, w["norm3"]) @ w["head"].T
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)
    return -picked.mean()


def measure(shape, mode, algebra, models, seconds):
    heads, width, seq_len, vocab, batch = SHAPES[shape]
    items = ITEMS_PER_BATCH * batch
    keys = jax.random.split(jax.random.PRNGKey(1), models)
    weights = jax.vmap(lambda k: init(k, heads, width, seq_len, vocab))(keys)
    tokens = jax.random.randint(jax.random.PRNGKey(2), (models, items, seq_len), 0, vocab)
    shape_of_targets = (models, items) if mode == "label" else (models, items, seq_len)
    targets = tokens if mode == "lm" else jax.random.randint(jax.random.PRNGKey(3), shape_of_targets, 0, vocab)
    zeros = jax.tree_util.tree_map(jnp.zeros_like, weights)
    steps = max(1, int(4000 / (width * seq_len * batch / 1024) / models))
    steps = min(max(steps, 4), 512)

    def run(w, m, v, t0, tokens, targets):
        def step(state, i):
            w, m, v, t = state
            at = (i * batch) % (items - batch + 1)
            x = jax.lax.dynamic_slice_in_dim(tokens, at, batch)
            y = jax.lax.dynamic_slice_in_dim(targets, at, batch)
            loss, g = jax.value_and_grad(loss_of)(w, x, y, heads, mode, algebra)
            t = t + 1
            m = jax.tree_util.tree_map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
            v = jax.tree_util.tree_map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
            rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            w = jax.tree_util.tree_map(lambda a, b, c: a - rate * b / (jnp.sqrt(c) + 1e-8), w, m, v)
            return (w, m, v, t), loss

        return jax.lax.scan(step, (w, m, v, t0), jnp.arange(steps))

    many = jax.jit(jax.vmap(run))
    state = (weights, zeros, zeros, jnp.zeros(models))
    start = time.perf_counter()
    state, _ = jax.block_until_ready(many(*state, tokens, targets))
    compile_seconds = time.perf_counter() - start
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        state, _ = jax.block_until_ready(many(*state, tokens, targets))
        done += steps * models
    elapsed = time.perf_counter() - start
    return {"peer": "jax " + jax.__version__, "shape": shape, "mode": mode, "algebra": algebra, "models": models,
            "items_per_second": done * batch / elapsed, "microseconds_per_step": 1e6 * elapsed / done,
            "first_call_seconds": compile_seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--mode", choices=["label", "seq", "lm"], action="append")
    parser.add_argument("--algebra", choices=["plain", "ours"], action="append")
    parser.add_argument("--models", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    for shape in options.shape or SHAPES:
        for mode in options.mode or ["label", "seq"]:
            for algebra in options.algebra or ["plain", "ours"]:
                if algebra == "ours" and mode != "label":
                    continue
                rows = [measure(shape, mode, algebra, k, options.seconds) for k in options.models]
                for row in sorted(rows, key=lambda row: row["items_per_second"]):
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
