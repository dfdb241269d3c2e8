#!/usr/bin/env python3
"""No-op tasks per second: capsweep end to end (coordinator, two real workers with real trainers, every result on disk) and
the task runners that are installed here, one after the other on the same machine.

    bench/peers/dispatch.py [--bin build/release/bin] [--tasks 2000] [--points 20000] [--only NAME,...]

A peer that is not installed is named and left out: ray, dask (distributed), optuna, celery with redis from PyPI and Debian;
parallel, xargs from Debian; hq (HyperQueue) from its releases. Two workers each. Only capsweep, Optuna and Slurm keep
results on disk; a point of capsweep is a real one: a model of 1,408 parameters, one step, one evaluation of 16 items.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SWEEP = """sweep: noop
task: {{mode: label, vocab: 16, seq_len: 8}}
model: {{heads: 2, head_dim: 8, width: 8}}
data: {{dataset_size: 16}}
train: {{lr: 0.001, batch_size: 16, steps: 1}}
repeats: {points}
"""


class NotHere(Exception):
    pass


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(0.02)
    raise RuntimeError("timed out")


def capsweep(args):
    """Rate from the submission to the last result on disk; workers are connected before."""
    binary = os.path.join(args.bin, "capsweep")
    if not os.path.exists(binary):
        raise NotHere(f"no {binary}; ./dev build --preset release")
    folder = tempfile.mkdtemp(prefix="capsweep-dispatch-")
    running = []

    def cli(*words):
        return subprocess.run([binary, *words, "--coordinator", address], check=True, capture_output=True, text=True).stdout

    try:
        coordinator = subprocess.Popen([binary + "-coordinator", "--db", f"{folder}/a.db", "--listen", "127.0.0.1:0"],
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        running.append(coordinator)
        address = coordinator.stdout.readline().split()[-1]
        for name in ("one", "two"):
            running.append(subprocess.Popen(
                [binary + "-worker", "--coordinator", address, "--devices", "cpu:1", "--id", name, "--spool",
                 f"{folder}/{name}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_for(lambda: len([w for w in json.loads(cli("workers", "--format", "json")) if w["state"] == "idle"]) == 2)
        with open(f"{folder}/noop.yaml", "w") as file:
            file.write(SWEEP.format(points=args.points))
        start = time.monotonic()
        cli("submit", f"{folder}/noop.yaml")
        wait_for(lambda: json.loads(cli("status", "noop", "--format", "json"))[0]["done"] == args.points, 600)
        return args.points / (time.monotonic() - start)
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def timed_program(argv, tasks, **kwargs):
    if shutil.which(argv[0]) is None:
        raise NotHere(f"no {argv[0]}")
    start = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, **kwargs)
    return tasks / (time.monotonic() - start)


def xargs(args):
    return timed_program(["xargs", "-P2", "-n1", "/bin/true"], args.tasks, input="\n".join(map(str, range(args.tasks))))


def parallel(args):
    tasks = min(args.tasks, 1000)
    return timed_program(["parallel", "-j2", "--will-cite", "true", ":::", *map(str, range(tasks))], tasks)


def ray_actors(args):
    try:
        import ray
    except ImportError:
        raise NotHere("pip install ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")

    @ray.remote
    class Worker:
        def work(self, i):
            return i

    workers = [Worker.remote(), Worker.remote()]
    ray.get([w.work.remote(0) for w in workers])
    start = time.monotonic()
    ray.get([workers[i % 2].work.remote(i) for i in range(args.tasks)])
    rate = args.tasks / (time.monotonic() - start)
    ray.shutdown()
    return rate


def dask(args):
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise NotHere("pip install distributed")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        client.gather(client.map(int, range(4), pure=False))
        start = time.monotonic()
        client.gather(client.map(int, range(args.tasks), pure=False))
        return args.tasks / (time.monotonic() - start)


def optuna_sqlite(args):
    try:
        import optuna
    except ImportError:
        raise NotHere("pip install optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tasks = min(args.tasks, 200)
    folder = tempfile.mkdtemp()
    study = optuna.create_study(storage=f"sqlite:///{folder}/o.db", sampler=optuna.samplers.RandomSampler())
    start = time.monotonic()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=tasks, n_jobs=2)
    rate = tasks / (time.monotonic() - start)
    shutil.rmtree(folder, ignore_errors=True)
    return rate


def celery_redis(args):
    try:
        import celery
    except ImportError:
        raise NotHere("pip install celery redis")
    if shutil.which("redis-server") is None:
        raise NotHere("no redis-server")
    folder = tempfile.mkdtemp()
    with open(f"{folder}/noop_tasks.py", "w") as file:
        file.write("import celery\napp = celery.Celery('noop_tasks', broker='redis://127.0.0.1:6399/0', "
                   "backend='redis://127.0.0.1:6399/1')\napp.conf.task_acks_late = True\n"
                   "@app.task\ndef work(i):\n    return i\n")
    redis = subprocess.Popen(["redis-server", "--port", "6399", "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL)
    worker = subprocess.Popen([sys.executable, "-m", "celery", "-A", "noop_tasks", "worker", "-c", "2", "-l", "ERROR"],
                              cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        sys.path.insert(0, folder)
        import noop_tasks
        noop_tasks.work.delay(0).get(timeout=60)
        start = time.monotonic()
        results = [noop_tasks.work.delay(i) for i in range(args.tasks)]
        for result in results:
            result.get(timeout=120)
        return args.tasks / (time.monotonic() - start)
    finally:
        worker.terminate()
        worker.wait()
        redis.terminate()
        redis.wait()
        shutil.rmtree(folder, ignore_errors=True)


def hyperqueue(args):
    if shutil.which("hq") is None:
        raise NotHere("no hq")
    folder = tempfile.mkdtemp()
    environment = {**os.environ, "HQ_SERVER_DIR": folder}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen(["hq", "server", "start"], **quiet)]
    try:
        time.sleep(1)
        running += [subprocess.Popen(["hq", "worker", "start", "--cpus", "1"], **quiet) for _ in range(2)]
        time.sleep(2)
        start = time.monotonic()
        subprocess.run(["hq", "submit", "--wait", "--array", f"1-{args.tasks}", "--stdout", "none", "--stderr", "none",
                        "true"], check=True, **quiet)
        return args.tasks / (time.monotonic() - start)
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


RUNNERS = {
    "capsweep": (capsweep, "every result on disk"),
    "ray": (ray_actors, "actors; results in memory"),
    "xargs": (xargs, "a process per task; keeps nothing"),
    "dask": (dask, "results in memory"),
    "hyperqueue": (hyperqueue, "a process per task; no journal"),
    "celery": (celery_redis, "late acknowledgement; Redis does not persist"),
    "parallel": (parallel, "a process per task; keeps nothing"),
    "optuna": (optuna_sqlite, "SQLite; two threads"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--points", type=int, default=20000)
    parser.add_argument("--only", default=",".join(RUNNERS))
    args = parser.parse_args()
    print(f"{'no-op tasks':<14}{'per second':>12}{'capsweep is':>14}")
    ours = None
    for name in args.only.split(","):
        run, note = RUNNERS[name]
        try:
            rate = run(args)
        except NotHere as reason:
            print(f"{name:<14}{'-':>12}{'':>14}  not measured: {reason}")
            continue
        ours = rate if name == "capsweep" else ours
        ratio = f"{ours / rate:.1f} x" if ours else ""
        print(f"{name:<14}{rate:>12.0f}{ratio:>14}  {note}", flush=True)


if __name__ == "__main__":
    main()
