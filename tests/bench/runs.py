"""runs.py - runs of one peer under one workload, for table.py.

What the harness beside the project (BENCH) can do, it does. What it lacks (TLS,
CHUNKING, a steady pace, the times of each message) is measured by the same
harness with other tools: its run.sh in a directory of its own (BENCH_HOME/relay),
where source and sink are relaybench and the peers those of tests/bench/peers.
"""

import array
import json
import os
import shutil
import statistics
import subprocess
import time

OURS, OTHER = "postrider", "postfix"
HERE = os.path.dirname(os.path.abspath(__file__))
FSYNC_BYTES = 5632  # about what one message of 5 KB adds to a log
PACED_S, FLAT_S, FLAT_STEP = 20, 180, 10


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


class Harness:
    def __init__(self, scale):
        self.bench, self.home, self.scale = os.environ["BENCH"], os.environ["BENCH_HOME"], scale
        self.desk = self.home + "/relay"
        self.rates = {}  # of W1, by peer
        mend_jail(self.home)

    def make_desk(self):
        """The directory of runs with relaybench; made anew, since what it points to may have moved."""
        shutil.rmtree(self.desk, ignore_errors=True)
        for name in ("bin", "run", "harness", "tls"):
            os.makedirs(f"{self.desk}/{name}")
        for name in ("run.sh", "lib.sh", "report.py"):
            os.symlink(f"{self.bench}/{name}", f"{self.desk}/harness/{name}")
        os.symlink(HERE + "/peers", self.desk + "/harness/peers")
        for name in ("jail", "root", "lock", "bin/dnsstub", "bin/sampler"):
            os.symlink(f"{self.home}/{name}", f"{self.desk}/{name}")
        for name in ("source", "sink"):
            path = f"{self.desk}/bin/{name}"
            with open(path, "w", encoding="ascii") as f:
                f.write(f'#!/bin/sh\nexec "$RELAYBENCH" {name} $RELAY_{name.upper()} "$@"\n')
            os.chmod(path, 0o755)
        args = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        args += ["-days", "3650", "-subj", "/CN=relay.test", "-out", self.desk + "/tls/cert.pem"]
        args += ["-keyout", self.desk + "/tls/key.pem"]
        subprocess.run(args, check=True, stderr=subprocess.DEVNULL)

    def run(self, peer, preset, count, seconds=180, home=None, **env):
        """One run of run.sh: its result, with the load before it."""
        load = os.getloadavg()[0]
        script = (home + "/harness" if home else self.bench) + "/run.sh"
        args = [script, peer, "-w", preset, "-m", str(count), "-t", str(seconds)]
        env = dict(os.environ, **env)
        if home:
            env["BENCH_HOME"] = home
        p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        lines = p.stdout.splitlines()
        if not lines or not lines[-1].startswith("{"):
            raise Broken(f"{peer} {preset}: {p.stdout.strip()}")
        row = json.loads(lines[-1])
        if not row["accepted"]:
            raise Broken(f"{peer} {preset}: nothing was accepted: {p.stdout.strip()}")
        row["load"] = load
        row["missing"] = row["wanted"] * (50 if preset == "W4" else 1) - row["got_rcpts"]
        return row

    def relay(self, peer, preset, count, source="", sink="", tls=False, seconds=180):
        """As run, with relaybench as source and sink, and what only its sink knows."""
        if not os.path.isdir(self.desk):
            self.make_desk()
        env = {"RELAY_SOURCE": source, "RELAY_SINK": sink}
        if tls:
            keys = self.desk + "/tls"
            env = {"RELAY_SOURCE": source + " -t", "RELAY_TLS": keys,
                   "RELAY_SINK": f"{sink} -C {keys}/cert.pem -K {keys}/key.pem"}
        row = self.run(peer, preset, count, seconds, self.desk, **env)
        try:
            with open(f"{self.desk}/run/{peer}/sink.json", encoding="ascii") as f:
                more = json.load(f)
        except (OSError, ValueError) as why:
            raise Broken(f"{peer} {preset}: the sink left no result: {why}") from why
        for key in ("handshakes_full", "handshakes_resumed", "chunked", "per_second"):
            row[key] = more[key]
        return row

    def count(self, n):
        return max(100, int(n * self.scale))

    def rate_of(self, peer):
        """Of W1, in this table or measured now."""
        if peer not in self.rates:
            n = self.count(40000 if peer == OURS else 10000)
            self.rates[peer] = [self.run(peer, "W1", n)["e2e_rate"]]
        return statistics.median(self.rates[peer])


# ---- workloads: of a harness and a peer, its result ----


def plain(preset, ours, other):
    def run(h, peer):
        row = h.run(peer, preset, h.count(ours if peer == OURS else other))
        if preset == "W1":
            h.rates.setdefault(peer, []).append(row["e2e_rate"])
        return row

    return run


def relayed(preset, ours, other, **how):
    return lambda h, peer: h.relay(peer, preset, h.count(ours if peer == OURS else other), **how)


def flat(h, peer):
    """W1 for three minutes, and how far the slowest ten seconds fall below the median."""
    row = h.relay(peer, "W1", int(h.rate_of(peer) * FLAT_S * h.scale), seconds=2 * FLAT_S)
    begin = next((i for i, n in enumerate(row["per_second"]) if n), 0) + 1
    steps = (len(row["per_second"]) - 1 - begin) // FLAT_STEP
    curve = [row["per_second"][begin + i * FLAT_STEP :][:FLAT_STEP] for i in range(steps)]
    row["curve"] = [sum(step) / FLAT_STEP for step in curve]
    row["slowest"] = min(row["curve"]) / statistics.median(row["curve"]) if curve else 0
    return row


def quantile(values, p):
    values = sorted(values)
    return values[min(int(len(values) * p), len(values) - 1)] if values else None


def probe_fsync(directory, rate, seconds=3):
    """p50 and p99 in ms of a write into a file of full size and its fdatasync, at that pace."""
    path, took = directory + "/fsync.probe", []
    data = os.urandom(FSYNC_BYTES)
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        for _ in range(16):
            os.write(fd, bytes(1 << 20))
        os.fsync(fd)
        begun, n = time.monotonic(), 0
        while time.monotonic() < begun + seconds:
            time.sleep(max(0, begun + n / rate - time.monotonic()))
            at = time.monotonic_ns()
            os.pwrite(fd, data, n * FSYNC_BYTES % (15 << 20))
            os.fdatasync(fd)
            took.append((time.monotonic_ns() - at) / 1e6)
            n += 1
    finally:
        os.close(fd)
        os.unlink(path)
    return quantile(took, 0.5), quantile(took, 0.99)


def times(path):
    out = array.array("q")
    with open(path, "rb") as f:
        out.frombytes(f.read())
    return out


def latency(h, peer):
    """At a fifth of W1's rate, evenly: from the last byte to the 250, from that to the peer's 250."""
    rate = max(1, int(h.rate_of(peer) / 5))
    row = {}
    row["fsync_p50_ms"], row["fsync_p99_ms"] = probe_fsync(h.home, rate)
    files = [f"{h.home}/{name}.times" for name in ("source", "sink")]
    how = {"source": f"-r {rate} -O {files[0]}", "sink": f"-O {files[1]}"}
    row.update(h.relay(peer, "W1", int(rate * PACED_S * h.scale), **how))
    source, sink = (times(f) for f in files)
    on = [(b - a) / 1e6 for a, b in zip(source[1::2], sink) if a and b]
    row["on_p50_ms"], row["on_p99_ms"] = quantile(on, 0.5), quantile(on, 0.99)
    row["rate"] = rate
    if row["acc_p99_ms"] and row["fsync_p50_ms"]:
        row["acc_fsyncs"] = row["acc_p99_ms"] / row["fsync_p50_ms"]
    return row
