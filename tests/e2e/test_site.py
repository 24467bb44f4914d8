#!/usr/bin/env python3
"""A failure of the site is the site's: one probe decides, the rest waits untouched and is told once."""

import collections
import datetime
import signal
import time

from harness import *

COUNT = 60


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def closing(c, line):
    """Counts as a connection, answers to nobody."""
    return "421 4.3.2 not now"


def dead_and_alive(w, intervals="5s*3,1h*100", **outbound):
    """dead.test, whose host takes connections and no mail; everything else goes to a host that works."""
    dead = w.peer(script={"CONNECT": closing})
    alive = w.peer()
    d = w.daemon(
        routes=[{"domain": "dead.test", "mx": [dead.address]}, {"domain": "*", "mx": [alive.address]}],
        outbound=merge({"temp_fail_intervals": intervals}, outbound),
        traffic=[{"site": "default", "connections": 20, "idle_timeout": "1s"}],
    )
    d.dead, d.alive = dead, alive
    return d


def submit_many(d, n=COUNT, domain="dead.test"):
    with d.client() as c:
        c.ehlo()
        for i in range(n):
            c.want(250, "MAIL FROM:<joe@sender.test>")
            c.want(250, f"RCPT TO:<r{i}@{domain}>")
            c.data(message())


def told(d):
    """Per recipient, its deferred events without an attempt."""
    found = collections.defaultdict(list)
    for e in d.events(event="deferred"):
        if "attempt" not in e:
            found[e["recipient"]].append(e)
    return found


def tried(d):
    return [e for e in d.events(event="deferred") if "attempt" in e]


@case("a dead host: one connection a probe; each item is told once, its attempts and file stay; then all is delivered at once")
def _():
    with World() as w:
        d = dead_and_alive(w)
        submit_many(d, 1)
        d.wait_event(event="deferred", attempt=1)
        first = len(d.dead.conns)
        equal(first, 1, "connections")
        submit_many(d, COUNT)  # r0 is there twice
        wait_for(lambda: len(told(d)) == COUNT, "each to be told")
        equal(len(d.dead.conns), first, "connections to a site known to be down")
        files = d.queue_files()
        for e in sum(told(d).values(), []):
            equal((e["code"], e["stage"], e["host"]), (421, "greeting", "127.0.0.1"))
            matches("not now", e["response"])
            wait = seconds(e["next_attempt"]) - seconds(e["time"])
            check(0 <= wait <= 34, f"the probe is in {wait} s")
        listed = [i for i in d.queue() if i["recipients"][0]["recipient"] == "r7@dead.test"]
        equal([(i["state"], i["attempts"]) for i in listed], [("deferred", 0)])
        matches(rf"attempts 0, next.*", d.cli_ok("show", listed[0]["queue_id"]))
        matches(r"waits for: route:dead.test, down since .*: 421 4.3.2 not now", d.cli_ok("show", listed[0]["queue_id"]))
        matches(rf"down: 1 sites, {COUNT} items wait", d.cli_ok("status"))
        # The first one's next attempt (in 5 s) waits too, for the probe at 30 s.
        wait_for(lambda: len(told(d)["r0@dead.test"]) == 2, "the one that was tried to be told", 15 * SLOW)
        equal(len(d.dead.conns), first, "connections before the probe")
        wait_for(lambda: len(d.dead.conns) == first + 1, "the probe", 40 * SLOW)
        wait_for(lambda: len(tried(d)) == 2, "its outcome")
        time.sleep(1)
        equal(len(d.dead.conns), first + 1, "connections, after the probe")
        equal(sorted(len(x) for x in told(d).values()), [1] * (COUNT - 1) + [2], "events of those that wait")
        equal([f for f in files if f not in d.queue_files()][1:], [], "queue files touched, but one")
        d.dead.script = {}
        d.cli_ok("flush", "dead.test")
        wait_for(lambda: len(d.events(event="delivered")) >= COUNT, "all to be delivered")
        say(f"{COUNT} items, {first + 1} connections until the host came back")


@case("five flushes of what waits: a probe each, nothing bounces, no attempt is counted, due times stay")
def _():
    with World() as w:
        d = dead_and_alive(w, intervals="1h")  # a second failure would be final
        d.dead.script = {"RCPT": "451 4.2.1 later"}
        submit_many(d, 20)
        wait_for(lambda: len(tried(d)) == 20, "the first attempts")
        due = {e["recipient"]: e["next_attempt"] for e in tried(d)}
        wait_for(lambda: all(i["state"] == "deferred" for i in d.queue()), "all to rest")
        wait_for(lambda: not any(c.open for c in d.dead.conns), "its connections to end, and with them what is known of it")
        d.dead.script = {"CONNECT": closing}
        flushes = (
            lambda: d.signal(signal.SIGHUP),
            lambda: d.cli_ok("flush"),
            lambda: d.cli_ok("flush", "dead.test"),
            lambda: d.cli_ok("flush", d.queue()[3]["queue_id"]),
            lambda: d.cli_ok("flush"),
        )
        for flush in flushes:
            conns, events = len(d.dead.conns), len(d.events(event="deferred"))
            flush()
            wait_for(lambda: len(d.dead.conns) > conns, "the probe")
            wait_for(lambda: len(d.events(event="deferred")) > events, "its outcome")
            wait_for(lambda: "down: 1 sites, 0 items" in d.cli_ok("status"), "the others to go back")
            check(len(d.dead.conns) - conns <= 2, f"{len(d.dead.conns) - conns} connections for a flush")
        equal(len(told(d)), 0, "told, though not due")
        for e in tried(d):
            equal(e["next_attempt"], due[e["recipient"]], e["recipient"])
        equal(d.events(event="expired") + d.events(event="bounced"), [])
        equal([r["attempts"] for i in d.queue() for r in i["recipients"]], [1] * 20)
        d.dead.script = {}
        d.cli_ok("flush")
        wait_for(lambda: len(d.events(event="delivered")) == 20, "all to be delivered")


@case("mail that is only on disk is told too; held, released and deleted behind a dead site as anywhere")
def _():
    with World() as w:
        d = dead_and_alive(w, intervals="5s*50")
        d.dead.script = {"RCPT": "451 4.2.1 later"}
        submit_many(d, 20)
        wait_for(lambda: len(tried(d)) == 20, "the first attempts")
        d.dead.script = {"CONNECT": closing}
        wait_for(lambda: len(told(d)) >= 15, "those behind the first that failed", 30 * SLOW)
        items = {i["recipients"][0]["recipient"]: i["queue_id"] for i in d.queue() if i["state"] == "deferred"}
        names = [r for r in told(d) if r in items][:3]
        for r in names:
            equal(told(d)[r][0]["queue_id"], items[r])
        d.cli_ok("hold", items[names[0]])
        d.cli_ok("delete", items[names[1]])
        d.wait_event(event="held", recipient=names[0])
        d.wait_event(event="deleted", recipient=names[1])
        d.cli_ok("release", items[names[0]])
        wait_for(lambda: len(told(d)[names[0]]) == 2, "the released one to wait again")
        equal(len(told(d)[names[2]]), 1)
        d.dead.script = {}
        d.cli_ok("flush", "dead.test")
        wait_for(lambda: len(d.events(event="delivered")) == 19, "the rest to be delivered")
        equal(len(d.events(event="deleted")), 1)


@case("behind a dead site mail expires when its lifetime ends, with a report")
def _():
    with World() as w:
        d = dead_and_alive(w, intervals="5s*50", lifetime="9s")
        submit_many(d, 30)
        wait_for(lambda: len(d.events(event="expired")) == 30, "all to expire", 30 * SLOW)
        for e in d.events(event="expired"):
            check(8.9 <= e["delay"] <= 13 * SLOW, f"expired after {e['delay']} s")
            equal((e["code"], e["enhanced"]), (550, "5.4.7"))
            equal(e["response"], "delivery time expired; last: 421 4.3.2 not now")
        equal(len({e["recipient"] for e in d.events(event="expired")}), 30)
        wait_for(lambda: sum(m.sender == "" for m in d.alive.mails) == 30, "the reports")
        matches("Diagnostic-Code: smtp; 421 4.3.2 not now", d.alive.mails[0].data.decode())
        check(len(d.dead.conns) <= 21, f"{len(d.dead.conns)} connections to the dead host")


@case("a restart forgets what was known: one connection finds out again, and due mail is told again")
def _():
    with World() as w:
        d = dead_and_alive(w, intervals="5s*50")
        d.dead.script = {"RCPT": "451 4.2.1 later"}
        submit_many(d, 20)
        wait_for(lambda: len(tried(d)) == 20, "the first attempts")
        d.dead.script = {"CONNECT": closing}
        wait_for(lambda: len(told(d)) >= 10, "some to wait", 30 * SLOW)
        d.stop()
        conns = len(d.dead.conns)
        d.start()
        wait_for(lambda: "down: 1 sites" in d.cli_ok("status"), "the site to be known as down")
        time.sleep(1)
        equal(len(d.dead.conns), conns + 1, "connections since the restart")


@case("concurrency_max = 4: a host that never answers holds at most half of it while others wait")
def _():
    with World() as w:
        d = dead_and_alive(w, concurrency_max=4, disabled=True)
        d.dead.script = {"CONNECT": lambda c, line: time.sleep(15 * SLOW)}
        submit_many(d, 20)
        submit_many(d, 20, "fine.test")
        d.write_config(outbound={"disabled": False})
        d.signal(signal.SIGUSR1)
        began = time.monotonic()
        wait_for(lambda: len(d.alive.mails) == 20, "the others' mail", 10 * SLOW)
        say(f"20 mails beside a tarpit in {time.monotonic() - began:.2f} s")


run()
