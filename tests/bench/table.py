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

OURS, OTHER = "postrider", "postfix"

# A figure a run is judged by: how the row is called, the key in the run's result, the target
# ("at least" a rate, "at most" a time or cost), and what one is (for CPU, flushes).
Target = collections.namedtuple("Target", "what key least most", defaults=(None, None))
# preset: the harness's name of it; ours, other: messages for each; per: the unit of cost
Workload = collections.namedtuple("Workload", "preset ours other per targets")

WORKLOADS = {
    "W1": Workload("W1", 60000, 15000, "message", [
        Target("messages/s", "e2e_rate", least=10000),
        Target("CPU ms/message", "cpu_each", most=0.10),
        Target("flushes/message", "flush_msg", most=0.1),
        Target("times Postfix", "ratio", least=10),
    ]),
    "W2": Workload("W2", 20000, 8000, "message", [Target("messages/s", "e2e_rate", least=4000)]),
    "W3": Workload("W3", 40000, 15000, "message", [Target("messages/s", "e2e_rate", least=8000)]),
    "W4": Workload("W4", 1000, 400, "recipient", [
        Target("messages/s", "e2e_rate", least=200),
        Target("CPU ms/recipient", "cpu_each", most=0.1),
        Target("KB written/message", "wkb_msg", most=20),
    ]),
    "W5": Workload("W5", 20000, 20000, "message", [
        Target("accepted/s", "accept_rate", least=8000),
        Target("restart s", "restart_s", most=0.2),
        Target("drained/s", "drain_rate", least=5000),
    ]),
    "W6": Workload("W6", 40000, 10000, "message", [Target("messages/s", "e2e_rate", least=5000)]),
}
RCPTS = {"W4": 50}


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- running ----


class Broken(Exception):
    """The harness failed."""


def mend_jail(home):
    """Where Postfix is installed, its system user comes twice in the jail's files: ours counts."""
    for path in (f"{home}/jail/passwd", f"{home}/jail/group"):
        last = {}
        with open(path, encoding="ascii") as f:
            for line in f:
                last[line.split(":")[0]] = line
        with open(path, "w", encoding="ascii") as f:
            f.writelines(last.values())


def run_one(peer, name, scale):
    """One run of one peer; its result, or Broken."""
    w = WORKLOADS[name]
    count = int((w.ours if peer == OURS else w.other) * scale)
    load = os.getloadavg()[0]
    args = [os.environ["BENCH"] + "/run.sh", peer, "-w", w.preset, "-m", str(count), "-t", "180"]
    p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = p.stdout.splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise Broken(f"{peer} {name}: {p.stdout.strip()}")
    row = json.loads(lines[-1])
    row.update(workload=name, load=load, cpu_each=row["cpu_ms_msg"] / RCPTS.get(name, 1))
    row["missing"] = row["wanted"] * RCPTS.get(name, 1) - row["got_rcpts"]
    return row


def lost(row):
    """Mail that is neither at the sink nor in the queue, or came damaged."""
    return max(0, row["missing"] - max(0, row["still_queued"])) + (row["bad"] or 0)


def brief(row):
    rate = "accept_rate" if row["workload"] == "W5" else "e2e_rate"
    return f"{row['workload']:<6} {row['peer']:<9} {row[rate]:>8.0f}/s  load {row['load']:.1f}"


def run_all(rounds, names, peers, scale, out):
    rows = []
    for n in range(rounds):
        for name in names:
            for peer in peers:
                row = run_one(peer, name, scale)
                rows.append(row)
                out.write(json.dumps(row) + "\n")
                out.flush()
                say(f"{n + 1}/{rounds}  {brief(row)}")
    return rows


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


def median(rows, key):
    values = [r[key] for r in rows if isinstance(r.get(key), (int, float))]
    return statistics.median(values) if values else None


def number(x):
    if x is None:
        return "-"
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.2f}" if abs(x) >= 1 else f"{x:.3f}"


def spread(rows, key):
    values = [r[key] for r in rows if isinstance(r.get(key), (int, float))]
    if not values:
        return "-"
    return f"{number(statistics.median(values))} ({number(min(values))}-{number(max(values))})"


def ratio(ours, other, key):
    a, b = median(ours, key), median(other, key)
    return a / b if a and b else None


def wanted(target):
    if target.least is not None:
        return f">= {number(target.least)}"
    return f"<= {number(target.most)}"


def figure(target, ours, other):
    if target.key == "ratio":
        return ratio(ours, other, "e2e_rate")
    return median(ours, target.key)


HEAD = ("workload", "peer", "n", "median (range)", "target", "ratio", "CPU ms", "flushes",
        "KB written", "connections", "accept p50/p99 ms", "end to end p50/p99 ms", "missing",
        "duplicates", "load before")


def line_of(name, target, peer, rows, other):
    x = ratio(rows, other, target.key) if peer == OURS else None
    pair = lambda a, b: f"{number(median(rows, a))}/{number(median(rows, b))}"
    return (
        f"{name} {target.what}", peer, str(len(rows)), spread(rows, target.key),
        wanted(target) if peer == OURS else "", f"{x:.1f}" if x else "",
        number(median(rows, "cpu_each")), number(median(rows, "flush_msg")),
        number(median(rows, "wkb_msg")), number(median(rows, "conns")),
        pair("acc_p50_ms", "acc_p99_ms"), pair("e2e_p50_ms", "e2e_p99_ms"),
        str(sum(r["missing"] for r in rows)), str(sum(r["dup"] or 0 for r in rows)),
        spread(rows, "load"),
    )


def print_table(rows):
    """One line for each rate and peer; CPU is per recipient in W4, else per message."""
    of = lambda name, peer: [r for r in rows if r["workload"] == name and r["peer"] == peer]
    print("| " + " | ".join(HEAD) + " |")
    print("|" + "---|" * len(HEAD))
    for name, w in WORKLOADS.items():
        for target in w.targets:
            if target.key not in ("e2e_rate", "accept_rate", "restart_s", "drain_rate"):
                continue
            for peer in (OURS, OTHER):
                if of(name, peer):
                    line = line_of(name, target, peer, of(name, peer), of(name, OTHER))
                    print("| " + " | ".join(line) + " |")
    print("\nCPU: of all processes of the peer, per message; W4: per recipient. Flushes, KB: of the"
          "\nwhole disk, per message. Range: least and most of n runs. Load: of one minute.\n")
    for name, w in WORKLOADS.items():
        ours, other = of(name, OURS), of(name, OTHER)
        for target in w.targets if ours else ():
            x = figure(target, ours, other)
            if x is None:
                verdict = "not measured"
            else:
                met = x >= target.least if target.least is not None else x <= target.most
                verdict = "met" if met else "NOT MET"
            print(f"{name:<6} {target.what:<20} {number(x):>9}   {wanted(target):>10}   {verdict}")


def report(rows, head):
    for line in head:
        print(line)
    print()
    print_table(rows)
    gone = [r for r in rows if r["peer"] == OURS and lost(r)]
    for r in gone:
        print(f"MAIL LOST: {r['workload']}: {json.dumps(r)}")
    return 1 if gone else 0


def read_file(name):
    with open(name, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    return [x["head"] for x in lines if "head" in x], [r for r in lines if "peer" in r]


def measure(words):
    home = os.environ["BENCH_HOME"]
    options = {w for w in words if w.startswith("-")}
    words = [w for w in words if w not in options]
    rounds = int(words.pop(0)) if words and words[0].isdigit() else 5
    names = words or list(WORKLOADS)
    if not set(names) <= WORKLOADS.keys() or not options <= {"-o", "-q"}:
        sys.exit(__doc__)
    peers = [OURS] if "-o" in options else [OURS, OTHER]
    mend_jail(home)
    head = f"{time.strftime('%Y-%m-%d %H:%M')}: {machine(home)}"
    rows = []
    with open(time.strftime(f"{home}/table-%Y%m%d-%H%M%S.jsonl"), "w", encoding="utf-8") as out:
        out.write(json.dumps({"head": head}) + "\n")
        try:
            rows = run_all(rounds, names, peers, 0.25 if "-q" in options else 1, out)
        except Broken as why:
            say(f"the harness failed: {why}")
    return read_file(out.name), len(rows) < rounds * len(names) * len(peers)


def main():
    if sys.argv[1:2] == ["print"]:
        (head, rows), broken = read_file(sys.argv[2]), False
    else:
        (head, rows), broken = measure(sys.argv[1:])
    return report(rows, head) or int(broken)


sys.exit(main())
