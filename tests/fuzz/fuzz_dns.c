/*
 * DNS answers: whatever a server sends is refused or gives records that stand
 * for something, within the limits.
 *
 * The first byte picks the type that was asked for.
 */
#include "fuzz/fuzz.h"

#include <string.h>

#include "base/check.h"
#include "io/dns_walk.h"

static void check_name(const char *name)
{
	size_t n = strlen(name);

	CHECK(n < DNS_NAME_MAX);
	for (size_t i = 0; i < n; i++) {
		CHECK((unsigned char)name[i] > ' ');
		CHECK(name[i] < 'A' || name[i] > 'Z');
	}
}

static void check_answer(const struct dns_answer *a, enum dns_type type)
{
	CHECK(a->outcome != DNS_NONE);
	CHECK(a->records_n <= DNS_RECORDS_MAX);
	CHECK((a->records_n > 0) == (a->outcome == DNS_OK));
	for (size_t i = 0; i < a->records_n; i++) {
		const struct dns_record *r = &a->records[i];
		if (type == DNS_TYPE_MX) {
			check_name(r->name);
			continue;
		}
		/* An AAAA record that holds a mapped IPv4 address stands for that. */
		CHECK(r->address.family == NETADDR_V4 || type == DNS_TYPE_AAAA);
		CHECK(r->address.family != NETADDR_NONE);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const enum dns_type types[] = { DNS_TYPE_A, DNS_TYPE_MX, DNS_TYPE_AAAA };
	static struct dns_record records[DNS_RECORDS_MAX];
	struct dns_answer a;

	if (n == 0)
		return 0;
	enum dns_type type = types[data[0] % ARRAY_LEN(types)];
	memset(&a, 0, sizeof(a));
	dns_walk_answer(data + 1, n - 1, "example.com", type, records, &a);
	check_answer(&a, type);
	CHECK(dns_walk_rcode(data + 1, n - 1) >= -1);
	for (size_t start = 0; start < n; start++) {
		size_t at = start;
		char name[DNS_NAME_MAX];
		if (dns_walk_name(data, n, &at, name) == 0) {
			CHECK(at > start);
			CHECK(at <= n);
			check_name(name);
		}
	}
	return 0;
}
