#!/bin/sh
# run.sh - all tests, from nothing: installs the packages that are missing (as
# root; otherwise it prints the line to run), builds in a scratch directory,
# runs make check, and ends with a line "N passed, N failed, N skipped".
#
#     sh tests/run.sh [CONFIGURE ARGUMENTS]
#
# for instance  sh tests/run.sh --enable-sanitize  or  CC=clang sh tests/run.sh
set -u

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL
umask 022
top=$(cd "$(dirname "$0")/.." && pwd) || exit 1
. "$top/etc/packages.sh"
. "$top/etc/build.sh"

# shellcheck disable=SC2086 # lists of words
install_missing $BUILD_PACKAGES $TEST_PACKAGES || exit 1

dir=$(scratch_dir "$top" "${CC-}" "$@") || exit 1
echo "Building in $dir"
build_tree "$top" "$dir" --enable-werror "$@" || {
	echo "0 passed, 1 failed"
	exit 1
}

cd "$dir/build" || exit 1
find . -name '*.trs' -exec rm -f {} +
make -k -j2 check
status=$?

if [ $status -ne 0 ]; then
	echo
	echo "What failed (the whole logs are below $dir/build/tests):"
	find . -name '*.log' ! -name test-suite.log -exec grep -h -A 8 '^not ok\|^Bail out' {} + 2>/dev/null | head -n 150
	echo
fi

# Every line of every test counts, as the TAP driver saw it.
find . -name '*.trs' -exec cat {} + | awk -v status=$status '
	/^:test-result: (PASS|XFAIL)/ { passed++ }
	/^:test-result: (FAIL|XPASS|ERROR)/ { failed++ }
	/^:test-result: SKIP/ { skipped++ }
	END {
		if (status != 0 && !failed)
			failed = 1
		printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
	}'
exit $status
