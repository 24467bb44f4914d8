#!/usr/bin/env python3
"""storm - 100,000 items fall due in one second for a host that is down.

    storm.py [-n ITEMS] [-r RATE] [--scratch DIR]

make_spool writes ITEMS (100,000) deferred items for d1.test, due within one
second, and others for 50 domains that fall due all the time, RATE (50) a
second. The host of d1.test takes connections and answers 421; the other hosts
work. Meanwhile RATE messages a second are submitted for them. Printed, each
beside its target:

    lateness of other mail      delivered after its due time, or after its 250:
                                p99 under 100 ms
    connections                 to the host that is down: the probes'
    deferred events             one for each item that waits, and when the last
    queue files                 changed: one for each probe

Programs: as for tests/e2e (POSTRIDERD, POSTRIDER_CLI); MAKE_SPOOL names make_spool. A benchmark:
it judges nothing; never run by make check.
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import *  # noqa: E402
import harness  # noqa: E402

MAKE_SPOOL = os.environ.get("MAKE_SPOOL") or harness.TOP_BUILDDIR + "/tests/bench/make_spool"
NAME = re.compile(r"(\d+)\.(\d+)\.([qh])\.([0-9a-z]{20}-\d+)\.(.+)")
STORM_S = 20  # from the writing of the spool on
LASTS_S = 45


def report(what, figure, target=""):
    print(f"{what:<44} {figure:<28} {target}", flush=True)


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def names(spool):
    """Queue id -> (due in seconds, domain), of every file."""
    out = {}
    for d in os.listdir(spool + "/queue"):
        for name in os.listdir(f"{spool}/queue/{d}"):
            due, _, _, id_, domain = NAME.fullmatch(name).groups()
            out[id_] = (int(due) / 1000, domain)
    return out


def submit_steadily(d, rate, until, accepted):
    with d.client() as c:
        c.ehlo()
        start, n = time.time(), 0
        while time.time() < until:
            time.sleep(max(0, start + n / rate - time.time()))
            c.want(250, "MAIL FROM:<joe@sender.test>")
            c.want(250, f"RCPT TO:<new{n}@d{2 + n % 49}.test>")
            accepted[c.data(message())] = time.time()
            n += 1


def quantiles(late):
    late = sorted(x * 1000 for x in late)
    pick = lambda q: late[min(int(q * len(late)), len(late) - 1)]
    return f"p50 {pick(0.5):.1f}  p99 {pick(0.99):.1f}  max {late[-1]:.1f} ms"


def run_storm(w, n, rate):
    dead = w.peer(script={"CONNECT": "421 4.3.2 not now"}, keep=False)
    sink = w.peer(keep=False)
    d = w.daemon(
        start=False,
        routes=[{"domain": "d1.test", "mx": [dead.address]}, {"domain": "*", "mx": [sink.address]}],
        outbound={"temp_fail_intervals": "1h*50"},
        log={"level": "notice", "timestamps": True},
    )
    began = time.time()
    for args in (["-n", n, "-d", 1, "-f", STORM_S, "-t", STORM_S + 1, "-s", 1],
                 ["-n", rate * LASTS_S, "-d", 50, "-f", STORM_S - 5, "-t", STORM_S + LASTS_S - 5, "-s", 2]):
        subprocess.run([MAKE_SPOOL, *map(str, args), d.spool], check=True, stdout=subprocess.DEVNULL)
    due = names(d.spool)
    report("items", f"{len(due):,}, written in {time.time() - began:.1f} s")
    d.start()
    accepted, end = {}, began + STORM_S + LASTS_S
    submitter = threading.Thread(target=submit_steadily, args=(d, rate, end - 5, accepted), daemon=True)
    submitter.start()
    time.sleep(max(0, end - time.time()))
    submitter.join()
    judge(d, due, accepted, dead)


def judge(d, due, accepted, dead):
    events = d.events()
    storm = {q for q, (_, domain) in due.items() if domain == "d1.test"}
    first = min(due[q][0] for q in storm)
    parked = [seconds(e["time"]) - due[e["queue_id"]][0] for e in events
              if e["event"] == "delivered" and e["queue_id"] in due]
    fresh = [seconds(e["time"]) - accepted[e["id"]] for e in events
             if e["event"] == "delivered" and e["id"] in accepted]
    told = [e for e in events if e["event"] == "deferred" and "attempt" not in e]
    tried = [e for e in events if e["event"] == "deferred" and "attempt" in e]
    report(f"late: {len(parked):,} items that were due", quantiles(parked), "(p99 < 100 ms)")
    report(f"late: {len(fresh):,} new messages", quantiles(fresh), "(p99 < 100 ms)")
    report("connections to the host that is down", str(len(dead.conns)))
    report("deferred events of items that wait", f"{len(told):,} of {len({e['queue_id'] for e in told}):,} items")
    if told:
        report("the last of them after the storm began", f"{seconds(told[-1]['time']) - first:.1f} s")
    left = names(d.spool)
    changed = sum(due[q] != left.get(q) for q in storm)
    report("queue files changed", f"{changed}, {len(tried)} attempts failed")
    with open(f"/proc/{d.pid()}/status", encoding="ascii") as f:
        text = f.read()
    report("resident memory, most", re.search(r"VmHWM:\s+(\d+) kB", text).group(1) + " kB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=100000)
    parser.add_argument("-r", type=int, default=50)
    parser.add_argument("--scratch")
    args = parser.parse_args()
    if args.scratch:
        os.environ["TMPDIR"] = args.scratch
    with World() as w:
        run_storm(w, args.n, args.r)


if __name__ == "__main__":
    main()
