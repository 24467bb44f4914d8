"""What the lint tests share: walking the tree, reading C without its comments
and strings, and reporting as TAP.

A lint test is `NAME.py [TREE]`; without TREE it reads $top_srcdir, or the tree
it stands in. It prints one TAP line per file, a `# FILE:LINE: message` for
each finding, and exits 1 when there was one.
"""

import os
import re
import sys


def tree():
    if len(sys.argv) > 1:
        return sys.argv[1]
    here = os.path.dirname(os.path.abspath(__file__))
    return os.environ.get("top_srcdir") or os.path.dirname(os.path.dirname(here))


def c_files(top, folders, suffixes=(".c", ".h")):
    """Paths below the folders, relative to top, sorted."""
    found = []
    for folder in folders:
        for where, names, files in os.walk(os.path.join(top, folder)):
            names[:] = [n for n in names if not n.startswith(".")]
            found += [
                os.path.relpath(os.path.join(where, f), top)
                for f in files
                if f.endswith(suffixes) and not f.startswith(".")
            ]
    return sorted(found)


def read(top, path):
    with open(os.path.join(top, path), encoding="utf-8", errors="replace") as f:
        return f.read()


_TOKEN = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""",
    re.VERBOSE | re.DOTALL,
)


def code_of(text):
    """The text with comments and the insides of literals blanked; lines stay where they are."""

    def blank(m):
        s = m.group(0)
        if s[0] in "\"'":
            return s[0] + " " * (len(s) - 2) + s[0]
        return re.sub(r"[^\n]", " ", s)

    return _TOKEN.sub(blank, text)


def comments_of(text):
    """(line number, comment) of each comment."""
    for m in _TOKEN.finditer(text):
        if m.group(0)[0] == "/":
            yield text.count("\n", 0, m.start()) + 1, m.group(0)


def includes_of(text):
    """(line number, delimiter, name) of each #include."""
    for n, line in enumerate(text.split("\n"), 1):
        m = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if m:
            yield n, m.group(1), m.group(2)


class Report:
    def __init__(self):
        self.ran = 0
        self.failed = 0

    def file(self, path, findings):
        """One TAP line; findings are (line number, message)."""
        self.ran += 1
        print(f"{'not ok' if findings else 'ok'} {self.ran} - {path}")
        for line, message in sorted(findings):
            print(f"# {path}:{line}: {message}")
        if findings:
            self.failed += 1

    def finish(self):
        if self.ran == 0:
            self.file("the tree has files to read", [(0, "nothing was found")])
        print(f"1..{self.ran}")
        sys.exit(1 if self.failed else 0)
