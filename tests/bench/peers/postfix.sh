# shellcheck shell=bash disable=SC1091,SC2034
# peers/postfix.sh - the harness's Postfix (sourced by its run.sh), with STARTTLS
# both ways where RELAY_TLS names a directory with cert.pem and key.pem. Outgoing
# connections are reused under TLS too, which takes tlsproxy.
. "$BENCH/peers/postfix.sh"
if [ -n "${RELAY_TLS:-}" ]; then
	eval "plain_$(declare -f peer_setup)"
	PF_EXTRA="smtpd_tls_security_level = may
smtpd_tls_cert_file = $RELAY_TLS/cert.pem
smtpd_tls_key_file = $RELAY_TLS/key.pem
smtp_tls_security_level = may
smtp_tls_connection_reuse = ${RELAY_TLS_REUSE:-yes}
smtp_tls_session_cache_database = btree:/var/lib/postfix/smtp_scache"
	peer_setup() {
		plain_peer_setup
		echo "tlsproxy unix - - n - 0 tlsproxy" >> "$RUN/etc/master.cf"
	}
fi
