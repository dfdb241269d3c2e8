#!/usr/bin/env python3
"""Breaks the coordinator's core in many small ways and asks whether the simulation notices.

    ./dev mutants [COUNT]      builds what is needed, then runs this with a sample of COUNT mutants; without COUNT: all

Every mutant changes one expression or statement of coordinator/core/*.cc: a condition is turned round or made always true or
false, a comparison shifted, a sign, a bound or a constant changed, a statement left out. All of them are compiled into one
binary behind a switch, so that trying one costs no more than running the simulation's seeds until one breaks a promise, or
the core crashes, hangs or breaks an invariant. Texts for people (the arguments of StrCat) are left alone.
Survivors are printed: either nobody can tell the difference, or the simulation should learn to see it.
"""
import argparse
import concurrent.futures
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile

FILES = ["core.cc", "sync.cc", "reports.cc", "workers.cc", "points.cc", "sweeps.cc", "schedule.cc", "stragglers.cc"]
CORE = "coordinator/core"
SWITCH = "CAPSWEEP_CORE_MUTANT"

# (pattern, replacement) tried at every place where the pattern occurs.
SWAPS = [(r" < ", " <= "), (r" > ", " >= "), (r" <= ", " < "), (r" >= ", " > "), (r" == ", " != "), (r" != ", " == "),
         (r" && ", " || "), (r" \|\| ", " && "), (r" \+ ", " - "), (r" - ", " + "), (r" \* ", " / "), (r" / ", " * "),
         (r" \+= ", " -= "), (r" -= ", " += "), (r"\+\+", "--"), (r"--", "++"), (r"std::min\b", "std::max"),
         (r"std::max\b", "std::min"), (r"\btrue\b", "false"), (r"\bfalse\b", "true"), (r"(?<![\w.])0(?![\w.])", "1"),
         (r"(?<![\w.])1(?![\w.])", "2"), (r"(?<![\w.])([2-9]|\d\d+)(?![\w.])", r"(2 * \1)"),
         (r"(?<![\w.])(\d+\.\d+)(?![\w.])", r"(2 * \1)"), (r"any_of\b", "all_of"), (r"none_of\b", "all_of")]


def masked(text):
    """The text with strings, comments and the arguments of StrCat blanked out, so that nothing is changed there."""
    text = re.sub(r'"(?:\\.|[^"\\])*"', lambda m: " " * len(m.group()), text)
    text = re.sub(r"/\*.*?\*/|//.*", lambda m: " " * len(m.group()), text)
    out, depth, i = list(text), 0, 0
    while i < len(text):
        if depth == 0 and text.startswith("StrCat(", i):
            i += len("StrCat(")
            depth = 1
            continue
        if depth > 0:
            depth += (text[i] == "(") - (text[i] == ")")
            if depth > 0:
                out[i] = " "
        i += 1
    return "".join(out)


def swaps(expression):
    """(what, new expression) for every change of a part."""
    shown = masked(expression)
    out = []
    for pattern, new in SWAPS:
        for match in re.finditer(pattern, shown):
            old = match.group()
            changed = re.sub(pattern, new, old, count=1) if "(" in pattern and "\\1" in new else new
            if shown[max(0, match.start() - 9):match.start()].endswith("operator"):
                continue
            out.append((f"'{old.strip()}' to '{changed.strip()}'",
                        expression[:match.start()] + changed + expression[match.end():]))
    return out


def statements(lines):
    """(first line, last line, text) of what ends in ; or {, its lines joined."""
    start, text = None, ""
    for number, line in enumerate(lines):
        code = re.sub(r"\s*//.*$", "", line) if '"' not in line else line
        if start is None:
            if not code.startswith("  "):
                continue
            start, text = number, ""
        text += (" " if text else "") + code.strip()
        shown = masked(text)
        if text.endswith(("{", "}", ":")) or (text.endswith(";") and shown.count("(") == shown.count(")")):
            yield start, number, text
            start = None


def is_action(text):
    """Whether this is a statement that declares nothing: an assignment, a call, a step, a jump."""
    if not text.endswith(";") or ".reserve(" in text or re.match(r"^(?:return .*|throw .*|else.*|case .*|default.*|using .*)$", text):
        return False
    if re.match(r"^(?:return|continue|break|\+\+.*|--.*);$", text):
        return True
    left = re.split(r" (?:[+-]?=) |\(|\{", re.sub(r"\[[^\]]*\]", "", text), maxsplit=1)[0]
    return left != text and " " not in left


FIRST_LINE = 1_000_000  # of the mutants, each on a line of its own, so that the compiler's errors name them


class Schema:
    """The core's source with every mutant behind its number."""

    def __init__(self, forbidden):
        self.mutants = []  # (file, line, what, old)
        self.forbidden = forbidden  # numbers of those that do not compile
        self.sources = {name: self.rewrite(name) for name in FILES}

    def behind_switch(self, name, line, old, choices, form):
        out = ""
        for what, new in choices:
            self.mutants.append((name, line, what, old))
            number = len(self.mutants)
            if number not in self.forbidden:
                out += f"\n#line {FIRST_LINE + number}\n" + form.format(number=number, new=new)
        return out + f"\n#line {line + 1}\n" if out else ""

    def chain(self, name, line, old, choices, last):
        out = self.behind_switch(name, line, old, choices, "MutantIs({number}) ? ({new}) : ")
        return f"({out}({last}))" if out else last

    def rewrite(self, name):
        with open(f"{CORE}/{name}") as file:
            lines = file.read().split("\n")
        for first, last, text in statements(lines):
            new = self.statement(name, first, text)
            if new is not None:
                lines[first:last + 1] = [new + f"\n#line {last + 2}"] + [None] * (last - first)
        return '#include "mutant.h"\n#line 1\n' + "\n".join(line for line in lines if line is not None)

    def statement(self, name, line, text):
        if match := re.match(r"^((?:\} else )?(?:if|while) \()(.*)(\) \{)$", text):
            return self.condition(name, line, text, *match.groups())
        if match := re.match(r"^(for \(.*;)([^;]+)(;[^;]*\) \{)$", text):
            head, body, tail = match.groups()
            return head + self.chain(name, line, text, swaps(body), body) + tail
        if match := re.match(r"^(return )([^{].*)(;)$", text):
            head, body, tail = match.groups()
            return head + self.chain(name, line, text, swaps(body), body) + tail
        if match := re.match(r"^((?:const |static )*(?:auto|bool|double|float|u?int\w*|size_t|Duration|Instant) \w+ = )([^\[{].*)(;)$", text):
            head, body, tail = match.groups()
            return head + self.chain(name, line, text, swaps(body), body) + tail
        if is_action(text):
            return self.action(name, line, text)
        return None

    def condition(self, name, line, text, head, body, tail):
        setup = ""
        shown = masked(body)
        if "; " in shown:
            at = shown.rindex("; ") + 2
            setup, body = body[:at], body[at:]
        elif match := re.match(r"^(?:const )?auto\*? (\w+) = ", body):
            setup, body = body + "; ", f"static_cast<bool>({match.group(1)})"
        elif re.match(r"^(?:const )?\w+[*&]+ (\w+) = ", body):
            return None
        choices = [("negated", f"!({body})"), ("never", f"false && ({body})")]
        if "while" not in head:
            choices.append(("always", f"true || ({body})"))
        return head + setup + self.chain(name, line, text, choices + swaps(body), body) + tail

    def action(self, name, line, text):
        choices = [("left out", "")] + swaps(text)
        out = self.behind_switch(name, line, text, choices, "if (MutantIs({number})) {{ {new} }} else ")
        return f"{out}{{ {text} }}" if out else None


def link_command(build):
    commands = subprocess.run(["ninja", "-C", build, "-t", "commands", "simulate"], check=True, capture_output=True, text=True)
    last = commands.stdout.strip().split("\n")[-1]
    return last.split("&&")[1].strip() if "&&" in last else last


def compile_all(build, folder):
    """The mutants of a binary that holds them all; what does not compile behind a switch is left out."""
    copy = f"{folder}/{CORE}"
    os.makedirs(copy, exist_ok=True)
    with open(f"{copy}/mutant.h", "w") as out:
        out.write(f'#pragma once\n#include <cstdlib>\ninline int TheMutant() {{\n  const char* text = std::getenv("{SWITCH}");\n'
                  "  return text == nullptr ? 0 : std::atoi(text);\n}\ninline const int the_mutant = TheMutant();\n"
                  "inline bool MutantIs(int number) { return the_mutant == number; }\n")
    forbidden = set()
    while True:
        schema = Schema(forbidden)
        unity = []
        for file in sorted(os.listdir(CORE)):
            with open(f"{CORE}/{file}") as source:
                text = schema.sources.get(file) or source.read()
            with open(f"{copy}/{file}", "w") as out:
                out.write(text)
            if file.endswith(".cc"):
                unity.append(f'#include "{copy}/{file}"')
        with open(f"{folder}/core.cc", "w") as out:
            out.write("\n".join(unity) + "\n")
        compiled = subprocess.run(["c++", "-std=c++20", "-O1", "-w", "-fmax-errors=0", "-ffp-contract=off", f"-I{folder}", "-I.",
                                   "-c", f"{folder}/core.cc", "-o", f"{folder}/core.o"], capture_output=True, text=True)
        if compiled.returncode == 0:
            break
        wrong = {int(number) - FIRST_LINE for number in re.findall(rf":({FIRST_LINE // 10**6}\d{{6}}):\d+: error", compiled.stderr)}
        if not wrong - forbidden:
            sys.exit(compiled.stderr[:4000])
        forbidden |= wrong
    words = [f"{folder}/core.o" if w == "libcapsweep_core.a" else w for w in shlex.split(link_command(build))]
    words[words.index("-o") + 1] = f"{folder}/simulate"
    subprocess.run(words, check=True, cwd=build)
    return schema.mutants, forbidden


def run(number, folder, seeds):
    """None: it survives. Else what the simulation said."""
    environment = dict(os.environ, **{SWITCH: str(number)})
    try:
        out = subprocess.run([f"{folder}/simulate", "--seeds", str(seeds), "--until-broken"], capture_output=True, text=True,
                             timeout=120, env=environment)
    except subprocess.TimeoutExpired:
        return "hangs"
    if out.returncode == 0:
        return None
    said = out.stderr.strip().split("\n") + out.stdout.strip().split("\n")
    return next((line for line in said if line), f"exit {out.returncode}")[:150]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--count", type=int, default=0, help="a sample of so many; 0 = all")
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--only", default="", help="a file of the core, or FILE:LINE")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mutants, skipped = compile_all(args.build, folder)
        print(f"{len(mutants) - len(skipped)} mutants; {len(skipped)} more do not compile", flush=True)
        chosen = [n for n in range(1, len(mutants) + 1) if n not in skipped and
                  f"{mutants[n - 1][0]}:{mutants[n - 1][1] + 1}".startswith(args.only)]
        if 0 < args.count < len(chosen):
            chosen = sorted(random.Random(args.seed).sample(chosen, args.count))
        caught = 0
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            for number, outcome in zip(chosen, pool.map(lambda n: run(n, folder, args.seeds), chosen)):
                name, line, what, old = mutants[number - 1]
                caught += outcome is not None
                print(f"{'SURVIVES' if outcome is None else 'caught  '} {f'{name}:{line + 1}':<18} {what:<16} {old[:90]}"
                      f"{'' if outcome is None else '   | ' + outcome}", flush=True)
    print(f"{caught} of {len(chosen)} caught")
    return 0


if __name__ == "__main__":
    sys.exit(main())
