#!/usr/bin/env python3
"""No-op tasks per second: capsweep end to end (coordinator, two real workers, every result on disk) and the task runners
that are installed here, one after the other on the same machine.

    bench/peers/dispatch.py [--bin build/release/bin] [--tasks 2000] [--points 20000] [--only NAME,...] [--json FILE]

A peer that is not installed is named and left out: ray, dask (distributed), optuna, hyperqueue, celery with redis from PyPI
and Debian; parallel, xargs, Slurm from Debian. Two workers each. Only capsweep, Optuna and Slurm keep results on disk. Two
rows are capsweep: `noop` compares like with like, for its trainers (bench/noop_trainer.cc) answer at once as the tasks of the
others do; a point of `capsweep` is a real one: a model of 1,408 parameters, one step, one evaluation of 16 items. For both, CPU
microseconds per point are given. With --json the figures are appended to FILE as one line, with commit and machine.
"""
import argparse
import contextlib
import io
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import slurm_peer

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


def free_port():
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def done_points(http):
    """Over HTTP: starting the command line fifty times a second would take a quarter of a core from what is measured."""
    request = urllib.request.Request(f"http://{http}/capsweep.v1.SweepService/ListSweeps", b"{}",
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return int(json.load(reply)["sweeps"][0].get("done", 0))


def cpu_seconds(pid):
    """Of a process and its children that are alive."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except FileNotFoundError:
        return 0.0


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def capsweep(args, trainer=None):
    """Rate from the submission to the last result on disk; workers are connected before. Also the CPU time of a point."""
    binary = os.path.join(args.bin, "capsweep")
    if not os.path.exists(binary):
        raise NotHere(f"no {binary}; ./dev build --preset release")
    if trainer and not os.path.exists(trainer):
        raise NotHere(f"no {trainer}; configure with -DCAPSWEEP_BENCH=ON")
    folder = tempfile.mkdtemp(prefix="capsweep-dispatch-")
    running = []

    def cli(*words):
        return subprocess.run([binary, *words, "--coordinator", address], check=True, capture_output=True, text=True).stdout

    try:
        http = f"127.0.0.1:{free_port()}"
        coordinator = subprocess.Popen(
            [binary + "-coordinator", "--db", f"{folder}/a.db", "--listen", "127.0.0.1:0", "--http", http],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        running.append(coordinator)
        address = coordinator.stdout.readline().split()[-1]
        for name in ("one", "two"):
            running.append(subprocess.Popen(
                [binary + "-worker", "--coordinator", address, "--devices", "cpu:1", "--id", name, "--spool",
                 f"{folder}/{name}", *(["--trainer", trainer] if trainer else [])], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_for(lambda: len([w for w in json.loads(cli("workers", "--format", "json")) if w["state"] == "idle"]) == 2)
        with open(f"{folder}/noop.yaml", "w") as file:
            file.write(SWEEP.format(points=args.points))
        agents = [process.pid for process in running[1:]]
        parts = {"coordinator": [coordinator.pid], "agents": agents,
                 "trainers": [child for agent in agents for child in children(agent)]}

        def used():
            return {part: sum(map(cpu_seconds, pids)) for part, pids in parts.items()}

        before, start = used(), time.monotonic()
        cli("submit", f"{folder}/noop.yaml")
        wait_for(lambda: done_points(http) == args.points, 600)
        seconds, after = time.monotonic() - start, used()
        return args.points / seconds, {part: 1e6 * (after[part] - before[part]) / args.points for part in parts}
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def noop(args):
    return capsweep(args, os.path.join(args.bin, "noop_trainer"))


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
    """A program per task: the Python API has no smaller task that crosses to a worker."""
    try:
        from hyperqueue import Job, LocalCluster
        from hyperqueue.cluster import WorkerConfig
    except ImportError:
        raise NotHere("pip install hyperqueue")
    with LocalCluster() as cluster:
        for _ in range(2):
            cluster.start_worker(WorkerConfig(cores=1))
        client = cluster.client()
        job = Job()
        for _ in range(args.tasks):
            job.program(["true"], stdout=None, stderr=None)
        start = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            client.wait_for_jobs([client.submit(job)])
        return args.tasks / (time.monotonic() - start)


def slurm(args):
    if slurm_peer.why_not():
        raise NotHere(slurm_peer.why_not())
    tasks = min(args.tasks, 200)
    with slurm_peer.Slurm() as cluster:
        return tasks / cluster.run_array(tasks)


RUNNERS = {
    "noop": (noop, "capsweep, trainers that train nothing; every result on disk"),
    "capsweep": (capsweep, "capsweep, trainers that train a model for a step; every result on disk"),
    "ray": (ray_actors, "actors; results in memory"),
    "xargs": (xargs, "a process per task; keeps nothing"),
    "dask": (dask, "results in memory"),
    "hyperqueue": (hyperqueue, "a process per task; two workers in one process, no journal"),
    "celery": (celery_redis, "late acknowledgement; Redis does not persist"),
    "parallel": (parallel, "a process per task; keeps nothing"),
    "optuna": (optuna_sqlite, "SQLite; two threads"),
    "slurm": (slurm, "an array job on one node of two cores, scheduler tuned; state on disk"),
}


def provenance():
    here = os.path.dirname(os.path.abspath(__file__))
    commit = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
                            capture_output=True, text=True).stdout.strip()
    with open("/proc/cpuinfo") as file:
        cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    return {"bench": "peers", "commit": commit or "unknown", "cpu": cpu, "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
            "system": platform.platform(), "time": int(time.time())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--points", type=int, default=20000)
    parser.add_argument("--only", default=",".join(RUNNERS))
    parser.add_argument("--json", help="append the figures to this file, one line")
    args = parser.parse_args()
    print(f"{'no-op tasks':<14}{'per second':>12}{'noop is':>12}{'capsweep is':>14}")
    ours, rows = {}, []
    for name in args.only.split(","):
        run, note = RUNNERS[name]
        try:
            rate = run(args)
        except NotHere as reason:
            print(f"{name:<14}{'-':>12}{'':>26}  not measured: {reason}")
            continue
        row = {"name": name, "note": note}
        if isinstance(rate, tuple):
            rate, row["cpu_us"] = rate
            ours[name] = rate
            note += "; CPU us per point: " + ", ".join(f"{part} {cpu:.0f}" for part, cpu in row["cpu_us"].items())
        ratios = [f"{ours[each] / rate:.1f} x" if each in ours and name not in ours else "" for each in ("noop", "capsweep")]
        rows.append({**row, "per_second": rate})
        print(f"{name:<14}{rate:>12.0f}{ratios[0]:>12}{ratios[1]:>14}  {note}", flush=True)
    if args.json:
        with open(args.json, "a") as file:
            file.write(json.dumps({**provenance(), "rows": rows}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
