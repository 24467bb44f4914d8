#!/usr/bin/env python3
"""Law 1 seen by strace: everything is on stable storage before the 250 is written.

The trace of one accepted message is read line by line: which files were
created, written, synced, renamed, which folders were synced, and when the
reply went out. No part of the daemon is asked.
"""

import os
import re
import signal

from harness import *

CALLS = "openat,write,writev,pwritev,pwrite64,fdatasync,fsync,rename,renameat,renameat2,unlinkat,sendto,sendmsg,close"


def need_strace():
    need("strace")
    need_root()  # the daemon is not dumpable, so its own user may not look into it


def traced(w, **settings):
    need_strace()
    trace = w.path("trace")
    args = ["strace", "-f", "-y", "-s", "64", "-o", trace, "-e", "trace=" + CALLS]
    status, _, err = run_command(["strace", "-o", "/dev/null", "true"])
    if status != 0:
        raise Skip("strace can't trace here: " + err.strip())
    # LeakSanitizer can't work under ptrace
    env = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    d = w.daemon(wrapper=args, env=env, **settings)
    d.trace = trace
    return d


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


def show(step, call):
    say(f"{step}: trace lines {call.begin + 1}-{call.end + 1}: {call.name}({call.args[:110]}")


def examine(calls, spool, reply, files):
    """files queue files were published before the reply; all of it durable. Returns how many folder syncs."""
    spool = re.escape(spool)
    renames = [c for c in of(calls, ("rename", "renameat", "renameat2"), spool + r"/queue") if c.end < reply.begin]
    equal(len(renames), files, "renames into the queue before the 250")
    folders = set()
    for r in renames:
        show("published", r)
        m = re.match(r'\d+<([^>]*)>, "([^"]+)", \d+<([^>]*)>, "([^"]+)"', r.args)
        check(m, f"arguments of {r}")
        source, target = m.group(1) + "/" + m.group(2), m.group(3)
        equal(r.result, 0, "result of rename")
        created = of(calls, ("openat",), re.escape(m.group(2)) + r'".*O_CREAT')
        check(created and created[0].end < r.begin, f"{source} was created before it was renamed")
        writes = of(calls, ("write", "writev", "pwritev", "pwrite64"), r"^\d+<" + re.escape(source) + ">")
        check(writes, f"writes to {source}")
        syncs = of(calls, ("fdatasync", "fsync"), r"^\d+<" + re.escape(source) + ">")
        check(syncs, f"{source} was synced")
        show("written  ", writes[-1])
        show("synced   ", syncs[0])
        check(all(x.result > 0 for x in writes), "all writes succeeded")
        equal(syncs[0].result, 0, "result of the sync")
        check(max(x.end for x in writes) < syncs[0].begin, "written before it was synced")
        check(syncs[0].end < r.begin, "synced before it was renamed")
        folders.add((target, r.end))
    synced = {}
    for folder, after in folders:
        syncs = [c for c in of(calls, ("fsync",), r"^\d+<" + re.escape(folder) + ">") if c.begin > after]
        check(syncs, f"{folder} was synced after the rename")
        check(syncs[0].end < reply.begin, f"{folder} was synced before the 250 was written")
        equal(syncs[0].result, 0, "result of fsync")
        synced[syncs[0].begin] = syncs[0]
    for sync in synced.values():
        show("folder   ", sync)
    show("answered ", reply)
    return len(synced)


def submit_and_read(w, recipients, size):
    # outbound.disabled: nothing moves the files again while we look
    d = traced(w, outbound={"disabled": True})
    d.submit("joe@sender.test", recipients, message(body=checked_body("k", size)))
    d.stop(60)
    calls = read_trace(d.trace)
    replies = of(calls, ("write", "writev", "sendto", "sendmsg"), r"250 2\.0\.0 queued as")
    equal(len(replies), 1, "250 in the trace")
    return d, calls, replies[0]


@case("one message: written, synced, renamed, folder synced, each complete before the next; then the 250")
def _():
    with World() as w:
        d, calls, reply = submit_and_read(w, ["ann@example.test", "bob@example.test"], 5000)
        examine(calls, d.spool, reply, 1)


@case("one message for five domains: all five files and their folders before the 250")
def _():
    with World() as w:
        d, calls, reply = submit_and_read(w, [f"ann@d{i}.test" for i in range(5)], 5000)
        n = examine(calls, d.spool, reply, 5)
        say(f"{n} folder sync(s) for five files")


@case("a large message (3 MB) the same")
def _():
    with World() as w:
        d, calls, reply = submit_and_read(w, ["ann@example.test"], 3000000)
        examine(calls, d.spool, reply, 1)


def fail_next(w, d, call):
    """Makes every such call of the running daemon fail with EIO, until the returned strace is stopped."""
    log = w.path("inject." + call)
    p = w.spawn(
        ["strace", "-f", "-p", str(d.pid()), "-o", log, "-e", "trace=" + call, "-e", f"inject={call}:error=EIO"],
        stop_signal=signal.SIGINT,
    )
    wait_for(lambda: traced_by(d.pid()), "strace to attach")
    return p, log


@case("a failing fdatasync, rename or fsync: 451 4.3.0, nothing stays behind; when it works again, 250")
def _():
    need_strace()
    for call in ("fdatasync", "renameat2", "fsync"):
        with World() as w:
            d = w.daemon(outbound={"disabled": True})
            p, log = fail_next(w, d, call)
            with d.client() as c:
                c.ehlo()
                c.begin()
                c.send(stuff(message()))
                code, texts = c.reply()
                p.send_signal(signal.SIGINT)
                p.wait(20)
                with open(log, encoding="utf-8") as f:
                    check("INJECTED" in f.read(), f"{call} was called")
                equal(code, 451, f"reply after a failed {call}: {texts}")
                matches(r"^4\.3\.0", texts[0])
                equal(d.queue_files(), [], "queue files")
                equal(os.listdir(d.spool + "/tmp"), [], "files in tmp/")
                c.begin()
                c.send(stuff(message()))
                equal(c.reply()[0], 250, "the next message")
            equal(len(d.queue_files()), 1, "queue files")
            say(f"{call} failed with EIO: 451 4.3.0, no file left, then 250")


def traced_by(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return re.search(r"TracerPid:\t([1-9]\d*)", f.read())


run()
