#!/usr/bin/env python3
"""idle - what a client that is connected and says nothing costs in memory.

    idle.py [-n SESSIONS] [--steps N] [--mail BYTES] [--kind clear|starttls|implicit]...

For each kind a daemon of its own: SESSIONS (10,000) clients come, from many
addresses of 127/8, say EHLO (STARTTLS and EHLO again), and with --mail hand
over a message of that size (delivered to a sink before anything is counted),
and then stay silent. After each of N (4) equal steps the daemon's resident
memory is read from smaps_rollup. Printed for each
kind: kilobytes per session at each step, and from the first step to the last,
where what the first clients made the daemon load no longer counts.

The target is 8 KB in clear, 40 KB with TLS. Programs: as for tests/e2e
(POSTRIDERD). A benchmark: it judges nothing; never run by make check. Needs
twice as many descriptors as sessions (ulimit -Hn), half of them in the daemon.
"""

import argparse
import os
import resource
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import *  # noqa: E402

SETTLE_S = 2  # a daemon gives back what a client left behind once it has been silent for a second
SPARE = 200  # descriptors for all else
TARGET_KB = {"clear": 8, "starttls": 40, "implicit": 40}


def resident_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Rss:"))


def settled_kb(pid):
    """Once what was just said has been worked off."""
    last, kb = 0, resident_kb(pid)
    while kb != last:
        time.sleep(SETTLE_S)
        last, kb = kb, resident_kb(pid)
    return kb


def source(n):
    return f"127.{1 + n // 60000}.{n // 250 % 240}.{1 + n % 250}"


def start(w, kind, n):
    port = free_port()
    d = w.daemon(
        start=False,
        tls_name="relay.test",
        submission={"max_connections": n + 100, "max_connections_per_ip": n + 100},
        routes=[{"domain": "*", "mx": [w.peer(keep=False, name="sink.test").address]}],
        log={"level": "info"},
    )
    tls = "none" if kind == "clear" else kind
    d.write_config(listen=d.config["listen"] + [{"address": f"127.0.0.1:{port}", "tls": tls}])
    d.start()
    return d, port


def greet(port, kind, context, n, mail):
    """One client; what is left of it is its socket."""
    c = Client(port, source=source(n), greeting=None)
    if kind == "implicit":
        c.sock = context.wrap_socket(c.sock)
    equal(c.reply()[0], 220)
    c.ehlo()
    if kind == "starttls":
        c.want(220, "STARTTLS")
        c.sock = context.wrap_socket(c.sock)
        c.ehlo()
    if mail:
        c.want(250, "MAIL FROM:<joe@sender.test>")
        c.want(250, "RCPT TO:<ann@example.test>")
        c.data(message(body=("x" * 62 + "\r\n") * (mail // 64)))
    return c.sock.detach()


def measure(kind, n, steps, mail):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    sockets = []
    with World() as w:
        d, port = start(w, kind, n)
        figures = [(0, settled_kb(d.pid()))]
        for step in range(1, steps + 1):
            while len(sockets) < n * step // steps:
                sockets.append(greet(port, kind, context, len(sockets), mail))
            d.wait_empty()
            figures.append((len(sockets), settled_kb(d.pid())))
        for fd in sockets:
            os.close(fd)
    print_figures(kind, figures, mail)


def print_figures(kind, figures, mail):
    empty = figures[0][1]
    print(f"{kind}{f', a mail of {mail} bytes each' if mail else ''}: {empty} KB without sessions", flush=True)
    for n, kb in figures[1:]:
        print(f"  {n:6} sessions {kb:8} KB   {(kb - empty) / n:7.2f} KB each", flush=True)
    if len(figures) > 2:
        (n1, kb1), (n2, kb2) = figures[1], figures[-1]
        print(f"  {'':6} from the first step on {(kb2 - kb1) / (n2 - n1):8.2f} KB each   target {TARGET_KB[kind]}", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-n", type=int, default=10000)
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--mail", type=int, default=0)
    p.add_argument("--kind", action="append", choices=list(TARGET_KB))
    o = p.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < o.n + SPARE:
        sys.exit(f"{o.n} sessions need {o.n + SPARE} descriptors: ulimit -Hn is {hard}")
    for kind in o.kind or ["clear", "starttls"]:
        measure(kind, o.n, o.steps, o.mail)


main()
