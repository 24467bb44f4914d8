#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static void put(struct json *j, const char *p, size_t n)
{
	if (j->err == 0)
		j->err = buf_add(j->out, p, n);
}

static void put_str(struct json *j, const char *s)
{
	put(j, s, strlen(s));
}

/* C0, DEL, C1: a terminal may obey any of them. */
static bool is_control(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0);
}

/* Printable ASCII but for the quote and the backslash: copied in runs, found by one load a byte. */
static const bool is_plain[256] = {
	[' ' ... '"' - 1] = true,
	['"' + 1 ... '\\' - 1] = true,
	['\\' + 1 ... '~'] = true,
};

/* One character that may need more than copying; returns the bytes used. */
static size_t put_char(struct json *j, struct slice s)
{
	uint32_t cp = 0;
	int n = utf8_decode(s, &cp);
	if (n < 0) {
		put_str(j, "\xef\xbf\xbd"); /* U+FFFD */
		return (size_t)-n;
	}
	if (cp == '"' || cp == '\\') {
		put(j, "\\", 1);
		put(j, s.p, 1);
	} else if (is_control(cp)) {
		char text[8];
		int len = snprintf(text, sizeof(text), "\\u00%02x", (unsigned)cp & 0xff);
		put(j, text, (size_t)len);
	} else {
		put(j, s.p, (size_t)n);
	}
	return (size_t)n;
}

static void put_text(struct json *j, struct slice s)
{
	put(j, "\"", 1);
	while (s.n && j->err == 0) {
		size_t run = 0;
		while (run < s.n && is_plain[(unsigned char)s.p[run]])
			run++;
		put(j, s.p, run);
		s = slice_from(s, run);
		if (s.n)
			s = slice_from(s, put_char(j, s));
	}
	put(j, "\"", 1);
}

/* What stands before a value: a comma if it is not the first, and its key. */
static void put_key(struct json *j, const char *key)
{
	if (j->comma)
		put(j, ",", 1);
	j->comma = true;
	if (key) {
		put_text(j, slice_str(key));
		put(j, ":", 1);
	}
}

void json_begin(struct json *j, struct buf *out)
{
	*j = (struct json){ .out = out };
}

int json_end(struct json *j)
{
	return j->err;
}

void json_open(struct json *j, const char *key)
{
	put_key(j, key);
	put(j, "{", 1);
	j->comma = false;
}

void json_close(struct json *j)
{
	put(j, "}", 1);
	j->comma = true;
}

void json_open_array(struct json *j, const char *key)
{
	put_key(j, key);
	put(j, "[", 1);
	j->comma = false;
}

void json_close_array(struct json *j)
{
	put(j, "]", 1);
	j->comma = true;
}

void json_str(struct json *j, const char *key, struct slice v)
{
	put_key(j, key);
	put_text(j, v);
}

void json_cstr(struct json *j, const char *key, const char *v)
{
	if (v)
		json_str(j, key, slice_str(v));
}

void json_int(struct json *j, const char *key, int64_t v)
{
	char text[24], *p = text + sizeof(text);
	uint64_t rest = v < 0 ? -(uint64_t)v : (uint64_t)v;
	do { /* by hand: there are several in every event */
		*--p = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	if (v < 0)
		*--p = '-';
	put_key(j, key);
	put(j, p, (size_t)(text + sizeof(text) - p));
}

void json_num(struct json *j, const char *key, double v)
{
	char text[40];
	put_key(j, key);
	/* By integers: printf's decimal point depends on the locale. Beyond 2^53 / 1000 there are
	 * no thousandths left. */
	bool is_negative = v < 0;
	double size = is_negative ? -v : v;
	if (!(size < 9e12)) {
		int n = size <= 1e18 ? snprintf(text, sizeof(text), "%.0f", v)
				     : snprintf(text, sizeof(text), "null");
		put(j, text, (size_t)n);
		return;
	}
	int64_t thousandths = (int64_t)(size * 1000 + 0.5);
	int n = snprintf(text, sizeof(text), "%s%" PRId64 ".%03d",
	    is_negative && thousandths ? "-" : "", thousandths / 1000, (int)(thousandths % 1000));
	while (text[n - 1] == '0')
		n--;
	if (text[n - 1] == '.')
		n--;
	put(j, text, (size_t)n);
}

void json_bool(struct json *j, const char *key, bool v)
{
	put_key(j, key);
	put_str(j, v ? "true" : "false");
}
