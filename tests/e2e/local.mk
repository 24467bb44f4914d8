e2e_tests = \
	tests/e2e/test_check.py \
	tests/e2e/test_chunking.py \
	tests/e2e/test_config.py \
	tests/e2e/test_delivery.py \
	tests/e2e/test_dns.py \
	tests/e2e/test_durable.py \
	tests/e2e/test_kill9.py \
	tests/e2e/test_queue.py \
	tests/e2e/test_reader.py \
	tests/e2e/test_reuse.py \
	tests/e2e/test_shards_mail.py \
	tests/e2e/test_shards_queue.py \
	tests/e2e/test_shards_sites.py \
	tests/e2e/test_site.py \
	tests/e2e/test_smuggling.py \
	tests/e2e/test_snapshot.py \
	tests/e2e/test_spool.py \
	tests/e2e/test_submission.py \
	tests/e2e/test_tls.py \
	tests/e2e/test_traffic.py
TESTS += $(e2e_tests)
EXTRA_DIST += \
	$(e2e_tests) \
	tests/e2e/again.py \
	tests/e2e/calls.py \
	tests/e2e/disks.py \
	tests/e2e/harness.py \
	tests/e2e/others.py \
	tests/e2e/peer.py \
	tests/e2e/sanitize.sh \
	tests/reader/checksums.py \
	tests/reader/queue_reader.py
