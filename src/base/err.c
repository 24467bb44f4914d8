#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int err;
	const char *name;
	const char *text;
} own[] = {
	{ ERR_TOO_BIG, "ERR_TOO_BIG", "limit reached" },
	{ ERR_SYNTAX, "ERR_SYNTAX", "syntax error" },
	{ ERR_CORRUPT, "ERR_CORRUPT", "stored data is damaged" },
	{ ERR_VERSION, "ERR_VERSION", "stored data is of an unknown version" },
	{ ERR_RANGE, "ERR_RANGE", "number out of range" },
	{ ERR_NOT_FOUND, "ERR_NOT_FOUND", "not found" },
	{ ERR_CLOSED, "ERR_CLOSED", "connection closed by peer" },
	{ ERR_TIMEOUT, "ERR_TIMEOUT", "timed out" },
	{ ERR_TLS, "ERR_TLS", "TLS failure" },
	{ ERR_PROTOCOL, "ERR_PROTOCOL", "protocol violated by peer" },
	{ ERR_REFUSED, "ERR_REFUSED", "refused" },
	{ ERR_BUSY, "ERR_BUSY", "busy" },
};

const char *err_name(int err)
{
	const char *name = NULL;
	if (err == ERR_OK)
		return "ERR_OK";
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (own[i].err == err)
			return own[i].name;
	if (err < 0 && err > ERR_OWN)
		name = strerrorname_np(-err);
	return name ? name : "ERR_UNKNOWN";
}

const char *err_text(int err)
{
	const char *text = NULL;
	if (err == ERR_OK)
		return "success";
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (own[i].err == err)
			return own[i].text;
	if (err < 0 && err > ERR_OWN)
		text = strerrordesc_np(-err);
	return text ? text : "unknown error";
}

int errbuf_set(struct errbuf *eb, int err, const char *fmt, ...)
{
	if (eb) {
		va_list ap;
		va_start(ap, fmt);
		if (vsnprintf(eb->text, sizeof(eb->text), fmt, ap) < 0)
			eb->text[0] = '\0';
		va_end(ap);
	}
	return err;
}
