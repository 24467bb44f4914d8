/*
 * The small text parsers of base: addresses, units, codecs, UTF-8, JSON lines.
 */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/netaddr.h"
#include "base/units.h"
#include "base/utf8.h"

static void try_netaddr(struct slice in)
{
	struct netaddr a;
	struct netaddr again;
	struct netaddr_net net;
	char text[NETADDR_TEXT_MAX];

	if (netaddr_parse(in, 25, &a) == 0) {
		CHECK(netaddr_parse(slice_str(netaddr_format(&a, text)), 0, &again) == 0);
		CHECK(netaddr_eq_ip(&a, &again));
		CHECK(a.port == again.port);
	}
	if (netaddr_parse_ip(in, &a) == 0) {
		CHECK(netaddr_parse_ip(slice_str(netaddr_format_ip(&a, text)), &again) == 0);
		CHECK(netaddr_eq_ip(&a, &again));
	}
	if (netaddr_parse_net(in, &net) == 0)
		CHECK(netaddr_in_net(&net.base, &net));
}

static void try_units(struct slice in)
{
	int64_t seconds;
	uint64_t count;
	char text[UNITS_TEXT_MAX];

	if (units_duration(in, &seconds) == 0) {
		CHECK(seconds >= 0);
		CHECK(strlen(units_format_duration(seconds, text)) < UNITS_TEXT_MAX);
	}
	if (units_rate(in, &count, &seconds) == 0)
		CHECK(seconds > 0);
	CHECK(units_size(in, &count) <= 0);
}

static void try_codecs(struct slice in)
{
	struct buf coded;
	struct buf plain;

	buf_init(&coded, 4 * in.n + 4);
	buf_init(&plain, 4 * in.n + 4);
	/* What decodes has exactly one encoding. */
	if (codec_base64_decode(&plain, in) == 0) {
		CHECK(codec_base64_encode(&coded, buf_slice(&plain)) == 0);
		CHECK(slice_eq(buf_slice(&coded), in));
	}
	buf_clear(&coded);
	buf_clear(&plain);
	/* Anything can be encoded, and comes back. */
	CHECK(codec_xtext_encode(&coded, in) == 0);
	CHECK(codec_xtext_decode(&plain, buf_slice(&coded)) == 0);
	CHECK(slice_eq(buf_slice(&plain), in));
	buf_clear(&plain);
	if (codec_xtext_decode(&plain, in) == 0)
		CHECK(buf_len(&plain) <= in.n);
	CHECK(codec_crc32c(0, in.p, in.n) == codec_crc32c_portable(0, in.p, in.n));
	buf_fini(&coded);
	buf_fini(&plain);
}

static void try_json(struct slice in)
{
	struct json j;
	struct buf out;

	buf_init(&out, 6 * in.n + 64);
	json_begin(&j, &out);
	json_open(&j, NULL);
	json_str(&j, "k", in);
	json_close(&j);
	CHECK(json_end(&j) == 0);
	CHECK(utf8_is_valid(buf_slice(&out)));
	for (size_t i = 0; i + 1 < buf_len(&out); i++)
		CHECK((unsigned char)buf_ptr(&out)[i] >= 0x20);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_of((const char *)data, n);

	try_netaddr(in);
	try_units(in);
	try_codecs(in);
	try_json(in);
	return 0;
}
