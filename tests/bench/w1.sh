#!/bin/sh
# w1.sh - workload W1 (5 KB, one recipient, one destination, 20 sessions) of the
# benchmark harness that stands beside the project, Postrider and Postfix in
# turn, and the ratio of their medians. A benchmark: it judges nothing.
#
#     sh tests/bench/w1.sh [ROUNDS [MESSAGES]]
#
# Needs root (network namespaces), ../shared/bench, and its tools built once by
# ../shared/bench/setup.sh. Builds and installs Postrider below BENCH_HOME.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
bench=${BENCH:-$top/../shared/bench}
rounds=${1:-5}
messages=${2:-20000}
BENCH_HOME=${BENCH_HOME:-${TMPDIR:-/tmp}/bench-home}
export BENCH_HOME

[ -x "$bench/run.sh" ] || {
	echo "no benchmark harness at $bench (set BENCH)" >&2
	exit 1
}
[ -x "$BENCH_HOME/bin/source" ] || {
	echo "run $bench/setup.sh first" >&2
	exit 1
}

. "$top/etc/build.sh"
dir=$(scratch_dir "$top" bench)
build_tree "$top" "$dir" --prefix="$BENCH_HOME/postrider"
make -s -C "$dir/build" install >/dev/null
POSTRIDER=$BENCH_HOME/postrider
export POSTRIDER

results=$BENCH_HOME/results.jsonl
before=$(wc -l <"$results" 2>/dev/null || echo 0)
round=0
while [ "$round" -lt "$rounds" ]; do
	"$bench/run.sh" postrider -w W1 -m "$messages"
	"$bench/run.sh" postfix -w W1 -m 15000
	round=$((round + 1))
done
tail -n +$((before + 1)) "$results" | python3 "$top/tests/bench/ratio.py"
