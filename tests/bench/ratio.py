#!/usr/bin/env python3
"""ratio.py - reads result lines of the benchmark harness, prints per peer the
median end-to-end rate, CPU per message and loss, and Postrider's ratio to Postfix."""
import json
import statistics
import sys

rows = {}
for line in sys.stdin:
    row = json.loads(line)
    rows.setdefault(row["peer"], []).append(row)


def median(peer, key):
    values = [r[key] for r in rows[peer] if isinstance(r.get(key), (int, float))]
    return statistics.median(values) if values else float("nan")


for peer in rows:
    keys = [k for k in sorted(rows[peer][0]) if isinstance(rows[peer][0][k], (int, float))]
    print(peer, "runs", len(rows[peer]))
    for key in keys:
        print("  %-22s %s" % (key, round(median(peer, key), 3)))
RATE = "e2e_rate"
if {"postrider", "postfix"} <= rows.keys() and RATE in rows["postrider"][0]:
    print("ratio postrider/postfix, end to end: %.2f" % (median("postrider", RATE) / median("postfix", RATE)))
