# packages.sh - the one list of Debian packages this tree needs, and how to
# get them. Sourced by tests/run.sh and etc/quickstart.sh; POSIX sh.
# shellcheck disable=SC2034 # the lists are for those who source this

# To configure and compile ("check" is the unit-test library).
BUILD_PACKAGES="gcc libc6-dev make autoconf automake pkg-config libevent-dev libssl-dev libc-ares-dev \
libconfig-dev libgsasl-dev libidn2-dev libjansson-dev libcrypt-dev check"

# To run the quick start.
RUN_PACKAGES="curl openssl"

# To run "make check": other people's senders, receivers, DNS server and tools.
TEST_PACKAGES="python3 openssl swaks libnet-ssleay-perl curl msmtp knot postfix strace procps iproute2 \
mount e2fsprogs xfsprogs"

# Prints those of its arguments that are not installed.
missing_packages() {
	_missing=
	for _package in "$@"; do
		case $(dpkg-query -W -f='${db:Status-Status}' "$_package" 2>/dev/null) in
		installed) ;;
		*) _missing="$_missing $_package" ;;
		esac
	done
	echo "${_missing# }"
}

have_package_lists() {
	for _list in /var/lib/apt/lists/*_Packages*; do
		[ -e "$_list" ] && return 0
	done
	return 1
}

# Installs what is missing of its arguments, if we are root; else prints the
# line to run and returns 1. No questions are asked, no service is started.
install_missing() {
	if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
		echo "This is no Debian system: going on with what is installed. Needed are: $*" >&2
		return 0
	fi
	_wanted=$(missing_packages "$@")
	[ -n "$_wanted" ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		{
			echo "Packages are missing. As root, run this line:"
			echo
			echo "    apt-get update && apt-get install -y --no-install-recommends $_wanted"
			echo
		} >&2
		return 1
	fi
	echo "Installing: $_wanted" >&2
	have_package_lists || apt-get update -qq >&2 || return 1
	_apt_install "$_wanted" || { apt-get update -qq >&2 && _apt_install "$_wanted"; } || {
		echo "apt-get could not install: $(missing_packages "$@")" >&2
		return 1
	}
}

# In a subshell, so that the trap and the variables are its own.
_apt_install() (
	# Debian's packages start their daemons; this hook of invoke-rc.d says no.
	_policy=/usr/sbin/policy-rc.d
	_log=$(mktemp) || return 1
	trap 'rm -f "$_log"' EXIT
	trap 'exit 130' HUP INT TERM
	if [ ! -e $_policy ]; then
		trap 'rm -f "$_log" $_policy' EXIT
		printf '#!/bin/sh\nexit 101\n' >$_policy && chmod 755 $_policy
	fi
	# Tests bring their own Postfix configuration: the machine gets none, so it never listens.
	case " $1 " in
	*" postfix "*)
		echo "postfix postfix/main_mailer_type select No configuration" |
			debconf-set-selections 2>/dev/null || true
		;;
	esac
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C \
		apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends $1 \
		>"$_log" 2>&1 </dev/null && return
	tail -n 20 "$_log" >&2
	return 1
)
