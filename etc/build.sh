# build.sh - builds the tree it lies in, leaving no trace there: the source is
# copied to a scratch directory, where autoreconf may write. Sourced by
# tests/run.sh and etc/quickstart.sh; POSIX sh.

# scratch_dir TOP [WORDS]: prints the name of the directory for this user,
# tree and WORDS (say, the configure arguments), and makes it. A second build
# with the same words compiles only what changed.
scratch_dir() {
	_uid=$(id -u)
	_dir=${TMPDIR:-/tmp}/postrider-build.$_uid.$(printf '%s\n' "$@" | cksum | tr ' ' -)
	[ -d "$_dir" ] || mkdir -m 700 "$_dir" || return 1
	# In a shared /tmp somebody else could have been first.
	if [ -z "$(find "$_dir" -prune -type d -user "$_uid")" ]; then
		echo "$_dir belongs to somebody else" >&2
		return 1
	fi
	echo "$_dir"
}

# build_tree TOP DIR [CONFIGURE ARGUMENTS]: compiles TOP; the result is in
# DIR/build, the copied source in DIR/source. Says what it does on stderr, and
# shows DIR/build.log only when something fails.
build_tree() (
	_top=$1 _dir=$2
	shift 2
	mkdir -p "$_dir/build" || exit 1
	_log=$_dir/build.log
	: >"$_log" || exit 1
	step() {
		echo "  $1" >&2
		shift
		"$@" >>"$_log" 2>&1 && return
		tail -n 60 "$_log" >&2
		echo "Failed; all of it is in $_log" >&2
		exit 1
	}
	rm -rf "$_dir/source" && mkdir "$_dir/source" || exit 1
	# File times are kept, so that make sees what changed.
	(cd "$_top" && tar -cf - --exclude=./.git --exclude='./build*' --exclude=./Makefile \
		--exclude=./config.status --exclude='*.o' --exclude='*.a' --exclude=.deps .) |
		tar -xf - --no-same-owner -C "$_dir/source" || exit 1
	step "autoreconf" autoreconf -fi "$_dir/source"
	cd "$_dir/build" || exit 1
	step "configure $*" ../source/configure "$@"
	step "make" make -j"$(nproc 2>/dev/null || echo 2)"
)
