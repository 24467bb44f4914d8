#!/usr/bin/env python3
"""headers: each header compiles alone, and survives being included twice."""

import os
import shlex
import subprocess

import lint

TOP = lint.tree()

CC = shlex.split(os.environ.get("LINT_CC") or "cc")
FLAGS = "-std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only -x c".split()
PATHS = [f"-I{os.path.join(TOP, p)}" for p in ("src", ".", "tests")]


def name_of(path):
    for folder in ("src/", "tests/"):
        if path.startswith(folder):
            return path[len(folder) :]
    return path


def check_file(path):
    line = f'#include "{name_of(path)}"\n'
    # The declaration: an empty translation unit would be a pedantic error of its own.
    done = subprocess.run(
        CC + FLAGS + PATHS + ["-"],
        input=line + line + "extern int lint_headers;\n",
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return []
    said = [s for s in done.stderr.split("\n") if "error" in s] or done.stderr.split("\n")
    return [(1, s) for s in said[:5]]


report = lint.Report()
for file in lint.c_files(TOP, ["src", "queue", "tests"], (".h",)):
    report.file(file, check_file(file))
report.finish()
