#!/usr/bin/env python3
"""start - the daemon's start on a spool of a million queue files.

    start.py [-n ITEMS] [-d DOMAINS] [-u DUE] [-q] [--scratch DIR | --spool DIR]

make_spool writes ITEMS (1,000,000) deferred items for DOMAINS (10,000)
domains, due in an hour to five days, some of them held, and DUE (200) that
have been due for a while. Then the real postriderd is started on it (and before,
on an empty spool, for comparison), and each figure is printed beside its target:

    connections accepted        the 220 is read 0.5 s after exec or sooner
    scan                        150,000 files/s or more (its names are in the cache)
    mail that is due            the first is delivered before the scan ends
    a parked item               200 bytes of resident memory or less, all told
    queue --domain D            answered in under 100 ms, all through the scan
    queue --json                of everything: how long the loop was busy with
                                it at most, and the memory it took
    retry state                 due, attempts, holds of every item are, as listed and
                                on disk after the stop, what they were

On a busy machine look at the times less "waiting": those are what the daemon's loop did not wait
for a processor. -q leaves out `queue --json` of everything (the state on disk is still compared).
--spool keeps the spool for the next time and takes the one that is there.
Programs: as for tests/e2e (POSTRIDERD, POSTRIDER_CLI); MAKE_SPOOL names make_spool. A benchmark:
it judges nothing but the retry state; never run by make check.
"""

import argparse
import calendar
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import *  # noqa: E402
import harness  # noqa: E402

MAKE_SPOOL = os.environ.get("MAKE_SPOOL") or harness.TOP_BUILDDIR + "/tests/bench/make_spool"
NAME = re.compile(r"(\d+)\.(\d+)\.([qh])\.([0-9a-z]{20}-\d+)\.(.+)")


def report(what, figure, target=""):
    print(f"{what:<36} {figure:<44} {target}", flush=True)


def rss(pid, what="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(what + r":\s+(\d+) kB", f.read()).group(1)) * 1024


def waited(pid):
    """Seconds of CPU of the daemon's loop thread, and those it waited for a processor."""
    with open(f"/proc/{pid}/task/{pid}/schedstat", encoding="ascii") as f:
        cpu, wait, _ = f.read().split()
    return int(cpu) / 1e9, int(wait) / 1e9


def names(spool):
    """Queue id -> (due, attempts, state, domain), of every file; this also warms the cache."""
    out = {}
    for d in sorted(os.listdir(spool + "/queue")):
        for name in os.listdir(f"{spool}/queue/{d}"):
            due, attempts, state, id_, domain = NAME.fullmatch(name).groups()
            out[id_] = (int(due), int(attempts), state, domain)
    return out


def stamp(line):
    """Seconds since 1970 of a line of the log."""
    when, ms = re.match(r"(\S+?)\.(\d+)Z", line).groups()
    return calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%S")) + int(ms) / 1000


def logged(d, text):
    return next((stamp(line) for line in d.log_text().splitlines() if text in line), None)


def wait_scan(d):
    wait_for(lambda: logged(d, "items found"), "the scan to end", 600, 0.05)


def first_greeting(port, started, out):
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
                if s.recv(4) == b"220 ":
                    out.append(time.time() - started)
                    return
        except OSError:
            time.sleep(0.002)


class Poll(threading.Thread):
    """Asks the daemon the same thing over and over; how long each answer took."""

    def __init__(self, d, *words, pause=0.01):
        super().__init__(daemon=True)
        self.socket, self.words, self.pause = d.config["control"]["socket"], words, pause
        self.took, self.last, self.ended = [], b"", False
        self.start()

    def ask(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(self.socket)
            s.sendall(json.dumps(self.words).encode() + b"\n")
            answer = b""
            while piece := s.recv(1 << 20):
                answer += piece
        return answer

    def run(self):
        while not self.ended:
            begun = time.monotonic()
            try:
                self.last = self.ask()
            except OSError:
                time.sleep(0.002)
                continue
            self.took.append((time.monotonic() - begun) * 1000)
            time.sleep(self.pause)

    def end(self):
        self.ended = True
        self.join()
        return self.figure()

    def figure(self):
        took = sorted(self.took) or [0]
        return f"{took[len(took) // 2]:.1f} ms median, {took[-1]:.1f} ms worst of {len(took)}"


def make_daemon(w, spool, peer, name):
    return w.daemon(
        False,
        name=name,
        spool=spool,
        routes=[{"domain": "*", "mx": [peer.address]}],
        outbound={"temp_fail_intervals": "10d*20", "lifetime": "30d", "received_header": "bench"},
        log={"level": "notice", "timestamps": True},
    )


def empty_rss(w, peer):
    d = make_daemon(w, w.path("empty"), peer, "empty").start()
    wait_scan(d)
    time.sleep(1)
    bytes_ = rss(d.pid())
    d.stop()
    return bytes_


def start(d, count, domain):
    """From exec to the end of the scan."""
    greeting = []
    started = time.time()
    d.launch()
    first_greeting(d.port, started, greeting)
    at_greeting = waited(d.pid())
    listings, status = Poll(d, "queue", "--domain", domain), Poll(d, "status")
    wait_scan(d)
    cpu, wait = waited(d.pid())
    begun, ended = logged(d, "ready, me="), logged(d, "items found")
    listed, turn = listings.end(), status.end()
    report("connections accepted", f"{greeting[0]:.3f} s after exec", "target 0.5 s")
    report("    waiting for a processor", f"{at_greeting[1]:.3f} s")
    rate = count / (ended - begun)
    report("scan", f"{ended - begun:.2f} s, {rate:,.0f} files/s", "target 150,000 files/s")
    report("    waiting for a processor", f"{wait - at_greeting[1]:.2f} s")
    report("    CPU of the loop", f"{cpu - at_greeting[0]:.2f} s, with what else it did")
    report("queue --domain during the scan", listed, "target 100 ms")
    report("status during the scan", turn)
    return ended


def report_due(d, due, scan_ended):
    d.wait_event(seconds=60, count=due, event="delivered")
    at = sorted(stamp(e["time"]) - scan_ended for e in d.events(event="delivered"))
    report("mail that is due: first delivered", f"{at[0]:+.2f} s from the scan's end", "target: before")
    report("    the last of them", f"{at[-1]:+.2f} s")


def list_all(d, expected):
    """`queue --json` of everything, with the loop watched meanwhile."""
    before, base = rss(d.pid()), time.monotonic()
    status = Poll(d, "status")
    found, wrong = 0, 0
    args = [harness.POSTRIDER, "-c", d.file, "queue", "--json"]
    with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as p:
        for line in p.stdout:
            item = json.loads(line)
            due, attempts, state, domain = expected.get(item["queue_id"], (0, 0, "", ""))
            same = (
                abs(stamp(item["next_attempt"]) * 1000 - due) < 1
                and item["attempts"] == attempts
                and (item["state"] == "held") == (state == "h")
                and item["domain"] == domain
                and all(r["attempts"] == attempts for r in item["recipients"])
            )
            found += 1
            wrong += not same
    took = time.monotonic() - base
    report("queue --json of all", f"{took:.1f} s, {found / took:,.0f} items/s")
    report("    status meanwhile", status.end())
    peak = rss(d.pid(), "VmHWM")
    report("    memory of the daemon", f"{(peak - before) / 1e6:+.1f} MB at the peak since start")
    report("retry state as listed", f"{found} items, {wrong} not as before", "target 0")
    return found == len(expected) and wrong == 0


def options():
    p = argparse.ArgumentParser(description="The daemon's start on a large spool.")
    p.add_argument("-n", "--items", type=int, default=1000000)
    p.add_argument("-d", "--domains", type=int, default=10000)
    p.add_argument("-u", "--due", type=int, default=200)
    p.add_argument("-q", "--quick", action="store_true")
    p.add_argument("--scratch", default=None, help="where the spool is made")
    p.add_argument("--spool", default=None, help="made there if there is none, and kept")
    return p.parse_args()


def make_spool(spool, o):
    begun = time.monotonic()
    args = [MAKE_SPOOL, "-n", str(o.items), "-d", str(o.domains), "-h", "1000", spool]
    if not os.path.exists(spool):
        subprocess.run(args, check=True)
    due = ["-n", str(o.due), "-d", "20", "-s", "2", "-f", "-600", "-t", "-60", "-a", "1"]
    if o.due:
        subprocess.run([MAKE_SPOOL, *due, spool], check=True)
    os.sync()  # what is measured later is not the writing of this
    report("spool made and synced", f"{time.monotonic() - begun:.1f} s, {o.items} files")


def main():
    o = options()
    scratch = tempfile.mkdtemp(prefix="pr-bench-", dir=o.scratch)
    spool = o.spool or scratch + "/spool"
    good = True
    try:
        make_spool(spool, o)
        with World() as w:
            peer = w.peer()
            empty = empty_rss(w, peer)
            before = names(spool)
            due_id = {k for k, v in before.items() if v[1] == 1}
            d = make_daemon(w, spool, peer, "full")
            ended = start(d, len(before), f"d{o.domains}.test")
            if o.due:
                report_due(d, o.due, ended)
            time.sleep(2)
            expected = {k: v for k, v in before.items() if k not in due_id}
            each = (rss(d.pid()) - empty) / len(expected)
            report("a parked item", f"{each:.1f} bytes resident", "target 200")
            if not o.quick:
                good = list_all(d, expected)
            d.stop(120)
            same = names(spool) == expected
            report("retry state on disk", "as before" if same else "NOT AS BEFORE")
            good = good and same
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0 if good else 1


sys.exit(main())
