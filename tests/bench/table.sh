#!/bin/sh
# table.sh - the workloads of the benchmark harness that stands beside the
# project, Postrider and Postfix in turn, and one table of the medians.
#
#     sh tests/bench/table.sh [-o] [-q] [ROUNDS [WORKLOADS...]]
#
#     ROUNDS      5 unless told
#     WORKLOADS   W1 W2 W3 W4 W5 W6 unless told
#     -o          only ours
#     -q          a quarter of the messages
#
# Exit status 0 whatever the figures; 1 when mail of ours is lost or damaged or
# the harness fails. The runs are kept in BENCH_HOME (table.jsonl of the day);
# `table.py print FILE` prints their table again.
#
# Needs root (network namespaces), ../shared/bench (or BENCH), and its tools
# built once by BENCH_HOME=... ../shared/bench/setup.sh (20 s; gcc, apt-get,
# npm; installs nothing). BENCH_HOME must be on a real disk. Builds and
# installs Postrider below BENCH_HOME, unless POSTRIDER names an installed tree.
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
if [ -z "${POSTRIDER:-}" ]; then
	. "$top/etc/build.sh"
	dir=$(scratch_dir "$top" bench)
	POSTRIDER=$BENCH_HOME/postrider
	build_tree "$top" "$dir" --prefix="$POSTRIDER"
	make -s -C "$dir/build" install >/dev/null
	export POSTRIDER
fi
exec python3 "$top/tests/bench/table.py" "$@"
