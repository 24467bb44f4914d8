/*
 * Addresses and domains as a client may write them, and the parameters behind
 * them.
 */
#include "fuzz/fuzz.h"

#include "base/check.h"
#include "proto/esmtp_params.h"
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

/* What is handed on is printable and within its limits, or UTF-8 where that was agreed on. */
static void try_params(struct slice in)
{
	struct esmtp_mail m;
	struct esmtp_rcpt r;
	struct esmtp_fault fault = { .code = 0 };

	if (esmtp_parse_mail(in, true, &m, &fault)) {
		CHECK(m.envid.n <= ESMTP_ENVID_MAX);
		for (size_t i = 0; i < m.envid.n; i++)
			CHECK(m.envid.p[i] > ' ' && m.envid.p[i] < 0x7f);
	} else {
		CHECK(fault.code == 501 || fault.code == 555);
	}
	for (int utf8 = 0; utf8 < 2; utf8++) {
		if (!esmtp_parse_rcpt(in, true, utf8, &r, &fault))
			continue;
		CHECK(r.orcpt.n <= ESMTP_ORCPT_MAX);
		for (size_t i = 0; i < r.orcpt.n; i++) {
			unsigned char c = (unsigned char)r.orcpt.p[i];
			CHECK(c > ' ' && c != 0x7f && (utf8 || c < 0x80));
		}
	}
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
		try_params(rest);
	}
	if (path_parse_address(in, &p, &eb) == 0) {
		check_parts(in, &p);
		try_domain(p.domain);
	}
	try_domain(in);
	try_params(in);
	return 0;
}
