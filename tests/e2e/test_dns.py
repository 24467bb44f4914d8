#!/usr/bin/env python3
"""Where mail goes, by the answers of a real DNS server (knotd) and of a dead one."""

import time

from harness import *
from others import BlackHole, DnsProxy, Knot

# MX hosts are told apart by their loopback addresses; outbound.port is the same for all.
ONE, TWO, THREE, DEAD = "127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.66"

LONG_NAME = "a-rather-long-host-name-to-fill-the-answer-"

ZONES = {
    "ex.test": f"""
one A {ONE}
two A {TWO}
three A {THREE}
dead A {DEAD}
alias CNAME one
chain CNAME alias
both AAAA ::1
both A {ONE}
order MX 10 one
order MX 20 two
firstdead MX 5 dead
firstdead MX 10 two
alldead MX 5 dead
equal MX 10 one
equal MX 10 two
equal MX 10 three
implicit A {THREE}
null MX 0 .
nullplus MX 0 .
nullplus MX 10 one
cname MX 10 alias
chained MX 10 chain
domaincname CNAME order
nohost MX 10 nothere
partly MX 10 nothere
partly MX 20 two
badmx MX 10 in.broken.test.
txtonly TXT "neither MX nor address"
loop MX 10 relay.test.
loop MX 20 one
behind MX 10 one
behind MX 20 relay.test.
behind MX 30 two
ipmx MX 10 127.0.0.11.
""" + "".join(f"{LONG_NAME}{i} A {ONE}\n" for i in range(30))
    + "".join(f"many MX 10 {LONG_NAME}{i}\n" for i in range(10))
    + "".join(f"huge MX 10 {LONG_NAME}{i}\n" for i in range(30)),
    "relay.test": f"@ A {ONE}\n",
    "broken.test": None,
    "sender.test": f"@ MX 10 mail\nmail A {THREE}\n",
}


def net(w, **settings):
    """knotd, three MX hosts and a daemon that asks the former."""
    w.knot = Knot(w, ZONES)
    port = free_port()
    w.hosts = {ip: w.peer(host=ip, port=port, name=ip) for ip in (ONE, TWO, THREE)}
    settings = merge({"dns": {"servers": [w.knot.server], "timeout": "2s"}, "outbound": {"port": port}}, settings)
    return w.daemon(**settings)


def deliver(d, domain, count=1):
    """The events of one message to that domain, without the first."""
    to = f"x@{domain}"
    d.submit("joe@sender.test", to)
    return wait_for(lambda: (lambda es: es if len(es) >= count else None)(
        [e for e in d.events(recipient=to) if e["event"] != "received"]), f"{count} events of {to}")[0]


def goes_to(d, domain, *ips):
    e = deliver(d, domain)
    equal(e["event"], "delivered", f"{domain}: {e['response']}")
    check(e["ip"] in ips, f"{domain} went to {e['ip']}, wanted {ips}")
    say(f"{domain}: delivered to {e['host']} {e['ip']}")
    return e


@case("order of preference; the next host when the first is dead; every host of equal preference is used")
def _():
    with World() as w:
        d = net(w, traffic=[{"site": "default", "idle_timeout": "0s"}])  # each message chooses
        goes_to(d, "order.ex.test", ONE)
        goes_to(d, "firstdead.ex.test", TWO)
        e = deliver(d, "alldead.ex.test")
        equal((e["event"], e["stage"]), ("deferred", "connect"))
        for i in range(40):
            d.submit("joe@sender.test", f"r{i}@equal.ex.test")
        for i in range(40):
            equal(d.wait_fate(f"r{i}@equal.ex.test")["event"], "delivered")
        used = [d.wait_fate(f"r{i}@equal.ex.test")["ip"] for i in range(40)]
        counts = {ip: used.count(ip) for ip in (ONE, TWO, THREE)}
        say(f"equal preference: {counts}")
        check(min(counts.values()) > 0, "each of the three was used")


@case("implicit MX; a domain or an MX host that is a CNAME; an answer of more than 512 bytes")
def _():
    with World() as w:
        d = net(w)
        equal(goes_to(d, "implicit.ex.test", THREE)["host"], "implicit.ex.test")
        goes_to(d, "cname.ex.test", ONE)
        goes_to(d, "chained.ex.test", ONE)
        goes_to(d, "domaincname.ex.test", ONE)
        goes_to(d, "many.ex.test", ONE)  # by EDNS
        goes_to(d, "huge.ex.test", ONE)  # more than 1232 bytes: by TCP
        goes_to(d, "partly.ex.test", TWO)


@case("null MX: bounced 556 5.1.10 with a report; not when another MX stands beside it")
def _():
    with World() as w:
        d = net(w)
        e = deliver(d, "null.ex.test")
        equal((e["event"], e["code"], e["enhanced"], e["stage"]), ("bounced", 556, "5.1.10", "dns"))
        text = w.hosts[THREE].wait_mail().data.decode()
        matches(r"Status: 5\.1\.10", text)
        goes_to(d, "nullplus.ex.test", ONE)


@case("NXDOMAIN: bounced 5.1.2; a domain with neither MX nor address, an MX host without address: deferred")
def _():
    with World() as w:
        d = net(w)
        for domain in ("nothere.ex.test",):
            e = deliver(d, domain)
            equal((e["event"], e["enhanced"], e["stage"]), ("bounced", "5.1.2", "dns"), domain)
            say(f"{domain}: {e['code']} {e['enhanced']} {e['response']}")
        for domain in ("txtonly.ex.test", "nohost.ex.test", "ipmx.ex.test"):
            e = deliver(d, domain)
            equal((e["event"], e["enhanced"][0]), ("deferred", "4"), domain)
            say(f"{domain}: {e['code']} {e['enhanced']} {e['response']}")


@case("SERVFAIL of the domain or of the MX host: deferred, never bounced")
def _():
    with World() as w:
        d = net(w)
        for domain in ("broken.test", "in.broken.test", "badmx.ex.test"):
            e = deliver(d, domain)
            equal((e["event"], e["stage"], e["enhanced"]), ("deferred", "dns", "4.4.3"), domain)
            say(f"{domain}: {e['code']} {e['enhanced']} {e['response']}")


@case("a DNS server that never answers, and one that is not there: deferred; the next server is asked")
def _():
    with World() as w:
        hole = BlackHole(w)
        d = w.daemon(dns={"servers": [hole.server], "timeout": "1s", "tries": 2})
        e = deliver(d, "order.ex.test")
        equal((e["event"], e["stage"], e["enhanced"]), ("deferred", "dns", "4.4.3"))
        say(f"silent: {e['response']} after {e['delay']:.1f} s")
    with World() as w:
        d = w.daemon(dns={"servers": [f"127.0.0.1:{free_port()}"], "timeout": "1s", "tries": 1})
        e = deliver(d, "order.ex.test")
        equal((e["event"], e["stage"]), ("deferred", "dns"))
        say(f"port closed: {e['response']} after {e['delay']:.1f} s")
    with World() as w:
        hole = BlackHole(w)
        d = net(w, start=False)
        d.write_config(dns={"servers": [hole.server, w.knot.server], "timeout": "1s", "tries": 2})
        d.start()
        e = goes_to(d, "order.ex.test", ONE)
        say(f"a dead first server costs {e['delay']:.1f} s")


@case("an MX that is ourselves: it and all worse ones are left out; nothing left: bounced 5.4.6")
def _():
    with World() as w:
        d = net(w)
        goes_to(d, "behind.ex.test", ONE)
    with World() as w:
        # Our own name at preference 10: even the host at 20 must not be tried.
        d = net(w, outbound={"local_mx_ok": False})
        e = deliver(d, "loop.ex.test")
        equal((e["event"], e["code"], e["enhanced"]), ("bounced", 550, "5.4.6"))
        say(f"loop.ex.test: {e['code']} {e['enhanced']} {e['response']}")
        e = deliver(d, "order.ex.test")
        say(f"loopback without local_mx_ok: {e['event']} {e['code']} {e['enhanced']} {e['response']}")
        check(all(not p.conns for p in w.hosts.values()), "nobody was dialled")
        equal(e["enhanced"], "5.4.6")


@case("inet_prefer: IPv6 or IPv4 first; a dead first address is followed by the other")
def _():
    for prefer, first in (("v4", [ONE]), ("v6", ["::1"]), ("default", [ONE, "::1"])):
        with World() as w:
            d = net(w, outbound={"inet_prefer": prefer})
            try:
                w.peer(host="::1", port=w.hosts[ONE].port)
            except OSError:
                raise Skip("no IPv6 here") from None
            e = goes_to(d, "both.ex.test", *first)
            say(f"inet_prefer {prefer}: {e['ip']}")
    with World() as w:
        d = net(w, outbound={"inet_prefer": "v6"})
        goes_to(d, "both.ex.test", ONE)


@case("an address literal, and addresses that are never dialled")
def _():
    with World() as w:
        d = net(w)
        e = goes_to(d, f"[{TWO}]", TWO)
        equal(e["ip"], TWO)
        e = deliver(d, "[0.0.0.0]")
        equal(e["event"], "deferred")
        say(f"[0.0.0.0]: {e['code']} {e['enhanced']} {e['response']}")


@case("an internationalised domain is looked up as its A-label")
def _():
    with World() as w:
        zones = dict(ZONES)
        label = "grün.test".encode("idna").decode()
        zones[label] = f"@ MX 10 mail\nmail A {TWO}\n"
        knot = Knot(w, zones)
        peer = w.peer(host=TWO, extensions=("SMTPUTF8", "8BITMIME"))
        d = w.daemon(dns={"servers": [knot.server], "timeout": "2s"}, outbound={"port": peer.port})
        d.submit("joe@sender.test", "x@grün.test", mail=" SMTPUTF8")
        e = d.wait_fate("x@grün.test")
        equal((e["event"], e["domain"]), ("delivered", label))


@case("the same relay of 300 domains: each is looked up, each arrives")
def _():
    with World() as w:
        zone = f"mail A {ONE}\n" + "".join(f"d{i} MX 10 mail\n" for i in range(300))
        knot = Knot(w, {"many.test": zone})
        peer = w.peer(host=ONE)
        d = w.daemon(dns={"servers": [knot.server], "timeout": "5s"}, outbound={"port": peer.port})
        for k in range(3):
            d.submit("joe@sender.test", [f"x@d{i}.many.test" for i in range(100 * k, 100 * k + 100)])
        d.wait_empty()
        equal(len({r for m in peer.mails for r in m.rcpts}), 300)


CACHED = f"""
one A {ONE}
two A {TWO}
move 2 MX 10 one
brief 1 MX 10 one
null 1 MX 0 .
steady MX 10 one
never 0 MX 10 once
once 0 A {ONE}
"""
MOVED = f"two A {TWO}\nmove 2 MX 10 two\nnever 0 MX 10 two\n"


def cached_net(w, **settings):
    """A daemon that asks through a proxy, which counts and can be told to turn to another server, or to nobody."""
    knot = Knot(w, {"ex.test": CACHED})
    w.proxy = DnsProxy(w, knot.port)
    port = free_port()
    w.hosts = {ip: w.peer(host=ip, port=port, name=ip) for ip in (ONE, TWO)}
    return w.daemon(
        **merge({"dns": {"servers": [w.proxy.server], "timeout": "1s", "tries": 1}, "outbound": {"port": port}}, settings)
    )


def submit_many(d, domain, n, start=0):
    to = [f"r{i}@{domain}" for i in range(start, start + n)]
    with d.client() as c:
        c.ehlo()
        for r in to:
            c.want(250, "MAIL FROM:<joe@sender.test>")
            c.want(250, f"RCPT TO:<{r}>")
            c.data(message())
    return [d.wait_fate(r) for r in to]


def stats(d):
    return {k: int(v) for k, v in (line.split() for line in d.cli_ok("stats").splitlines())}


def stale_warnings(d):
    return d.log_text().count("expired answers are used")


@case("a hundred messages to one domain: one question for MX, one for A, one for AAAA")
def _():
    with World() as w:
        d = cached_net(w)
        for e in submit_many(d, "steady.ex.test", 100):
            equal((e["event"], e["ip"]), ("delivered", ONE))
        equal(w.proxy.asked and sorted(w.proxy.asked), [
            ("one.ex.test", "A"), ("one.ex.test", "AAAA"), ("steady.ex.test", "MX")])
        s = stats(d)
        say({k: v for k, v in s.items() if "dns" in k or "routes" in k})
        equal((s["dns_queries"], s["dns_cached"], s["dns_stale"]), (3, 3, 0))
        check(s["routes_shared"] > 10 * s["routes_resolved"], "most found the way known")
        # Another domain with the same MX host: only its own question is new, to a shard that has
        # asked for the host.
        d.submit("joe@sender.test", "x@move.ex.test")
        d.wait_fate("x@move.ex.test")
        check(stats(d)["dns_queries"] in ([4] if shards() == 1 else [4, 6]), "questions for the second domain")


@case("TTL 0 is asked for again; a reload that changes dns forgets, another does not")
def _():
    with World() as w:
        d = cached_net(w)
        for i in range(3):
            equal(submit_many(d, "never.ex.test", 1, i)[0]["event"], "delivered")
            time.sleep(1.1)
        equal(w.proxy.count("never.ex.test", "MX"), 3)
        equal(w.proxy.count("once.ex.test", "A"), 3)
        equal(w.proxy.count("once.ex.test", "AAAA"), 1)  # by its SOA
        submit_many(d, "steady.ex.test", 2)
        before = stats(d)
        d.write_config(outbound={"connect_timeout": "20s"})
        d.cli_ok("reload")
        submit_many(d, "steady.ex.test", 2, 2)
        equal(w.proxy.count("steady.ex.test", "MX"), 1)
        d.write_config(dns={"timeout": "2s"})
        d.cli_ok("reload")
        submit_many(d, "steady.ex.test", 2, 4)
        equal(w.proxy.count("steady.ex.test", "MX"), 2)
        after = stats(d)
        check(after["dns_queries"] > before["dns_queries"], f"counters go on: {before} {after}")


@case("TTL 0 and another host each time: mail is sent on the answer it waited for")
def _():
    with World() as w:
        d = cached_net(w)
        w.proxy.upstream = [w.proxy.upstream, Knot(w, {"ex.test": f"once A {ONE}\n{MOVED}"}).port]
        for i in range(4):
            equal(submit_many(d, "never.ex.test", 1, i)[0]["event"], "delivered")
            time.sleep(1.1)
        equal(w.proxy.count("never.ex.test", "MX"), 4)


@case("an answer that changes is used when the TTL of the old one is over")
def _():
    with World() as w:
        d = cached_net(w)
        moved = Knot(w, {"ex.test": MOVED})
        equal(submit_many(d, "move.ex.test", 1)[0]["ip"], ONE)
        w.proxy.upstream = moved.port
        began = time.monotonic()
        e = submit_many(d, "move.ex.test", 1, 1)[0]
        if time.monotonic() - began < 1:
            equal(e["ip"], ONE, "within the TTL")
        time.sleep(2.2)
        equal(submit_many(d, "move.ex.test", 1, 2)[0]["ip"], TWO)
        equal(w.proxy.count("move.ex.test", "MX"), 2)


@case("the resolver dies: mail flows on expired answers, which is logged once; NXDOMAIN bounces when it is said")
def _():
    with World() as w:
        d = cached_net(w)
        gone = Knot(w, {"ex.test": f"one A {ONE}\n"})
        equal(submit_many(d, "brief.ex.test", 1)[0]["event"], "delivered")
        time.sleep(1.2)
        w.proxy.upstream = None
        began = time.monotonic()
        for e in submit_many(d, "brief.ex.test", 20, 1):
            equal((e["event"], e["ip"]), ("delivered", ONE))
        failed = time.monotonic()
        say(f"20 messages in {failed - began:.1f} s")
        equal(stale_warnings(d), 1)
        asked = w.proxy.count("brief.ex.test", "MX")
        equal(asked, 2)
        # A new name has nothing to fall back to.
        e = deliver(d, "steady.ex.test")
        equal((e["event"], e["enhanced"]), ("deferred", "4.4.3"))
        # The DNS is back, and says that the domain is gone: not asked for before half a minute is over.
        w.proxy.upstream = gone.port
        equal(submit_many(d, "brief.ex.test", 1, 21)[0]["event"], "delivered")
        equal(w.proxy.count("brief.ex.test", "MX"), asked)
        time.sleep(max(0, 30.5 - (time.monotonic() - failed)))
        submit_many(d, "brief.ex.test", 1, 22)
        wait_for(lambda: w.proxy.count("brief.ex.test", "MX") > asked, "the question to be asked again")
        time.sleep(1.2)  # what was made of the expired answer meanwhile lasts a second
        e = submit_many(d, "brief.ex.test", 1, 23)[0]
        equal((e["event"], e["enhanced"]), ("bounced", "5.1.2"))
        equal(stale_warnings(d), 1)


@case("a null MX that has expired bounces nothing while the resolver fails")
def _():
    with World() as w:
        d = cached_net(w)
        equal(deliver(d, "null.ex.test")["enhanced"], "5.1.10")
        time.sleep(1.2)
        w.proxy.upstream = None
        d.submit("joe@sender.test", "y@null.ex.test")
        e = d.wait_event(recipient="y@null.ex.test", event="deferred")
        equal((e["code"], e["enhanced"], e["stage"]), (451, "4.4.3", "dns"))
        say(e["response"])


run()
