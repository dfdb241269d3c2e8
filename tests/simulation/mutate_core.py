#!/usr/bin/env python3
"""Breaks the coordinator's core in many small ways and asks whether the simulation notices.

    ./dev mutants [COUNT]      builds what is needed, then runs this with a sample of COUNT (default 60) mutants

Every mutant changes one line of coordinator/core/*.cc: a condition is turned round or made always true or false, a comparison
shifted by one, a call left out. Each is compiled beside the tree and run over the simulation's seeds until one breaks a
promise, or the mutant crashes, hangs or breaks an invariant. Survivors are printed: either the line does not matter to the
promises (texts, rates, order of work), or the simulation should learn to see it.
"""
import argparse
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile

FILES = ["core.cc", "sync.cc", "reports.cc", "workers.cc", "points.cc", "sweeps.cc", "schedule.cc", "stragglers.cc"]
CORE = "coordinator/core"


def mutations(line):
    """(what, new line) for every way to break this line."""
    out = []
    condition = re.match(r"^(\s*(?:\} else )?(?:if|while) \()(.*)(\) \{)$", line)
    if condition and "(const auto" not in line and "; " not in condition.group(2):
        head, body, tail = condition.groups()
        out.append(("negated", f"{head}!({body}){tail}"))
        if "while" not in head:
            out.append(("always", f"{head}true || ({body}){tail}"))
        out.append(("never", f"{head}false && ({body}){tail}"))
    for old, new in ((" < ", " <= "), (" > ", " >= "), (" <= ", " < "), (" >= ", " > "), (" && ", " || "), (" || ", " && ")):
        if old in line and "template" not in line and "operator" not in line and "for (" not in line and "||  " not in line:
            out.append((f"'{old.strip()}' to '{new.strip()}'", line.replace(old, new, 1)))
    if re.match(r"^\s+[A-Za-z_.>()-]+(?:\(|\.|->).*\);$", line) and not re.match(r"^\s+(return|throw|const|auto)\b", line):
        out.append(("left out", re.sub(r"\S.*", ";", line, count=1)))
    if re.match(r"^\s+[A-Za-z_.>\[\]()-]+ (?:\+|-)?= [^=].*;$", line) and not re.match(r"^\s+(const|auto|static)\b", line):
        out.append(("left out", re.sub(r"\S.*", ";", line, count=1)))
    return out


def all_mutants():
    found = []
    for name in FILES:
        with open(f"{CORE}/{name}") as file:
            lines = file.read().split("\n")
        for number, line in enumerate(lines):
            # Texts for people and the rate meter promise nothing.
            if "StrCat" in line or "Note(" in line or "rate" in line.lower() or line.lstrip().startswith("//"):
                continue
            for what, new in mutations(line):
                found.append((name, number, what, line, new))
    return found


def link_command(build):
    commands = subprocess.run(["ninja", "-C", build, "-t", "commands", "simulate"], check=True, capture_output=True, text=True)
    last = commands.stdout.strip().split("\n")[-1]
    return last.split("&&")[1].strip() if "&&" in last else last


def run(mutant, build, link, seeds, folder):
    name, number, what, old, new = mutant
    copy = f"{folder}/{CORE}"
    os.makedirs(copy, exist_ok=True)
    unity = []
    for file in sorted(os.listdir(CORE)):
        with open(f"{CORE}/{file}") as source:
            text = source.read()
        if file == name:
            lines = text.split("\n")
            lines[number] = new
            text = "\n".join(lines)
        with open(f"{copy}/{file}", "w") as out:
            out.write(text)
        if file.endswith(".cc"):
            unity.append(f'#include "{copy}/{file}"')
    with open(f"{folder}/core.cc", "w") as out:
        out.write("\n".join(unity) + "\n")
    compiled = subprocess.run(["c++", "-std=c++20", "-O1", "-w", "-ffp-contract=off", f"-I{folder}", "-I.", "-c",
                               f"{folder}/core.cc", "-o", f"{folder}/core.o"], capture_output=True, text=True)
    if compiled.returncode != 0:
        return "does not compile"
    words = [f"{folder}/core.o" if w == "libcapsweep_core.a" else w for w in shlex.split(link)]
    words[words.index("-o") + 1] = f"{folder}/simulate"
    subprocess.run(words, check=True, cwd=build, capture_output=True)
    try:
        out = subprocess.run([f"{folder}/simulate", "--seeds", str(seeds)], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "hangs"
    if out.returncode == 0:
        return None
    said = (out.stderr.strip().split("\n") + out.stdout.strip().split("\n"))
    return next((line for line in said if line), f"exit {out.returncode}")[:110]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    args = parser.parse_args()
    link = link_command(args.build)
    everything = all_mutants()
    sample = random.Random(args.seed).sample(everything, min(args.count, len(everything)))
    caught, survivors, broken = 0, [], 0
    with tempfile.TemporaryDirectory() as folder:
        for mutant in sample:
            outcome = run(mutant, args.build, link, args.seeds, folder)
            where = f"{mutant[0]}:{mutant[1] + 1}"
            if outcome == "does not compile":
                broken += 1
                continue
            if outcome is None:
                survivors.append(mutant)
            else:
                caught += 1
            print(f"{'SURVIVES' if outcome is None else 'caught  '} {where:<18} {mutant[2]:<14} {mutant[3].strip()[:70]}"
                  f"{'' if outcome is None else '   | ' + outcome}", flush=True)
    print(f"{caught} of {caught + len(survivors)} caught ({broken} did not compile; {len(everything)} in all)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
