#!/usr/bin/env python3
"""SIGKILL at random moments under load: what got a 250 arrives, whole (laws 1, 2, 3).

Eight senders submit messages to one, two or three domains as fast as they
can; the daemon is killed again and again and started anew. At the end the
queue must run empty, and every recipient of every message that got its 250
must be found at a receiver with the checksum of its body intact. Receivers
are a peer of ours, which notes times, and Postfix's smtp-sink.

A second copy is allowed only where a kill came between the receiver's "250"
and our own note of it: for each further copy a kill must lie close behind
the earlier one.
"""

import collections
import glob
import random
import re
import threading
import time

from harness import *
from others import Sink

ROUNDS = 100 if LONG else 5 if QUICK else 20
SENDERS = 8
# A kill this long after the receiver's 250 explains a copy; or before it: the receiver reads on what is in its socket.
IN_FLIGHT_S = 1 * SLOW
ROUND_S = (0.05, 1.2 if LONG else 0.9)


class Load:
    """Eight senders. `acked` holds what got its 250, `tried` everything that was ever begun."""

    def __init__(self, d, domains):
        self.d, self.domains = d, domains
        self.acked, self.tried = {}, {}
        self.refused = collections.Counter()
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.send, args=(i,), daemon=True) for i in range(SENDERS)]

    def begin(self):
        for t in self.threads:
            t.start()

    def end(self):
        self.over.set()
        for t in self.threads:
            t.join(30 * SLOW)
            check(not t.is_alive(), "a sender hangs")

    def send(self, sender):
        rng = random.Random(sender)
        n = 0
        while not self.over.is_set():
            try:
                with self.d.client(greeting=0, seconds=20 * SLOW) as c:
                    self.talk(c, sender, rng, n)
            except (OSError, EOFError, AssertionError) as e:
                if isinstance(e, AssertionError):
                    self.refused[str(e)[:100]] += 1
                time.sleep(0.01)
            n += 1000

    def talk(self, c, sender, rng, n):
        equal(c.reply()[0], 220, "greeting")
        c.ehlo()
        while not self.over.is_set():
            n += 1
            key = f"s{sender}n{n}"
            to = [f"{key}@{domain}" for domain in rng.sample(self.domains, rng.choice((1, 1, 2, 3)))]
            size = rng.choice((200, 2000, 5000, 50000))
            self.tried[key] = to
            c.want(250, "MAIL FROM:<joe@sender.test>")
            for r in to:
                c.want(250, f"RCPT TO:<{r}>")
            c.data(message(subject=key, body=checked_body(key, size)))
            self.acked[key] = to


def sink_recipients(mail):
    return re.findall(rb"(?m)^X-Rcpt-Args: <([^>]*)>", mail.split(b"\n\n", 1)[0])


def collect(peer, sink):
    """recipient -> [(when or None, whole)]"""
    got = collections.defaultdict(list)
    for m in peer.mails:
        key, whole = verify_body(m.data)
        for r in m.rcpts:
            got[r].append((m.at, whole and r.split("@")[0] == key))
    for name in sink.files() if sink else []:
        with open(name, "rb") as f:
            mail = f.read()
        key, whole = verify_body(mail)
        for r in sink_recipients(mail):
            got[r.decode()].append((None, whole and r.decode().split("@")[0] == key))
    return got


def explained(copies, kills):
    """Whether each further copy has a kill of its own right behind the copy before it."""
    times = sorted(at for at, _ in copies if at is not None)
    near = IN_FLIGHT_S
    return all(any(a - near <= k <= min(b, a + near) for k in kills) for a, b in zip(times, times[1:]))


def judge(load, got, kills):
    lost, broken, extra, odd = [], [], 0, []
    for key, recipients in load.acked.items():
        for r in recipients:
            copies = got.get(r, [])
            if not copies:
                lost.append(r)
            extra += max(0, len(copies) - 1)
            if len(copies) > 1 + len(kills) or not explained(copies, kills):
                odd.append((r, copies))
    for r, copies in got.items():
        broken += [r for _, whole in copies if not whole]
        if r.split("@")[0] not in load.tried:
            odd.append((r, "never sent"))
    return lost, broken, extra, odd


def report(load, got, kills, extra, d):
    wanted = sum(len(to) for to in load.acked.values())
    unacked = len(load.tried) - len(load.acked)
    say(f"{len(kills)} kills; {len(load.acked)} messages with {wanted} recipients got a 250; {unacked} were cut off before it")
    say(f"arrived: {sum(len(c) for c in got.values())} copies for {len(got)} recipients; duplicates: {extra}")
    if load.refused:
        say(f"refused: {dict(load.refused)}")
    finals = collections.Counter(e["recipient"] for e in d.events(event="delivered"))
    missing = [r for to in load.acked.values() for r in to if r not in finals]
    say(f"delivered events: {sum(finals.values())}, of {len(finals)} recipients")
    silent = [r for r in got if r not in finals]
    say(f"arrived without an event: {silent}")
    return missing


@case(f"{ROUNDS} times SIGKILL under load from {SENDERS} senders: every message that got a 250 arrives, whole")
def _():
    with World() as w:
        peer = w.peer(keep=False)
        try:
            sink = Sink(w, dump=True)
            target = sink.address
        except Skip as why:
            say(f"without smtp-sink: {why}")
            sink, target = None, peer.address
        routes = [{"domain": "*.sink.test", "mx": [target]}, {"domain": "*", "mx": [peer.address]}]
        d = w.daemon(routes=routes, log={"level": "notice"}, outbound={"temp_fail_intervals": "5s*20"})
        domains = ["a.peer.test", "b.peer.test", "c.peer.test", "a.sink.test", "b.sink.test"]
        load = Load(d, domains)
        rng = random.Random()
        kills, waits = [], []
        load.begin()
        for _ in range(ROUNDS):
            time.sleep(rng.uniform(*ROUND_S) * SLOW)
            kills.append(time.monotonic())
            d.kill()
            began = time.monotonic()
            d.start()
            waits.append(time.monotonic() - began)
        time.sleep(0.5)
        load.end()
        say(f"restarts took {min(waits):.2f} to {max(waits):.2f} s")
        d.wait_empty(90 * SLOW)
        d.stop()
        got = collect(peer, sink)
        lost, broken, extra, odd = judge(load, got, kills)
        missing = report(load, got, kills, extra, d)
        equal(lost, [], "lost recipients")
        equal(broken, [], "recipients with a damaged copy")
        equal(odd, [], "copies that no kill explains")
        equal(missing, [], "recipients without a final event")
        equal(peer.faults, [], "bare CR or LF")
        equal(glob.glob(d.spool + "/corrupt/*"), [], "corrupt files")
        check(len(load.acked) > ROUNDS * SENDERS, "there was load")


@case("a message that kills the daemon is held at the third time in a row, and others are not; other mail flows")
def _():
    with World() as w:
        bad, kills = threading.Event(), 0

        def deadly(_conn, line):
            if "<poison" in line:
                bad.set()
                time.sleep(2)
                return "421 4.3.0 going down"
            return None

        peer = w.peer(script={"RCPT": deadly})
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
        ident = d.submit("joe@sender.test", "poison@bad.test")
        for n in range(20):
            check(bad.wait(PATIENCE), "the message to be tried")
            sent = [f"n{n}.{i}@good{i}.test" for i in range(3)]
            d.submit("joe@sender.test", sent)
            for r in sent:
                d.wait_fate(r)
            d.kill()
            bad.clear()
            kills += 1
            d.start()
            if wait_for(lambda: bad.is_set() or d.events(event="held"), "the next attempt, or the end of them") and not bad.is_set():
                break
        equal(kills, 3, "crashes before the message is held")
        equal([(e["id"], e["recipient"]) for e in d.events(event="held")], [(ident, "poison@bad.test")], "held")
        matches(r"state: held", wait_for(lambda: d.cli("show", ident)[1], "show"))
        matches(r"(?m)\[ERROR\].*" + ident + "-1: was in work at 3 crashes", d.log_text())
        d.cli_ok("flush")
        d.submit("joe@sender.test", "last@good.test")
        equal(d.wait_fate("last@good.test")["event"], "delivered")
        time.sleep(1)
        check(not bad.is_set(), "it is not tried again")
        peer.script = {}
        d.restart()
        matches(r"state: held", wait_for(lambda: d.cli("show", ident)[1], "show after a restart"))
        d.cli_ok("release", ident)
        equal(d.wait_fate("poison@bad.test")["event"], "delivered", "when the danger is over")
        d.wait_empty()


run()
