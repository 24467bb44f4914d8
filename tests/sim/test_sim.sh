#!/bin/sh
# The simulator in make check: SIM_SEEDS seeds keep the laws, and the checker
# notices when the daemon is sabotaged. A storm leaves other mail alone. Several
# loops run beside each other.
run=$(dirname "$0")/run
seeds=${SIM_SEEDS:-200}
breaks="sync filesync dirsync settle completion outcome twice early late body limit event lose record
	schedule leak permanent report ttl forget stale worn age idle"
n=1

result() # status, name
{
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
	fi
	n=$((n + 1))
}

out=$(mktemp)
trap 'rm -f "$out"' EXIT
set -- $breaks
echo "1..$((9 + $#))"

sh "$run" --seeds "$seeds" >"$out" 2>&1
status=$?
sed 's/^/# /' "$out"
result $status "$(tail -n 1 "$out")"

# A seed and a commit are a run.
sh "$run" --seeds 1 --from 7 --verbose >"$out" 2>&1
first=$(grep '^digest' "$out")
sh "$run" --seeds 1 --from 7 --verbose >"$out" 2>&1
[ -n "$first" ] && [ "$first" = "$(grep '^digest' "$out")" ]
result $? "a seed gives the same run again"

sh "$run" --seeds 1 --break nonsense >"$out" 2>&1
[ $? -eq 2 ]
result $? "an unknown sabotage is refused"

sh "$run" --storm >"$out" 2>&1
status=$?
sed 's/^/# /' "$out"
result $status "100,000 items fall due for a host that is down: one probe decides, nobody else waits"

# One client's burst, and others. In vain for a sender who is the same.
for how in "--fair" "--rate"; do
	sh "$run" $how >"$out" 2>&1
	status=$?
	sed 's/^/# /' "$out"
	result $status "$how: a burst of one sender is no wait for others, at its site or elsewhere"
done
sh "$run" --fair 5000 --break fair >"$out" 2>&1
[ $? -eq 1 ]
result $? "sabotage is noticed: fair"
sh "$run" --rate 5000 --break rate >"$out" 2>&1
[ $? -eq 1 ]
result $? "sabotage is noticed: rate"

# Several loops: two runs of a seed agree, two seeds don't.
sh "$run" --loops --from 1 >"$out" 2>&1
status=$?
sed 's/^/# /' "$out"
first=$(tail -n 1 "$out")
sh "$run" --loops --from 1 >"$out" 2>&1 && [ $status -eq 0 ] &&
	[ -n "$first" ] && [ "$first" = "$(tail -n 1 "$out")" ] &&
	sh "$run" --loops --from 2 >"$out" 2>&1 && [ "$first" != "$(tail -n 1 "$out")" ]
result $? "several loops take turns by chance, and the same again for a seed"

for what; do
	sh "$run" --seeds 200 --break "$what" --until-caught >"$out" 2>&1
	result $? "sabotage is noticed: $what"
done
