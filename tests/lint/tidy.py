#!/usr/bin/env python3
"""tidy: banned calls stay out, files and lines stay short, a TODO names its
issue, and no file lies about that the build does not know."""

import re

import lint

TOP = lint.tree()

LINES_MAX = 800
COLUMNS_MAX = 100

BANNED = re.compile(
    r"(?<![\w.>])(strcpy|strcat|v?sprintf|strncpy|strtok|ato[ilf]|atoll|v?[fs]?scanf|alloca|gets"
    r"|localtime|gmtime|ctime|asctime|signal)\s*\("
)

# Time and chance are parameters to everything below the daemon.
CLOCK = re.compile(
    r"(?<![\w.>])(time|clock|clock_gettime|gettimeofday|ftime|random|srandom|s?rand|rand_r|[dlm]rand48"
    r"|getrandom|getentropy|arc4random(?:_buf|_uniform)?)\s*\("
)
CLOCK_HOMES = ("src/base/clock.c", "src/base/prng.c")

MARK = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\s*\(?#\d+)")



def listed_files():
    """What the local.mk fragments name."""
    names = set()
    for path in lint.c_files(TOP, ["src", "queue", "tests"], ("local.mk",)):
        names.update(re.findall(r"[\w./-]+\.[ch]\b", lint.read(TOP, path)))
    return names


def check_file(path):
    text = lint.read(TOP, path)
    lines = text.split("\n")
    findings = []
    if path not in LISTED:
        findings.append((1, "no local.mk names this file"))
    if len(lines) - 1 > LINES_MAX:
        findings.append((len(lines) - 1, f"more than {LINES_MAX} lines: find the seam"))
    for n, line in enumerate(lines, 1):
        width = len(line.expandtabs(8))
        if width > COLUMNS_MAX:
            findings.append((n, f"{width} columns, at most {COLUMNS_MAX}"))
    code = lint.code_of(text)
    for n, line in enumerate(code.split("\n"), 1):
        for m in BANNED.finditer(line):
            findings.append((n, f"{m.group(1)} is banned"))
        if path.startswith(("src/", "queue/")) and path not in CLOCK_HOMES:
            for m in CLOCK.finditer(line):
                findings.append((n, f"{m.group(1)}: time and chance come as parameters"))
    for n, comment in lint.comments_of(text):
        for m in MARK.finditer(comment):
            at = n + comment.count("\n", 0, m.start())
            findings.append((at, f"{m.group(1)} without an issue number"))
    return findings


LISTED = listed_files()
report = lint.Report()
for file in lint.c_files(TOP, ["src", "queue", "tests"]):
    report.file(file, check_file(file))
report.finish()
