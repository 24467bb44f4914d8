#!/bin/sh
# format: clang-format 14 has nothing to change. `sh tests/lint/format.sh --fix`
# lets it change the files. Other versions format differently: they skip.
set -u

fix=
if [ "${1-}" = --fix ]; then
	fix=yes
	shift
fi
top=${1:-${top_srcdir:-$(dirname "$0")/../..}}
cd "$top" || exit 99

formatter=
for candidate in clang-format-14 clang-format; do
	case $($candidate --version 2>/dev/null) in
	*"version 14."*)
		formatter=$candidate
		break
		;;
	esac
done
if [ -z "$formatter" ]; then
	echo "1..0 # SKIP clang-format 14 is not installed"
	exit 0
fi

ran=0
failed=0
for file in $(find src queue tests -name '.*' -prune -o -name '*.[ch]' -print 2>/dev/null | LC_ALL=C sort); do
	ran=$((ran + 1))
	if [ -n "$fix" ]; then
		$formatter -style=file -i "$file"
		continue
	fi
	if report=$($formatter -style=file --dry-run -Werror "$file" 2>&1); then
		echo "ok $ran - $file"
	else
		failed=$((failed + 1))
		echo "not ok $ran - $file"
		printf '%s\n' "$report" | grep error: | head -n 3 | sed 's/^/# /'
	fi
done
[ -z "$fix" ] || exit 0
if [ $ran -eq 0 ]; then
	ran=1 failed=1
	echo "not ok 1 - the tree has files to read"
fi
echo "1..$ran"
[ $failed -eq 0 ]
