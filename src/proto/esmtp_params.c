#include "proto/esmtp_params.h"

#include "base/buf.h"
#include "base/codec.h"
#include "base/utf8.h"
#include "proto/path.h"

enum {
	SIZE_DIGITS_MAX = 20, /* RFC 1870 4 */
	XTEXT_MAX = 1024,     /* of any parameter that is decoded to look at it */
};

enum param {
	PARAM_NONE = 0, /* unknown here */
	PARAM_AUTH,
	PARAM_BODY,
	PARAM_ENVID,
	PARAM_NOTIFY,
	PARAM_ORCPT,
	PARAM_RET,
	PARAM_SIZE,
	PARAM_SMTPUTF8,
};

struct param_name {
	struct slice name;
	enum param param;
};

static const struct param_name MAIL_PARAMS[] = {
	{ { "SIZE", 4 }, PARAM_SIZE },
	{ { "BODY", 4 }, PARAM_BODY },
	{ { "SMTPUTF8", 8 }, PARAM_SMTPUTF8 },
	{ { "AUTH", 4 }, PARAM_AUTH },
	{ { "RET", 3 }, PARAM_RET },
	{ { "ENVID", 5 }, PARAM_ENVID },
};

static const struct param_name RCPT_PARAMS[] = {
	{ { "NOTIFY", 6 }, PARAM_NOTIFY },
	{ { "ORCPT", 5 }, PARAM_ORCPT },
};

static bool fail(struct esmtp_fault *fault, int code, const char *text)
{
	*fault = (struct esmtp_fault){ code, "5.5.4", text };
	return false;
}

static enum param find_param(const struct param_name *names, size_t n, struct slice key)
{
	for (size_t i = 0; i < n; i++)
		if (slice_eq_nocase(key, names[i].name))
			return names[i].param;
	return PARAM_NONE;
}

struct one { /* parameter of a list */
	enum param param;
	struct slice value;
	bool has_value;
};

/* The next of the blank-separated parameters; false at the end. */
static bool next_param(struct slice *rest, const struct param_name *names, size_t n,
    struct one *one)
{
	struct slice word;
	do {
		if (!slice_split(rest, ' ', &word))
			return false;
	} while (word.n == 0);
	ptrdiff_t eq = slice_find(word, '=');
	one->has_value = eq >= 0;
	one->value = eq < 0 ? SLICE_NONE : slice_from(word, (size_t)eq + 1);
	one->param = find_param(names, n, eq < 0 ? word : slice_of(word.p, (size_t)eq));
	return true;
}

/* What is wrong with a parameter before its value is looked at; sets its bit in *seen. */
static bool check_one(const struct one *one, bool extended, unsigned *seen,
    struct esmtp_fault *fault)
{
	unsigned bit = 1U << one->param;
	if (!extended)
		return fail(fault, 555, "Parameters need EHLO");
	if (one->param == PARAM_NONE)
		return fail(fault, 555, "Unsupported parameter");
	if (*seen & bit)
		return fail(fault, 501, "Parameter given twice");
	*seen |= bit;
	if (one->has_value == (one->param == PARAM_SMTPUTF8) || (one->has_value && !one->value.n))
		return fail(fault, 501, "Bad parameter value");
	return true;
}

static bool parse_size(struct slice v, struct esmtp_mail *m, struct esmtp_fault *fault)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] < '0' || v.p[i] > '9')
			return fail(fault, 501, "Bad SIZE");
	if (v.n > SIZE_DIGITS_MAX)
		return fail(fault, 501, "Bad SIZE");
	if (!slice_to_u64(v, &m->size))
		m->size = UINT64_MAX;
	return true;
}

static bool parse_body(struct slice v, struct esmtp_mail *m, struct esmtp_fault *fault)
{
	if (slice_eq_nocase(v, SLICE("BINARYMIME")))
		return fail(fault, 555, "BODY=BINARYMIME is not supported");
	m->body_8bitmime = slice_eq_nocase(v, SLICE("8BITMIME"));
	if (!m->body_8bitmime && !slice_eq_nocase(v, SLICE("7BIT")))
		return fail(fault, 501, "Bad BODY");
	return true;
}

static bool parse_ret(struct slice v, struct esmtp_mail *m, struct esmtp_fault *fault)
{
	if (slice_eq_nocase(v, SLICE("FULL")))
		m->ret = 1;
	else if (slice_eq_nocase(v, SLICE("HDRS")))
		m->ret = 2;
	else
		return fail(fault, 501, "Bad RET");
	return true;
}

/* xtext of printable ASCII (RFC 3461 4.2, 4.4): no control character hides in it. */
static bool is_printable_xtext(struct slice v)
{
	struct buf plain;
	buf_init(&plain, XTEXT_MAX);
	bool ok = codec_xtext_decode(&plain, v) == 0;
	struct slice s = buf_slice(&plain);
	for (size_t i = 0; ok && i < s.n; i++)
		ok = s.p[i] >= ' ' && s.p[i] <= '~';
	buf_fini(&plain);
	return ok;
}

static bool parse_envid(struct slice v, struct esmtp_mail *m, struct esmtp_fault *fault)
{
	if (v.n > ESMTP_ENVID_MAX || !is_printable_xtext(v))
		return fail(fault, 501, "Bad ENVID");
	m->envid = v;
	return true;
}

/* RFC 4954 5: "<>" or a mailbox in xtext. Looked at, then forgotten: nobody here is trusted
 * to speak for others. */
static bool check_auth(struct slice v, struct esmtp_fault *fault)
{
	if (slice_eq(v, SLICE("<>")))
		return true;
	struct buf plain;
	struct path p;
	buf_init(&plain, XTEXT_MAX);
	bool ok = codec_xtext_decode(&plain, v) == 0 &&
		  path_parse_address(buf_slice(&plain), &p, NULL) == 0;
	buf_fini(&plain);
	return ok || fail(fault, 501, "Bad AUTH");
}

static bool parse_mail_value(const struct one *one, struct esmtp_mail *m, struct esmtp_fault *fault)
{
	switch (one->param) {
	case PARAM_SIZE:
		return parse_size(one->value, m, fault);
	case PARAM_BODY:
		return parse_body(one->value, m, fault);
	case PARAM_RET:
		return parse_ret(one->value, m, fault);
	case PARAM_ENVID:
		return parse_envid(one->value, m, fault);
	case PARAM_AUTH:
		return check_auth(one->value, fault);
	case PARAM_SMTPUTF8:
		m->smtputf8 = true;
		return true;
	case PARAM_NONE:
	case PARAM_NOTIFY:
	case PARAM_ORCPT:
	default:
		return fail(fault, 555, "Unsupported parameter");
	}
}

bool esmtp_parse_mail(struct slice text, bool extended, struct esmtp_mail *m,
    struct esmtp_fault *fault)
{
	*m = (struct esmtp_mail){ .size = 0 };
	if (text.n && text.p[0] != ' ')
		return fail(fault, 501, "Something follows the address");
	unsigned seen = 0;
	struct one one;
	while (next_param(&text, MAIL_PARAMS, ARRAY_LEN(MAIL_PARAMS), &one))
		if (!check_one(&one, extended, &seen, fault) || !parse_mail_value(&one, m, fault))
			return false;
	return true;
}

static bool parse_notify(struct slice v, struct esmtp_rcpt *r, struct esmtp_fault *fault)
{
	struct slice word;
	while (slice_split(&v, ',', &word)) {
		if (slice_eq_nocase(word, SLICE("NEVER")))
			r->notify |= ESMTP_NOTIFY_NEVER;
		else if (slice_eq_nocase(word, SLICE("SUCCESS")))
			r->notify |= ESMTP_NOTIFY_SUCCESS;
		else if (slice_eq_nocase(word, SLICE("FAILURE")))
			r->notify |= ESMTP_NOTIFY_FAILURE;
		else if (slice_eq_nocase(word, SLICE("DELAY")))
			r->notify |= ESMTP_NOTIFY_DELAY;
		else
			return fail(fault, 501, "Bad NOTIFY");
	}
	if ((r->notify & ESMTP_NOTIFY_NEVER) && r->notify != ESMTP_NOTIFY_NEVER)
		return fail(fault, 501, "NOTIFY=NEVER stands alone");
	return true;
}

/* RFC 6533 3: UTF-8 as it is where the transaction allows it, or escaped as \x{...}. */
static bool is_utf8_addr(struct slice v, bool smtputf8)
{
	for (size_t i = 0; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];
		if (c <= ' ' || c == '+' || c == '=' || c == 0x7f || (c > 127 && !smtputf8))
			return false;
	}
	return utf8_is_valid(v);
}

static bool is_addr_type(struct slice t)
{
	for (size_t i = 0; i < t.n; i++) {
		char c = t.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			c == '-'))
			return false;
	}
	return t.n > 0;
}

static bool is_orcpt(struct slice v, bool smtputf8)
{
	ptrdiff_t semicolon = slice_find(v, ';');
	if (semicolon <= 0 || v.n > ESMTP_ORCPT_MAX)
		return false;
	struct slice type = slice_of(v.p, (size_t)semicolon);
	struct slice address = slice_from(v, (size_t)semicolon + 1);
	if (!is_addr_type(type) || address.n == 0)
		return false;
	if (slice_eq_nocase(type, SLICE("utf-8")))
		return is_utf8_addr(address, smtputf8);
	return is_printable_xtext(address);
}

bool esmtp_parse_rcpt(struct slice text, bool extended, bool smtputf8, struct esmtp_rcpt *r,
    struct esmtp_fault *fault)
{
	*r = (struct esmtp_rcpt){ .notify = 0 };
	if (text.n && text.p[0] != ' ')
		return fail(fault, 501, "Something follows the address");
	unsigned seen = 0;
	struct one one;
	while (next_param(&text, RCPT_PARAMS, ARRAY_LEN(RCPT_PARAMS), &one)) {
		if (!check_one(&one, extended, &seen, fault))
			return false;
		if (one.param == PARAM_NOTIFY && !parse_notify(one.value, r, fault))
			return false;
		if (one.param == PARAM_ORCPT && !is_orcpt(one.value, smtputf8))
			return fail(fault, 501, "Bad ORCPT");
		if (one.param == PARAM_ORCPT)
			r->orcpt = one.value;
	}
	return true;
}
