/*
 * conf_report.c - the mistakes of a file, collected and told in the order of its lines.
 *
 * Checks run in an order of their own (types, then texts, then files); who
 * mends the file goes through it from the top.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "conf/conf_int.h"

struct conf_report {
	char *file;
	unsigned line;
	unsigned number; /* in the order they were found */
	bool is_warning;
	char *text;
};

static void report(struct conf_loader *l, bool is_warning, struct conf_place at, const char *fmt,
    va_list ap) __attribute__((format(printf, 4, 0)));

static void report(struct conf_loader *l, bool is_warning, struct conf_place at, const char *fmt,
    va_list ap)
{
	char text[2048];
	vsnprintf(text, sizeof(text), fmt, ap);
	/* One line each, whatever was in the file. */
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = '?';
	size_t room = l->reports_n;
	if ((room & (room - 1)) == 0) /* full at each power of two */
		l->reports =
		    mem_realloc(l->reports, MAX(2 * room, (size_t)1) * sizeof(*l->reports));
	l->reports[l->reports_n] = (struct conf_report){
		.file = mem_strdup(at.file),
		.line = at.line,
		.number = (unsigned)l->reports_n,
		.is_warning = is_warning,
		.text = mem_strdup(text),
	};
	l->reports_n++;
}

void conf_mistake(struct conf_loader *l, struct conf_place at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	report(l, false, at, fmt, ap);
	va_end(ap);
	l->mistakes++;
}

void conf_warning(struct conf_loader *l, struct conf_place at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	report(l, true, at, fmt, ap);
	va_end(ap);
}

static int by_place(const void *a, const void *b)
{
	const struct conf_report *x = a;
	const struct conf_report *y = b;
	int order = strcmp(x->file, y->file);
	if (order == 0)
		order = (x->line > y->line) - (x->line < y->line);
	return order ? order : (x->number > y->number) - (x->number < y->number);
}

void conf_report_all(struct conf_loader *l)
{
	if (l->reports_n > 0)
		qsort(l->reports, l->reports_n, sizeof(*l->reports), by_place);
	for (size_t i = 0; i < l->reports_n; i++) {
		struct conf_report *r = &l->reports[i];
		fprintf(l->errors, "%s%s:%u: %s\n", r->is_warning ? "warning: " : "", r->file,
		    r->line, r->text);
		mem_free(r->file);
		mem_free(r->text);
	}
	mem_free(l->reports);
	l->reports = NULL;
	l->reports_n = 0;
}
