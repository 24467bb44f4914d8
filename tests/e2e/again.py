"""The files of end-to-end tests once more, with another number of shards.

A file names others and calls run(); each of their cases is a case of it.
"""

import os
import re
import subprocess
import sys

SHARDS = "3"


def _run_file(name, wanted, first):
    """Passes its output on, with its cases numbered from `first`; how many there were, and its status."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"test_{name}.py")
    env = dict(os.environ, E2E_SHARDS=SHARDS, E2E_TESTS="quick")
    n = 0
    with subprocess.Popen([sys.executable, path, *wanted], env=env, stdout=subprocess.PIPE, text=True) as child:
        try:
            for line in child.stdout:
                found = re.match(r"(ok|not ok) \d+ - (.*)", line)
                if found:
                    print(f"{found[1]} {first + n} - {name}, {SHARDS} shards: {found[2]}", flush=True)
                    n += 1
                elif line.startswith("#"):
                    print(line, end="", flush=True)
        except BaseException:
            child.terminate()
            raise
    return n, child.returncode


def run(*names):
    wanted = sys.argv[1:]
    total, failed = 0, False
    for name in names:
        n, status = _run_file(name, wanted, total + 1)
        total += n
        failed |= status != 0
    print(f"1..{total}", flush=True)
    sys.exit(1 if failed else 0)
