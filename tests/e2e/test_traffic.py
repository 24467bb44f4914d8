#!/usr/bin/env python3
"""Limits of a site: rates, connections by MX host; what a peer asks for; who shares."""

import time

from harness import *
from others import Knot

TOLERANCE = 0.03  # seconds a peer may be late to look at its clock


def one_site(w, script=None, limits=None, **settings):
    """Everything goes to one peer, by one route."""
    peer = w.peer(script=script)
    limits = merge({"site": "default"}, limits or {})
    d = w.daemon(**merge({"routes": [{"domain": "*", "mx": [peer.address]}], "traffic": [limits]}, settings))
    d.peer, d.limits = peer, limits
    return d


def submit_many(d, n, domain="one.test", first=0):
    with d.client() as c:
        c.ehlo()
        for i in range(first, first + n):
            c.want(250, "MAIL FROM:<joe@sender.test>")
            c.want(250, f"RCPT TO:<r{i}@{domain}>")
            c.data(message())


def slow(c, line):
    time.sleep(0.05)


def most_in(times, seconds):
    """The most of them in any such time."""
    times = sorted(times)
    return max(sum(1 for t in times if start <= t < start + seconds) for start in times)


def delivered(d, n, seconds=PATIENCE):
    d.wait_events(lambda: len(d.events(event="delivered")) >= n, f"{n} to be delivered", seconds)
    equal(d.events(event="deferred") + d.events(event="bounced"), [], "events of failures")


# --- rates -------------------------------------------------------------------------


@case("rate: 30 messages at 5/1s take five seconds, in none of them more than 5; nothing is deferred")
def _():
    with World() as w:
        d = one_site(w, limits={"rate": "5/1s"})
        submit_many(d, 30)
        delivered(d, 30)
        times = [m.at for m in d.peer.mails]
        took, most = max(times) - min(times), most_in(times, 1 - TOLERANCE)
        check(took >= 5, f"{took:.2f} s")
        check(took <= 7, f"{took:.2f} s: slower than it has to be")
        check(most <= 5, f"{most} in a second")
        say(f"{took:.2f} s, at most {most} in a second, {len(d.peer.conns)} connections")


@case("connection_rate: a connection a message at 4/1s; over one that is open mail goes without a pause")
def _():
    with World() as w:
        d = one_site(w, limits={"connection_rate": "4/1s", "deliveries_per_connection": 1})
        submit_many(d, 12)
        delivered(d, 12)
        times = [c.at for c in d.peer.conns]
        equal(len(times), 12, "connections")
        check(max(times) - min(times) >= 2, f"{max(times) - min(times):.2f} s")
        check(most_in(times, 1 - TOLERANCE) <= 4, f"{most_in(times, 1 - TOLERANCE)} in a second")
    with World() as w:
        d = one_site(w, limits={"connection_rate": "1/1h"})
        began = time.monotonic()
        submit_many(d, 60)
        delivered(d, 60)
        equal(len(d.peer.conns), 1, "connections")
        check(time.monotonic() - began < 5, "mail waited for connections it did not need")


@case("a rate is remembered while there is no mail; show and status say what waits for it; a reload changes it at once")
def _():
    with World() as w:
        d = one_site(w, limits={"rate": "1/1h", "idle_timeout": 0})
        submit_many(d, 1)
        delivered(d, 1)
        wait_for(lambda: not any(c.open for c in d.peer.conns), "the connection to end")
        time.sleep(0.5)
        submit_many(d, 3, first=1)
        time.sleep(1)
        equal(len(d.peer.mails), 1, "messages in this hour")
        matches(r"slowed: 1 sites, 3 items wait", d.cli_ok("status"))
        item = d.queue()[0]
        matches(r"waits for: route:\*, its rate allows the next message at \S+, 3 items wait", d.cli_ok("show", item["queue_id"]))
        d.write_config(traffic=[merge(d.limits, {"rate": "2/1s"})])
        d.cli_ok("reload")
        delivered(d, 4)
        times = sorted(m.at for m in d.peer.mails)[1:]
        check(times[2] - times[1] >= 0.4, f"{times[2] - times[1]:.2f} s between two at 2/1s")
        submit_many(d, 1, first=4)  # the new limit is in force
        d.write_config(traffic=[merge(d.limits, {"rate": ""})])
        d.cli_ok("reload")
        began = time.monotonic()
        submit_many(d, 20, first=5)
        delivered(d, 25)
        check(time.monotonic() - began < 3, "without a rate mail waits")
        matches(r"(?s)\A(?!.*slowed)", d.cli_ok("status"))


@case("who stops does not wait for a rate")
def _():
    with World() as w:
        d = one_site(w, limits={"rate": "1/1h"})
        submit_many(d, 5)
        delivered(d, 1)
        began = time.monotonic()
        d.stop()
        check(time.monotonic() - began < 3, f"{time.monotonic() - began:.1f} s")
        d.start()
        d.wait_event(event="delivered", count=2)  # what it knew is gone: this is a new hour
        time.sleep(0.5)
        equal(len(d.peer.mails), 2)


# --- what a peer asks for ----------------------------------------------------------------


class Narrow:
    """Takes so many connections at once; says 421 to more."""

    def __init__(self, limit):
        self.limit, self.refused, self.most = limit, 0, 0

    def connect(self, c, line):
        n = sum(1 for other in c.peer.conns if other.open and getattr(other, "taken", False))
        if n >= self.limit:
            self.refused += 1
            return "421 4.3.2 too many connections"
        c.taken = True
        self.most = max(self.most, n + 1)


@case("a peer takes 3 connections at once: all is delivered over those, no attempt is counted, few are refused, it is not down")
def _():
    with World() as w:
        narrow = Narrow(3)
        d = one_site(w, script={"CONNECT": narrow.connect, "RCPT": slow})
        submit_many(d, 150)
        delivered(d, 150)
        equal({e["attempt"] for e in d.events(event="delivered")}, {1}, "attempts")
        equal(narrow.most, 3, "connections it took")
        check(narrow.refused <= 6, f"{narrow.refused} refused")
        check("is down" not in d.log_text(), "one refused connection among others is no outage")
        say(f"{len(d.peer.conns)} connections, {narrow.refused} of them refused")


class Meter:
    """Says no, with this reply, to what is more than so many in so many seconds."""

    def __init__(self, limit, seconds, reply):
        self.limit, self.seconds, self.reply = limit, seconds, reply
        self.taken, self.refused = [], []

    def ask(self, c, line):
        now = time.monotonic()
        if sum(1 for t in self.taken if t > now - self.seconds) >= self.limit:
            self.refused.append(now)
            return self.reply
        self.taken.append(now)


for stage, reply in (("MAIL", "421 4.7.28 too much from you"), ("RCPT", "450 4.7.28 too much from you")):

    @case(f"too much mail, {reply[:10]} to {stage}: that site gets a pause and then less, another one nothing of it")
    def _(stage=stage, reply=reply):
        with World() as w:
            meter = Meter(20, 3, reply)
            strict, other = w.peer(script={stage: meter.ask}), w.peer(script={"RCPT": slow})
            d = w.daemon(
                routes=[{"domain": "strict.test", "mx": [strict.address]}, {"domain": "*", "mx": [other.address]}],
                outbound={"temp_fail_intervals": "5s*50"},
            )
            submit_many(d, 60, "strict.test")
            wait_for(lambda: meter.refused, "too much")
            time.sleep(0.3)
            refused = len(meter.refused)
            check(refused <= 21, f"{refused} refused: no more than were under way")
            matches(r"slowed: 1 sites, \d+ items wait", d.cli_ok("status"))
            waiting = next(i for i in d.queue() if i["state"] == "active")
            matches(r"waits for: route:strict.test, it gets too much mail", d.cli_ok("show", waiting["queue_id"]))
            began = time.monotonic()
            submit_many(d, 40, "other.test")
            wait_for(lambda: len(other.mails) == 40, "the other site's")
            check(time.monotonic() - began < 2, f"{time.monotonic() - began:.1f} s at the other site")
            check(len(meter.refused) <= refused + 1, "it goes on")
            d.wait_events(lambda: len(d.events(event="delivered")) == 100, "all", 60 * SLOW)
            equal(d.events(event="bounced") + d.events(event="expired"), [], "failures")
            check("is down" not in d.log_text(), "a site that is slowed is not down")
            say(f"{len(meter.refused)} refused, 60 taken in {max(meter.taken) - min(meter.taken):.1f} s")


# --- sites ---------------------------------------------------------------------------

MX, OTHER = "127.0.0.11", "127.0.0.12"
ZONES = {
    "big.test": f"mx1 A {MX}\nmx2 A {OTHER}\n",
    "a.test": "@ MX 10 mx1.big.test.\n",
    "b.test": "@ MX 10 mx1.big.test.\n",
    "own.test": "@ MX 10 mx1.big.test.\n",
    "other.test": "@ MX 10 mx2.big.test.\n",
    "relay.test": f"@ A {MX}\n",
}


class Crowd:
    """Most connections with mail at the same time, by the domain of the recipient."""

    def __init__(self):
        self.now, self.most = {}, {}

    def rcpt(self, c, line):
        key = line[line.index("@") + 1 : line.index(">")]
        for k in (key, "all"):
            self.now.setdefault(k, set()).add(c)
            self.most[k] = max(self.most.get(k, 0), len(self.now[k]))
        time.sleep(0.05)

    def dot(self, c, line):
        for k in self.now:
            self.now[k] = self.now[k] - {c}


@case("connections, by a pattern on MX hosts: domains with the same hosts share them, one with an entry of its own has its own; a reload changes them")
def _():
    with World() as w:
        knot = Knot(w, ZONES)
        port = free_port()
        crowd = Crowd()
        mx = w.peer(host=MX, port=port, script={"RCPT": crowd.rcpt, "DOT": crowd.dot})
        other = w.peer(host=OTHER, port=port, script={"RCPT": slow})
        traffic = [
            {"site": "default", "connections": 9},
            {"site": "*.big.test", "connections": 3},
            {"site": "own.test", "connections": 2},
        ]
        d = w.daemon(dns={"servers": [knot.server], "timeout": "2s"}, outbound={"port": port}, traffic=traffic)
        for domain in ("a.test", "b.test", "own.test"):
            submit_many(d, 25, domain)
        delivered(d, 75)
        say(f"most at once: {crowd.most}")
        equal(crowd.most["own.test"], 2, "connections of its own")
        check(crowd.most["a.test"] <= 3 and crowd.most["b.test"] <= 3, "connections of a domain")
        check(crowd.most["all"] <= 5, "connections in all")
        check(max(crowd.most["a.test"], crowd.most["b.test"]) == 3, "the limit is not used")
        crowd.most.clear()
        d.write_config(traffic=[traffic[0], {"site": "*.big.test", "connections": 1}])
        d.cli_ok("reload")
        for domain in ("a.test", "own.test"):
            submit_many(d, 15, domain)
        delivered(d, 105)
        equal(crowd.most["all"], 1, "connections, all sharing one by now")
        submit_many(d, 1, "other.test")
        delivered(d, 106)
        equal(len(other.mails), 1)


run()
