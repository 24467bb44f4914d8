/*
 * Addresses and domains as a client may write them.
 */
#include "fuzz/fuzz.h"

#include "base/check.h"
#include "proto/path.h"

static void check_parts(struct slice in, const struct path *p)
{
	if (p->is_null)
		return;
	CHECK(p->address.p >= in.p && p->address.p + p->address.n <= in.p + in.n);
	CHECK(p->local.n > 0 && p->local.n <= PATH_LOCAL_MAX);
	CHECK(p->domain.n <= PATH_DOMAIN_MAX);
	for (size_t i = 0; i < p->address.n; i++)
		CHECK((unsigned char)p->address.p[i] >= 0x20 && p->address.p[i] != 0x7f);
}

static void try_domain(struct slice in)
{
	struct buf ascii;
	struct buf again;

	buf_init(&ascii, 1024);
	buf_init(&again, 1024);
	if (path_domain_to_ascii(in, &ascii) == 0) {
		/* What is in the queue stays as it is. */
		CHECK(path_domain_to_ascii(buf_slice(&ascii), &again) == 0);
		CHECK(slice_eq(buf_slice(&ascii), buf_slice(&again)));
	}
	buf_fini(&ascii);
	buf_fini(&again);
	(void)path_is_domain(in);
	(void)path_is_literal(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_of((const char *)data, n);
	struct path p;
	struct slice rest;
	struct errbuf eb;

	if (path_parse(in, true, true, &p, &rest, &eb) == 0) {
		check_parts(in, &p);
		CHECK(rest.n < in.n);
	}
	if (path_parse_address(in, &p, &eb) == 0) {
		check_parts(in, &p);
		try_domain(p.domain);
	}
	try_domain(in);
	return 0;
}
