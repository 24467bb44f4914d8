"""calls.py - the system calls of a trace that strace -f -o wrote."""

import re


class Call:
    """One system call: from line `begin` to line `end` of the trace."""

    def __init__(self, name, args, begin):
        self.name, self.args, self.begin, self.end, self.result = name, args, begin, None, None

    def finish(self, rest, end):
        self.args += rest
        m = re.search(r"\)\s+= (-?\d+)", self.args)
        self.result = int(m.group(1)) if m else None
        self.end = end

    def __repr__(self):
        return f"{self.begin}..{self.end} {self.name}({self.args}"


def read_trace(file):
    calls, open_calls = [], {}
    with open(file, encoding="utf-8", errors="replace") as f:
        for number, line in enumerate(f):
            m = re.match(r"(\d+) +(.*)", line)
            if not m:
                continue
            pid, text = m.groups()
            resumed = re.match(r"<\.\.\. (\w+) resumed>(.*)", text)
            if resumed:
                call = open_calls.pop(pid, None)
                if call:
                    call.finish(resumed.group(2), number)
                continue
            m = re.match(r"(\w+)\((.*)", text)
            if not m:
                continue
            call = Call(m.group(1), m.group(2), number)
            calls.append(call)
            if text.endswith("<unfinished ...>"):
                call.args = call.args.replace("<unfinished ...>", "")
                open_calls[pid] = call
            else:
                call.finish("", number)
    return calls


def of(calls, names, pattern):
    return [c for c in calls if c.name in names and re.search(pattern, c.args) and c.end is not None]
