#!/usr/bin/env python3
"""table.py - runs the workloads and prints the table; called by table.sh, which see.

    table.py [-o] [-q] [ROUNDS [WORKLOADS...]]
    table.py print FILE                          the table of runs made before
"""

import collections
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

import runs
from runs import OTHER, OURS

# A figure that is judged: what it is called, its key in a run's result, and the target; shown: a
# line of the table is about it.
Target = collections.namedtuple("Target", "what key least most shown", defaults=(None, None, False))
# once: not once a round but once; parts: what CPU is counted for, of a message
Workload = collections.namedtuple("Workload", "run targets once parts", defaults=(False, 1))


def rate(least, key="e2e_rate", what="messages/s"):
    return Target(what, key, least=least, shown=True)


WORKLOADS = {
    "W1": Workload(runs.plain("W1", 60000, 15000), [
        rate(10000),
        Target("times Postfix", "ratio", least=10),
        Target("CPU ms/message", "cpu_each", most=0.10),
        Target("flushes/message", "flush_msg", most=0.1),
    ]),
    "W1TLS": Workload(runs.relayed("W1", 40000, 8000, tls=True), [
        rate(7000),
        Target("connections/message", "conns_each", most=0.1),
    ]),
    "W2": Workload(runs.plain("W2", 20000, 8000), [rate(4000)]),
    "W3": Workload(runs.plain("W3", 40000, 15000), [rate(8000)]),
    "W4": Workload(runs.plain("W4", 1000, 400), [
        rate(200),
        Target("CPU ms/recipient", "cpu_each", most=0.1),
        Target("KB written/message", "wkb_msg", most=100),  # a body each were 250 at least
    ], parts=50),
    "W5": Workload(runs.plain("W5", 20000, 20000), [
        rate(8000, "accept_rate", "accepted/s"),
        Target("stop s", "stop_s", shown=True),
        Target("restart s", "restart_s", most=0.2, shown=True),
        rate(5000, "drain_rate", "drained/s"),
    ]),
    "W6": Workload(runs.plain("W6", 40000, 10000), [rate(5000)]),
    "LATENCY": Workload(runs.latency, [
        Target("data to 250, p99 ms", "acc_p99_ms", shown=True),
        Target("   in fsyncs (p50)", "acc_fsyncs", most=3),
        Target("250 to peer's, p99 ms", "on_p99_ms", most=10, shown=True),
    ]),
    "FLAT": Workload(runs.flat, [
        Target("messages/s, 3 minutes", "e2e_rate", least=10000, shown=True),
        Target("slowest 10 s/median", "slowest", least=0.9),
    ], once=True),
    "W1BDAT": Workload(runs.relayed("W1", 60000, 15000, sink="-b"), [rate(None)]),
    "W2BDAT": Workload(runs.relayed("W2", 20000, 8000, sink="-b"), [rate(None)]),
}
# Programs whose output stands below the table, and whether their exit status counts: a law's does.
ASIDE = {"LAW1": (["law1.py"], True), "IDLE": (["idle.py"], False)}
ASKED = ["W1", "W1TLS", "W2", "W3", "W4", "W5", "W6", "LATENCY", "LAW1", "IDLE"]


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- running ----


def run_one(h, peer, name):
    row = WORKLOADS[name].run(h, peer)
    row.update(workload=name, cpu_each=row["cpu_ms_msg"] / WORKLOADS[name].parts)
    row["conns_each"] = (row["conns"] or 0) / row["accepted"]
    return row


def lost(row):
    """Mail that is neither at the sink nor in the queue, or came damaged."""
    return max(0, row["missing"] - max(0, row["still_queued"])) + (row["bad"] or 0)


def brief(row):
    shown = [t for t in WORKLOADS[row["workload"]].targets if t.shown]
    figures = ", ".join(f"{t.what} {number(row.get(t.key))}" for t in shown)
    return f"{row['workload']:<7} {row['peer']:<9} load {row['load']:.1f}  {figures}"


def plan(rounds, names, peers):
    for n in range(rounds):
        for name in names:
            if n > 0 and WORKLOADS[name].once:
                continue
            for peer in peers:
                if name != "FLAT" or peer == OURS:
                    yield n, name, peer


def run_aside(name):
    """What the program says, with the installed programs in the place of the build tree's."""
    prefix, args = os.environ["POSTRIDER"], ASIDE[name][0]
    env = dict(
        os.environ,
        POSTRIDERD=prefix + "/sbin/postriderd",
        POSTRIDER_CLI=prefix + "/bin/postrider",
        POSTRIDER_SANDBOX=prefix + "/bin/postrider-sandbox",
    )
    args = [sys.executable, f"{runs.HERE}/{args[0]}", *args[1:]]
    p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    say(f"{name}: {(p.stdout.splitlines() or ['nothing said'])[-1]}")
    return {"aside": name, "text": p.stdout, "status": p.returncode, "counts": ASIDE[name][1]}


def run_all(h, steps, out):
    """False: the harness failed."""
    try:
        for n, name, peer in steps:
            row = run_one(h, peer, name)
            out.write(json.dumps(row) + "\n")
            out.flush()
            say(f"{n + 1}: {brief(row)}")
    except (runs.Broken, KeyboardInterrupt) as why:
        say(f"the harness failed: {why or 'interrupted'}")
        return False
    return True


# ---- the table ----


def machine(home):
    """What the figures were measured on."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        models = re.findall(r"model name\s*: (.*)", f.read()) or ["CPU"]
    with open("/proc/meminfo", encoding="ascii") as f:
        gib = int(re.search(r"MemTotal:\s+(\d+)", f.read()).group(1)) / 2**20
    args = ["findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", "-T", home]
    disk = subprocess.run(args, stdout=subprocess.PIPE, text=True, check=False).stdout.split()
    return (
        f"{models[0]}, {os.cpu_count()} cores, {gib:.0f} GiB, Linux {platform.release()}, "
        f"disk {' '.join(disk) or 'unknown'}"
    )


def values_of(rows, key):
    return [r[key] for r in rows if isinstance(r.get(key), (int, float))]


def median(rows, key):
    values = values_of(rows, key)
    return statistics.median(values) if values else None


def number(x):
    if x is None:
        return "-"
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.2f}" if abs(x) >= 1 else f"{x:.3f}"


def spread(rows, key):
    values = values_of(rows, key)
    if not values:
        return "-"
    return f"{number(statistics.median(values))} ({number(min(values))}-{number(max(values))})"


def wanted(target):
    if target.least is not None:
        return f">= {number(target.least)}"
    return f"<= {number(target.most)}" if target.most is not None else ""


def figure(target, ours, other):
    if target.key != "ratio":
        return median(ours, target.key)
    a, b = median(ours, "e2e_rate"), median(other, "e2e_rate")
    return a / b if a and b else None


HEAD = ("workload", "peer", "n", "median (range)", "target", "ratio", "CPU ms", "flushes",
        "KB written", "connections", "data to 250, ms", "end to end, ms", "missing",
        "twice", "load before")


def connections(rows):
    text = number(median(rows, "conns"))
    if any(r.get("handshakes_full") for r in rows):
        text += f" ({number(median(rows, 'handshakes_resumed'))} resumed)"
    return text


def line_of(name, target, peer, rows, other):
    a, b = median(rows, target.key), median(other, target.key)
    pair = lambda p, q: f"{number(median(rows, p))}/{number(median(rows, q))}"
    return (
        f"{name} {target.what}", peer, str(len(rows)), spread(rows, target.key),
        wanted(target) if peer == OURS else "", f"{a / b:.2f}" if a and b and peer == OURS else "",
        number(median(rows, "cpu_each")), number(median(rows, "flush_msg")),
        number(median(rows, "wkb_msg")), connections(rows),
        pair("acc_p50_ms", "acc_p99_ms"), pair("e2e_p50_ms", "e2e_p99_ms"),
        str(sum(r["missing"] for r in rows)), str(sum(r["dup"] or 0 for r in rows)),
        spread(rows, "load"),
    )


NOTES = """
CPU: of all processes of the peer, per message (W4: per recipient). Flushes, KB: of the whole
disk, per message. Range: least and most of n runs. Ratio: ours to Postfix. Data to 250, end to
end: p50/p99. W1TLS: STARTTLS on both sides. LATENCY: at a fifth of each peer's W1 rate.
"""


def print_table(rows):
    of = lambda name, peer: [r for r in rows if r["workload"] == name and r["peer"] == peer]
    print("| " + " | ".join(HEAD) + " |")
    print("|" + "---|" * len(HEAD))
    for name, w in WORKLOADS.items():
        for target in (t for t in w.targets if t.shown):
            for peer in (OURS, OTHER):
                if of(name, peer):
                    line = line_of(name, target, peer, of(name, peer), of(name, OTHER))
                    print("| " + " | ".join(line) + " |")
    print(NOTES)
    for name, w in WORKLOADS.items():
        if of(name, OURS):
            print_verdicts(name, w, of(name, OURS), of(name, OTHER))


def print_verdicts(name, w, ours, other):
    for target in w.targets:
        if target.least is None and target.most is None:
            continue
        x = figure(target, ours, other)
        verdict = "not measured"
        if x is not None:
            met = x >= target.least if target.least is not None else x <= target.most
            verdict = "met" if met else "NOT MET"
        print(f"{name:<8} {target.what:<24} {number(x):>9}   {wanted(target):>10}   {verdict}")
    if name == "LATENCY":
        p50, p99, took = (median(ours, k) for k in ("fsync_p50_ms", "fsync_p99_ms", "acc_p99_ms"))
        print(f"         one write and fdatasync, at the same pace, before each run: p50 {number(p50)}, "
              f"p99 {number(p99)} ms\n         data to 250, p99: {number(took / p99)} times that p99")
    for row in ours:
        if row.get("curve"):
            print("         each 10 s: " + " ".join(number(x) for x in row["curve"]))


def report(lines):
    """The exit status, for what no figure excuses: mail lost, a law broken."""
    rows = [x for x in lines if "peer" in x]
    gone = [r for r in rows if r["peer"] == OURS and lost(r)]
    asides = [x for x in lines if "aside" in x]
    print("\n".join(x["head"] for x in lines if "head" in x) + "\n")
    if rows:
        print_table(rows)
    for x in asides:
        failed = f" (exit status {x['status']})" if x["status"] else ""
        print(f"\n{x['aside']}{failed}\n{x['text'].rstrip()}")
    for r in gone:
        print(f"MAIL LOST: {json.dumps(r)}")
    return 1 if gone or any(x["status"] and x["counts"] for x in asides) else 0


def read_file(name):
    with open(name, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def measure(words):
    """All that was written of the runs, and whether the harness held."""
    home = os.environ["BENCH_HOME"]
    options = {w for w in words if w.startswith("-")}
    words = [w for w in words if w not in options]
    rounds = int(words.pop(0)) if words and words[0].isdigit() else 5
    names = words or ASKED
    if not set(names) <= WORKLOADS.keys() | ASIDE.keys() or not options <= {"-o", "-q"}:
        sys.exit(__doc__)
    peers = [OURS] if "-o" in options else [OURS, OTHER]
    h = runs.Harness(0.25 if "-q" in options else 1)
    h.make_desk()
    with open(time.strftime(f"{home}/table-%Y%m%d-%H%M%S.jsonl"), "w", encoding="utf-8") as out:
        head = f"{time.strftime('%Y-%m-%d %H:%M')}: {machine(home)}"
        out.write(json.dumps({"head": head}) + "\n")
        good = run_all(h, plan(rounds, [x for x in names if x in WORKLOADS], peers), out)
        for name in (x for x in names if x in ASIDE):
            out.write(json.dumps(run_aside(name)) + "\n")
    say(f"the runs are in {out.name}")
    return read_file(out.name), good


def main():
    if sys.argv[1:2] == ["print"]:
        lines, good = read_file(sys.argv[2]), True
    else:
        lines, good = measure(sys.argv[1:])
    return report(lines) or int(not good)


sys.exit(main())
