#!/usr/bin/env python3
"""Law 1 seen by strace: everything is on stable storage before the 250 is written.

The trace of one accepted message is read line by line: which files were
created, written, synced, renamed, which folders were synced, and when the
reply went out. No part of the daemon is asked. A message is one record of
the journal, which names a file for the body if that is large.
"""

import os
import re
import signal
import threading

from calls import of, read_trace
from harness import *

CALLS = "openat,write,writev,pwritev,pwrite64,fdatasync,fsync,rename,renameat,renameat2,unlinkat,sendto,sendmsg,close"


def need_strace():
    need("strace")
    need_root()  # the daemon is not dumpable, so its own user may not look into it


def traced(w, more=(), **settings):
    need_strace()
    trace = w.path("trace")
    args = ["strace", "-f", "-y", "-s", "64", "-o", trace, "-e", "trace=" + CALLS, *more]
    status, _, err = run_command(["strace", "-o", "/dev/null", "true"])
    if status != 0:
        raise Skip("strace can't trace here: " + err.strip())
    # LeakSanitizer can't work under ptrace
    env = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    d = w.daemon(wrapper=args, env=env, **settings)
    d.trace = trace
    return d


def show(step, call):
    say(f"{step}: trace lines {call.begin + 1}-{call.end + 1}: {call.name}({call.args[:110]}")


def synced_after(calls, file, call, reply):
    """The first sync of the file behind that call: it must have worked, and be over before the reply."""
    syncs = [c for c in of(calls, ("fdatasync", "fsync"), r"^\d+<" + re.escape(file) + ">") if c.begin > call.end]
    check(syncs and syncs[0].end < reply.begin, f"{file} was synced between {call} and {reply}")
    equal(syncs[0].result, 0, "result of the sync")
    return syncs[0]


def examine_body(calls, spool, record):
    """The body has a file of its own, which was durable, with its name, before the record was begun."""
    spool = re.escape(spool)
    renames = of(calls, ("renameat2",), rf"^\d+<{spool}/tmp>, .*<{spool}/body>")
    equal([r.result for r in renames], [0], "renames into body/")
    renamed = renames[0]
    show("published", renamed)
    m = re.match(r'\d+<([^>]*)>, "([^"]+)", \d+<([^>]*)>', renamed.args)
    file, folder = m.group(1) + "/" + m.group(2), m.group(3)
    writes = of(calls, ("write", "writev", "pwritev", "pwrite64"), r"^\d+<" + re.escape(file) + ">")
    check(writes and all(x.result > 0 for x in writes), f"{file} was written")
    show("written  ", writes[-1])
    show("synced   ", synced_after(calls, file, writes[-1], renamed))
    show("folder   ", synced_after(calls, folder, renamed, record))
    return sum(x.result for x in writes)


def submit_and_read(w, recipients, size):
    # outbound.disabled: nothing moves the files again while we look
    d = traced(w, outbound={"disabled": True})
    d.submit("joe@sender.test", recipients, message(body=checked_body("k", size)))
    d.stop(60)
    calls = read_trace(d.trace)
    replies = of(calls, ("write", "writev", "sendto", "sendmsg"), r"250 2\.0\.0 queued as")
    equal(len(replies), 1, "250 in the trace")
    return d, calls, replies[0]


def examine_record(calls, spool, reply):
    """The message is one record of a segment that was durable before: with its header, and its name."""
    folder = spool + "/journal"
    writes = of(calls, ("write", "writev", "pwritev", "pwrite64"), r"^\d+<" + re.escape(folder) + "/")
    records = [c for c in writes if 'iov_base="PRJ1' in c.args and c.begin < reply.begin]
    equal(len(records), 1, "writes of records")
    record = records[0]
    show("record   ", record)
    segment = re.match(r"\d+<([^>]*)>", record.args).group(1)
    synced = synced_after(calls, segment, record, reply)
    show("synced   ", synced)
    check(not [c for c in writes if synced.begin < c.end and c.begin < reply.begin], "nothing is written behind the sync")
    lengths = [int(n) for n in re.findall(r"iov_len=(\d+)", record.args)]
    equal(record.result, sum(lengths), "bytes written of the record")
    named = of(calls, ("renameat2",), f'{re.escape(folder)}>, "{os.path.basename(segment)}"')
    headers = [c for c in writes if "PRJOURN" in c.args and c.end < record.begin]
    equal((len(named), len(headers)), (1, 2), "a new segment, and copies of its header")
    for header in headers:
        header_synced = synced_after(calls, segment, header, record)
    check(header_synced.begin > headers[1].end > synced_after(calls, segment, headers[0], record).end, "one copy after the other")
    name_synced = synced_after(calls, folder, named[0], record)
    show("header   ", header_synced)
    show("its name ", name_synced)
    show("answered ", reply)
    parked = of(calls, ("renameat2",), re.escape(spool) + "/queue/")
    check(all(c.begin > reply.end for c in parked), "no queue file before the daemon stops")
    return record


@case("one message: its record written, the segment synced; then the 250")
def _():
    with World() as w:
        d, calls, reply = submit_and_read(w, ["ann@example.test", "bob@example.test"], 5000)
        record = examine_record(calls, d.spool, reply)
        check(record.result > 5000, "the body is in the record")


@case("one message for five domains is one record")
def _():
    with World() as w:
        d, calls, reply = submit_and_read(w, [f"ann@d{i}.test" for i in range(5)], 5000)
        examine_record(calls, d.spool, reply)


@case("many senders: messages that come while a sync is running share the next one")
def _():
    with World() as w:
        # a sync takes 30 ms, as on a plain disk, so that the senders and not this machine set the pace
        d = traced(w, ("-e", "inject=fdatasync:delay_enter=30000"), outbound={"disabled": True})
        senders, each = 20, 10 if QUICK else 40
        failed = []

        def send(n):
            try:
                with d.client() as c:
                    c.ehlo()
                    for _ in range(each):
                        c.want(250, "MAIL FROM:<joe@sender.test>")
                        c.want(250, f"RCPT TO:<r{n}@example.test>")
                        c.data(message())
            except (OSError, EOFError, AssertionError) as why:
                failed.append(repr(why))

        threads = [threading.Thread(target=send, args=(n,), daemon=True) for n in range(senders)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60 * SLOW)
        equal(failed, [], "what went wrong while sending")
        d.stop(60)
        calls = read_trace(d.trace)
        replies = of(calls, ("sendto", "sendmsg", "write", "writev"), r'"250 2\.0\.0 queued as')
        equal(len(replies), senders * each, "messages")
        syncs = of(calls, ("fdatasync",), r"^\d+<" + re.escape(d.spool) + "/journal/")
        say(f"{len(replies)} messages of {senders} senders, {len(syncs)} syncs of the journal")
        check(len(syncs) < len(replies) / 5, "one sync serves many")


@case("a large message (3 MB): its body written, synced, renamed, the folder synced, each complete before the next; then its record; then the 250")
def _():
    with World() as w:
        d, calls, reply = submit_and_read(w, [f"ann@d{i}.test" for i in range(5)], 3000000)
        record = examine_record(calls, d.spool, reply)
        check(record.result < 10000, "the body is not in the record")
        check(examine_body(calls, d.spool, record) > 2900000, "the body is in the file")


def fail_next(w, d, call):
    """Makes every such call of the running daemon fail with EIO, until the returned strace is stopped."""
    log = w.path("inject." + call)
    p = w.spawn(
        ["strace", "-f", "-p", str(d.pid()), "-o", log, "-e", "trace=" + call, "-e", f"inject={call}:error=EIO"],
        stop_signal=signal.SIGINT,
    )
    wait_for(lambda: traced_by(d.pid()), "strace to attach")
    return p, log


def refused_and_taken(w, d, call, size):
    """A message while that call fails, and another when it works again; the key of the latter."""
    p, log = fail_next(w, d, call)
    with d.client() as c:
        c.ehlo()
        c.begin()
        c.send(stuff(message(body=checked_body("refused", size))))
        code, texts = c.reply()
        p.send_signal(signal.SIGINT)
        p.wait(20)
        with open(log, encoding="utf-8") as f:
            check("INJECTED" in f.read(), f"{call} was called")
        equal(code, 451, f"reply after a failed {call}: {texts}")
        matches(r"^4\.3\.0", texts[0])
        matches(r"queue: 0 items", d.cli_ok("status"), "status")
        equal(d.queue_files(), [], "queue files")
        equal(d.tmp_files(), [], "files in tmp/")
        if call != "fdatasync":
            equal(os.listdir(d.spool + "/body"), [], "files in body/")
        c.begin()
        c.send(stuff(message(body=checked_body("taken", size))))
        equal(c.reply()[0], 250, "the next message")


def comes_back(w, d):
    """Keys of what is delivered after SIGKILL and a new start."""
    d.kill()
    peer = w.peer()
    d.write_config(outbound={"disabled": False}, routes=[{"domain": "*", "mx": [peer.address]}])
    d.start()
    peer.wait_mail()
    d.wait_empty()
    return [verify_body(m.data) for m in peer.mails]


@case("a failing call on the way: 451 4.3.0, and what was refused never comes back; when it works again, 250")
def _():
    need_strace()
    for size, names in ((3000, ("fdatasync", "pwritev")), (300000, ("fdatasync", "pwritev", "renameat2", "fsync"))):
        for call in names:
            with World() as w:
                d = w.daemon(outbound={"disabled": True})
                refused_and_taken(w, d, call, size)
                equal(comes_back(w, d), [("taken", True)], "delivered after SIGKILL")
                say(f"{size} bytes, {call} failed with EIO: 451 4.3.0, nothing left of it, then 250")


def traced_by(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return re.search(r"TracerPid:\t([1-9]\d*)", f.read())


run()
