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


def slow(c, line):
    time.sleep(0.05)


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
