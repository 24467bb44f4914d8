#!/usr/bin/env python3
"""law1 - W1 under strace: each 250 follows the sync of its own message.

    law1.py [-n MESSAGES]

The source submits MESSAGES (400) of 5 KB over 20 sessions to a postriderd
under strace, and the sink takes them. Then, of each message, known by its
recipient: which write of the journal held it, the first sync of that segment
begun after that write had ended, and the reply on the connection where the
recipient had been named. The sync must have worked, and be over when the
reply begins. Programs: as for tests/e2e (POSTRIDERD); RELAYBENCH. Needs root
and strace. Exit status 1 when one 250 came too early.
"""

import json
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from calls import of, read_trace  # noqa: E402
from harness import *  # noqa: E402
import harness  # noqa: E402

RELAYBENCH = os.environ.get("RELAYBENCH") or harness.TOP_BUILDDIR + "/tests/bench/relaybench"
CALLS = "readv,read,recvfrom,write,writev,pwritev,pwrite64,fdatasync,fsync,sendto,sendmsg,close"
SENDS = ("sendto", "sendmsg", "write", "writev")
RECIPIENT = re.compile(r"u(\d+)\.0@d0\.test")


def run_w1(w, messages):
    """The trace of the daemon, and its spool."""
    trace, port = w.path("trace"), free_port()
    sink = w.spawn([RELAYBENCH, "sink", "-p", str(port), "-n", str(messages), "-o", w.path("sink.json")])
    d = w.daemon(
        wrapper=["strace", "-f", "-y", "-s", "6000", "-o", trace, "-e", "trace=" + CALLS],
        routes=[{"domain": "*", "mx": [f"127.0.0.1:{port}"]}],
        submission={"max_connections_per_ip": 100},
    )
    status, out, err = run_command([RELAYBENCH, "source", "-p", str(d.port), "-m", str(messages)])
    equal(status, 0, f"exit of the source: {out} {err}")
    sink.wait(60)
    with open(w.path("sink.json"), encoding="ascii") as f:
        equal(json.load(f)["rcpts_got"], messages, "messages at the sink")
    d.stop(60)
    return trace, d.spool


def recipients(call):
    return {int(n) for n in RECIPIENT.findall(call.args)}


def first_after(calls, line):
    return next((c for c in calls if c.begin > line), None)


def socket_of(call):
    return re.match(r"\d+<[^>]*>", call.args).group(0)


def examine(calls, spool, messages):
    """Of each message the lines (written, synced, answered), or what is wrong with it."""
    journal = r"^\d+<" + re.escape(spool) + "/journal/"
    inputs = of(calls, ("readv", "read", "recvfrom"), r"^\d+<[^>]*(?:socket|TCP)")
    writes = of(calls, ("pwritev", "pwrite64", "writev", "write"), journal)
    syncs = of(calls, ("fdatasync", "fsync"), journal)
    replies = of(calls, SENDS, r'"250 2\.0\.0 queued as')
    named = {n: c for c in inputs if "RCPT TO:" in c.args for n in recipients(c)}
    held = {}
    for c in writes:
        for n in recipients(c):
            held.setdefault(n, c)
    good, bad = [], []
    for n in range(messages):
        rcpt, write = named.get(n), held.get(n)
        reply = rcpt and first_after([r for r in replies if socket_of(r) == socket_of(rcpt)], rcpt.end)
        sync = write and first_after([s for s in syncs if socket_of(s) == socket_of(write)], write.end)
        if not (rcpt and write and reply and sync):
            bad.append(f"message {n}: rcpt {rcpt}, write {write}, sync {sync}, reply {reply}")
        elif not (rcpt.end < write.begin and sync.result == 0 and sync.end < reply.begin):
            bad.append(f"message {n}: its 250 isn't behind its sync: {write}\n  {sync}\n  {reply}")
        else:
            good.append((write, sync, reply))
    return good, bad, len(replies)


def main():
    messages = int(sys.argv[2]) if sys.argv[1:2] == ["-n"] else 400
    with World() as w:
        trace, spool = run_w1(w, messages)
        good, bad, replies = examine(read_trace(trace), spool, messages)
    for line in bad[:10]:
        print(line)
    syncs = {sync.begin for _, sync, _ in good}
    print(f"law 1: {messages} messages, {replies} answers 250, {len(syncs)} syncs of the journal: "
          f"{len(good)} answers follow the sync of their own message, {len(bad)} do not")
    return 0 if not bad and replies == messages else 1


sys.exit(main())
