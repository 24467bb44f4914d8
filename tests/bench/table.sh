#!/bin/sh
# table.sh - the workloads of the benchmark harness that stands beside the
# project, Postrider and Postfix in turn, and one table of the medians.
#
#     sh tests/bench/table.sh [-o] [-q] [ROUNDS [WORKLOADS...]]
#
#     ROUNDS      5 unless told
#     WORKLOADS   W1 W1TLS W2 W3 W4 W5 W6 LATENCY, and LAW1 (law1.py) and IDLE
#                 (idle.py), only ours, unless told. Others are
#                 FLAT            W1 for three minutes, only ours, once
#                 W1BDAT W2BDAT   as W1 and W2, but the sink offers CHUNKING
#     -o          only ours
#     -q          a quarter of the messages
#
# Exit status 0 whatever the figures; 1 when mail of ours is lost or damaged, a
# 250 comes before its sync (law1.py), or the harness fails. The runs are kept in
# BENCH_HOME (table-*.jsonl); `table.py print FILE` prints their table again. A
# round takes ten minutes.
#
# Needs root (network namespaces), ../shared/bench (or BENCH), and its tools
# built once by BENCH_HOME=... ../shared/bench/setup.sh (20 s; gcc, apt-get,
# npm; installs nothing). BENCH_HOME must be on a real disk. Builds and
# installs Postrider below BENCH_HOME, unless POSTRIDER names an installed tree
# and RELAYBENCH tests/bench/relaybench.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
BENCH=${BENCH:-$top/../shared/bench}
BENCH_HOME=${BENCH_HOME:-${TMPDIR:-/tmp}/bench-home}
export BENCH BENCH_HOME

[ -x "$BENCH/run.sh" ] || {
	echo "no benchmark harness at $BENCH (set BENCH)" >&2
	exit 1
}
[ -x "$BENCH_HOME/bin/source" ] || {
	echo "run BENCH_HOME=$BENCH_HOME $BENCH/setup.sh first" >&2
	exit 1
}
if [ -z "${POSTRIDER:-}" ] || [ -z "${RELAYBENCH:-}" ]; then
	. "$top/etc/build.sh"
	dir=$(scratch_dir "$top" bench)
	POSTRIDER=$BENCH_HOME/postrider
	RELAYBENCH=$dir/build/tests/bench/relaybench
	build_tree "$top" "$dir" --prefix="$POSTRIDER"
	make -s -C "$dir/build" install tests/bench/relaybench >"$dir/install.log"
	export POSTRIDER RELAYBENCH
fi
exec python3 "$top/tests/bench/table.py" "$@"
