#!/bin/sh
# sanitize.sh - the end-to-end tests against a daemon built with ASan and UBSan,
# then against one built with TSan. A long run: not part of make check.
#
#     sh tests/e2e/sanitize.sh [address,undefined] [thread]
#
# Builds out of tree in a scratch directory. The harness fails a test whose
# daemon wrote a sanitizer's report or left memory behind.
set -u

top=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
. "$top/etc/packages.sh"
. "$top/etc/build.sh"
# shellcheck disable=SC2086 # lists of words
install_missing $BUILD_PACKAGES $TEST_PACKAGES || exit 1
[ $# -gt 0 ] || set -- address,undefined thread

status=0
for kind in "$@"; do
	dir=$(scratch_dir "$top" "sanitize-$kind") || exit 1
	echo "== $kind, in $dir"
	build_tree "$top" "$dir" --enable-werror "--enable-sanitize=$kind" || exit 1
	top_srcdir=$dir/source
	top_builddir=$dir/build
	E2E_SLOW=${E2E_SLOW-3}
	PYTHONDONTWRITEBYTECODE=1
	LSAN_OPTIONS=suppressions=$top/tests/lsan.supp:print_suppressions=0
	UBSAN_OPTIONS=print_stacktrace=1
	TSAN_OPTIONS=second_deadlock_stack=1:suppressions=$top/tests/tsan.supp
	export top_srcdir top_builddir E2E_SLOW PYTHONDONTWRITEBYTECODE LSAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS
	for test in "$dir"/source/tests/e2e/test_*.py; do
		log=$dir/$(basename "$test" .py).log
		echo "-- $(basename "$test")"
		if python3 "$test" >"$log" 2>&1; then
			grep -c '^ok' "$log" | sed 's/$/ passed/'
		else
			status=1
			grep '^not ok' "$log"
			echo "the whole log: $log"
		fi
	done
done
[ $status -eq 0 ] && echo "No leaks, no races, no undefined behaviour was reported."
exit $status
