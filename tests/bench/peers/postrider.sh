# shellcheck shell=bash disable=SC1091,SC2034
# peers/postrider.sh - the harness's Postrider (sourced by its run.sh), with
# STARTTLS both ways where RELAY_TLS names a directory with cert.pem and key.pem.
. "$BENCH/peers/postrider.sh"
if [ -n "${RELAY_TLS:-}" ]; then
	eval "plain_$(declare -f peer_setup)"
	POSTRIDER_EXTRA="tls = { certificate = \"$RELAY_TLS/cert.pem\"; key = \"$RELAY_TLS/key.pem\"; };"
	peer_setup() {
		plain_peer_setup
		sed -i 's/tls = "none"/tls = "starttls"/' "$RUN/conf"
	}
fi
