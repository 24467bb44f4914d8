#!/bin/sh
# quickstart.sh - Postrider at work, from nothing: installs the packages that
# are missing (as root; otherwise it prints the line to run), builds in a
# scratch directory, and runs the relay on loopback between a client and
# postrider-sandbox, which plays the internet. Needs no config and no network.
#
#     sh etc/quickstart.sh
#
# POSTRIDER_BUILD=DIR uses the programs of that build directory instead.
set -u

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL
top=$(cd "$(dirname "$0")/.." && pwd) || exit 1
. "$top/etc/packages.sh"
. "$top/etc/build.sh"

user=demo@example.com
sandbox_pid=
daemon_pid=

say() {
	printf '%s\n' "$*"
}

title() {
	printf '\n== %s\n' "$*"
}

indent() {
	sed 's/^/   /'
}

stop() {
	[ -z "$1" ] || kill "$1" 2>/dev/null || return 0
	[ -z "$1" ] || wait "$1" 2>/dev/null
}

clean_up() {
	stop "$daemon_pid"
	stop "$sandbox_pid"
	daemon_pid=
	sandbox_pid=
}

fail() {
	printf '\nThat did not work: %s\nLook at the logs in %s\n' "$*" "$dir" >&2
	exit 1
}

# await SECONDS COMMAND...: until the command succeeds.
await() {
	_tries=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		_tries=$((_tries - 1))
		[ $_tries -gt 0 ] || return 1
		sleep 0.1
	done
}

# A port nobody uses, TCP or UDP, at or after $1.
free_port() {
	_port=$1
	while grep -qi ":$(printf '%04x' "$_port") " /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 2>/dev/null; do
		_port=$((_port + 1))
	done
	echo "$_port"
}

# has_event EVENT RECIPIENT: the events file tells of it.
has_event() {
	grep -q "\"event\":\"$1\".*\"recipient\":\"$2\"" "$dir/events.jsonl"
}

show_event() {
	grep "\"event\":\"$1\".*\"recipient\":\"$2\"" "$dir/events.jsonl" | tail -n 1 |
		sed 's/.*"\(code\)":\([0-9]*\).*"response":"\([^"]*\)".*/\3/' |
		sed "s/^/   $1: $2\\n     /"
}

# received RECIPIENT: prints the file in which the sandbox got a message for him.
received() {
	grep -rlF "Delivered-To: $1" "$dir/sandbox/Maildir/new" | tail -n 1
}

is_received() {
	[ -n "$(received "$1")" ]
}

# submit RECIPIENT SUBJECT
submit() {
	printf 'From: Demo <%s>\r\nTo: <%s>\r\nSubject: %s\r\n\r\nHello from the quick start.\r\n' \
		"$user" "$1" "$2" >"$dir/message.eml"
	say "$ curl smtp://localhost:$smtp_port --ssl-reqd --user $user:... --mail-rcpt $1 ..."
	curl -sS -v --max-time 30 -K "$dir/curlrc" --ssl-reqd --cacert "$dir/relay.crt" \
		--resolve "localhost:$smtp_port:127.0.0.1" --url "smtp://localhost:$smtp_port/client.example.com" \
		--mail-from "$user" --mail-rcpt "$1" --upload-file "$dir/message.eml" \
		>>"$dir/curl.log" 2>&1 || fail "the relay did not take the message ($dir/curl.log)"
	tr -d '\r' <"$dir/curl.log" | grep '^< 250 2.0.0 queued' | tail -n 1 | sed 's/^< /   /'
}

build() {
	if [ -n "${POSTRIDER_BUILD-}" ]; then
		build_dir=$(cd "$POSTRIDER_BUILD" && pwd) || exit 1
		return
	fi
	# shellcheck disable=SC2086 # lists of words
	install_missing $BUILD_PACKAGES $RUN_PACKAGES || exit 1
	_scratch=$(scratch_dir "$top" quickstart) || exit 1
	say "Building in $_scratch"
	build_tree "$top" "$_scratch" || exit 1
	build_dir=$_scratch/build
}

configure() {
	_random=$(od -An -N2 -tu2 /dev/urandom)
	smtp_port=$(free_port $((20000 + _random % 10000)))
	mx_port=$(free_port $((smtp_port + 1)))
	dns_port=$(free_port $((mx_port + 1)))
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
		-addext subjectAltName=DNS:localhost -keyout "$dir/relay.key" -out "$dir/relay.crt" \
		>"$dir/openssl.log" 2>&1 || fail "openssl made no certificate ($dir/openssl.log)"
	_password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
	printf '%s\n' "$_password" >"$dir/password"
	printf 'user = "%s:%s"\n' "$user" "$_password" >"$dir/curlrc"
	cat >"$dir/postrider.conf" <<END
me = "relay.example.com";
spool = "$dir/spool";
user = "$(id -un)";
group = "$(id -gn)";
listen = ( { address = "127.0.0.1:$smtp_port"; tls = "starttls"; } );
tls = { certificate = "$dir/relay.crt"; key = "$dir/relay.key"; };
submission = { users_file = "$dir/users"; };
outbound = {
	port = $mx_port;                 # the sandbox's, instead of 25
	local_mx_ok = true;              # its hosts live on loopback
	temp_fail_intervals = "10m*5";   # too long to wait for here: we flush
};
dns = { servers = [ "127.0.0.1:$dns_port" ]; };
bounce = { directory = "$top/etc/bounce"; };
events = { file = "$dir/events.jsonl"; };
control = { socket = "$dir/control.sock"; };
END
}

start() {
	title "A user, the sandbox, the relay"
	say "$ postrider passwd $user"
	postrider -c "$dir/postrider.conf" passwd "$user" <"$dir/password" | indent
	[ -s "$dir/users" ] || fail "no user was made"
	say "$ postrider-sandbox --dns 127.0.0.1:$dns_port --smtp $mx_port &"
	postrider-sandbox --dns "127.0.0.1:$dns_port" --smtp "$mx_port" --dir "$dir/sandbox" --verbose \
		>"$dir/sandbox.out" 2>"$dir/sandbox.log" &
	sandbox_pid=$!
	await 10 grep -q '^ready ' "$dir/sandbox.out" || fail "the sandbox does not start"
	say "$ postriderd -c postrider.conf &"
	postriderd -c "$dir/postrider.conf" 2>"$dir/postriderd.log" &
	daemon_pid=$!
	await 10 postrider -c "$dir/postrider.conf" status || fail "postriderd does not start"
	postrider -c "$dir/postrider.conf" status | head -n 1 | indent
}

show_delivery() {
	title "A delivery"
	submit alice@example.org "A delivery"
	await 15 has_event delivered alice@example.org || fail "it was not delivered"
	await 5 is_received alice@example.org || fail "it did not arrive"
	show_event delivered alice@example.org
	say "   It arrived:"
	grep -e '^X-Sandbox:' -e '^Subject:' "$(received alice@example.org)" | tr -d '\r' | indent
}

show_deferral() {
	title "A deferral, and a flush"
	submit bob@greylist-3.example.org "A deferral"
	await 15 has_event deferred bob@greylist-3.example.org || fail "it was not deferred"
	show_event deferred bob@greylist-3.example.org
	say "$ postrider queue"
	postrider -c "$dir/postrider.conf" queue | indent
	say "   The next attempt is ten minutes off; the greylist lets it pass after three seconds."
	sleep 3.2
	say "$ postrider flush"
	postrider -c "$dir/postrider.conf" flush | indent
	await 15 has_event delivered bob@greylist-3.example.org || fail "it was not delivered after the flush"
	await 5 is_received bob@greylist-3.example.org || fail "it did not arrive"
	show_event delivered bob@greylist-3.example.org
}

# The headers that say what it is, and the part for people.
print_report() {
	tr -d '\r' <"$1" | awk '
		!body && /^(Return-Path|From|To|Subject|Content-Type):/
		/^$/ { body = 1 }
		/^--/ { part++ }
		body && part == 1 && NF && !/^(--|Content-)/' | head -n 25 | sed 's/^/   | /'
}

show_bounce() {
	title "A bounce, and its report"
	submit nobody@550-rcpt.example.org "A bounce"
	await 15 has_event bounced nobody@550-rcpt.example.org || fail "it did not bounce"
	show_event bounced nobody@550-rcpt.example.org
	await 15 is_received "$user" || fail "no report came"
	say "   The report that $user got:"
	_report=$(received "$user")
	grep -q '^Return-Path: <>' "$_report" || fail "the report has a sender"
	grep -q '^Action: failed' "$_report" || fail "the report tells of no failure"
	print_report "$_report"
}

umask 077
build
dir=$(mktemp -d "${TMPDIR:-/tmp}/postrider-quickstart.XXXXXX") || exit 1
trap clean_up EXIT
trap 'exit 130' HUP INT TERM
PATH=$build_dir/src/core:$build_dir/src/tools:$build_dir:$PATH
configure
start
show_delivery
show_deferral
show_bounce
clean_up
title "All three were seen"
say "Configuration, logs, events and what the sandbox got are in $dir"
