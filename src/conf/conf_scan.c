/*
 * conf_scan.c - a look at the text before libconfig reads it.
 *
 * libconfig 1.5 reads integers with atoi (3000000000 becomes -1294967296, a
 * too long one with L is cut) and takes a comment that never ends for a good
 * file. Neither can be seen afterwards, so the text is walked here with its
 * token rules: comments, strings, names, numbers, @include lines.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "conf/conf_int.h"

#define FILE_BYTES_MAX (16u << 20)
#define FILES_MAX      256

struct scan {
	struct conf_loader *l;
	char *files[FILES_MAX]; /* the main file, then what is included, as found */
	size_t files_n;
	const char *file; /* the one being walked */
	struct slice rest;
	unsigned line;
	bool at_line_start; /* only blanks before, on this line */
};

static char *include_path(const struct conf_loader *l, struct slice name)
{
	return mem_printf("%s/%.*s", l->include_dir, SLICE_ARG(name));
}

static void add_file(struct scan *s, char *path)
{
	for (size_t i = 0; i < s->files_n; i++) {
		if (strcmp(s->files[i], path) == 0) {
			mem_free(path);
			return;
		}
	}
	if (s->files_n < FILES_MAX) {
		s->files[s->files_n++] = path;
		return;
	}
	conf_mistake(s->l, (struct conf_place){ s->file, s->line }, "more than %d files included",
	    FILES_MAX);
	mem_free(path);
}

static int read_file(const char *path, struct buf *text)
{
	int err = 0;
	FILE *f = fopen(path, "re");
	if (!f)
		return -errno;
	while (err == 0) {
		size_t room;
		char *to = buf_reserve(text, 65536, &room);
		if (room == 0) {
			err = ERR_TOO_BIG;
			break;
		}
		size_t n = fread(to, 1, room, f);
		if (n == 0) {
			err = ferror(f) ? -errno : 0;
			break;
		}
		buf_commit(text, n);
	}
	fclose(f);
	return err;
}

static void skip(struct scan *s, size_t n)
{
	for (size_t i = 0; i < n && i < s->rest.n; i++) {
		if (s->rest.p[i] == '\n')
			s->line++;
	}
	s->rest = slice_from(s->rest, n);
}

static void skip_line(struct scan *s)
{
	ptrdiff_t end = slice_find(s->rest, '\n');
	skip(s, end < 0 ? s->rest.n : (size_t)end);
}

static void skip_comment(struct scan *s)
{
	unsigned line = s->line;
	skip(s, 2);
	while (s->rest.n > 0 && !slice_starts(s->rest, SLICE("*/")))
		skip(s, 1);
	if (s->rest.n == 0)
		conf_mistake(s->l, (struct conf_place){ s->file, line },
		    "this comment never ends: */ is missing");
	skip(s, 2);
}

static void skip_string(struct scan *s)
{
	skip(s, 1);
	while (s->rest.n > 0 && s->rest.p[0] != '"')
		skip(s, s->rest.p[0] == '\\' ? 2 : 1);
	skip(s, 1);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '*';
}

static bool is_name(char c)
{
	return is_name_start(c) || is_digit(c) || c == '-' || c == '_';
}

static bool starts_number(struct slice s)
{
	if (s.n > 1 && (s.p[0] == '-' || s.p[0] == '+'))
		s = slice_from(s, 1);
	return is_digit(s.p[0]);
}

static bool fits(struct slice number)
{
	char copy[64];
	char *end;
	long long v;
	if (number.n >= sizeof(copy))
		return false;
	memcpy(copy, number.p, number.n);
	copy[number.n] = '\0';
	bool is_hex = strpbrk(copy, "xX") != NULL;
	if (!is_hex && strpbrk(copy, ".eE"))
		return true; /* a float: refused or not by the key's type */
	errno = 0;
	v = strtoll(copy, &end, is_hex ? 16 : 10);
	if (errno == ERANGE)
		return false;
	return *end == 'L' || (v >= INT_MIN && v <= INT_MAX);
}

static void scan_number(struct scan *s)
{
	size_t n = 1;
	while (n < s->rest.n && (is_name(s->rest.p[n]) || s->rest.p[n] == '.'))
		n++;
	struct slice number = slice_of(s->rest.p, n);
	if (!fits(number))
		conf_mistake(s->l, (struct conf_place){ s->file, s->line },
		    "the number %.*s is too large for this place (at most %d); "
		    "sizes can be written in quotes, with a unit: \"3G\"",
		    (int)MIN(n, (size_t)40), number.p, INT_MAX);
	skip(s, n);
}

/* '@include "name"', alone on its line. */
static void scan_include(struct scan *s)
{
	struct slice line = s->rest;
	ptrdiff_t end = slice_find(line, '\n');
	if (end >= 0)
		line.n = (size_t)end;
	ptrdiff_t open = slice_find(line, '"');
	struct slice name = open < 0 ? SLICE_NONE : slice_from(line, (size_t)open + 1);
	ptrdiff_t close = slice_find(name, '"');
	if (close > 0)
		add_file(s, include_path(s->l, slice_of(name.p, (size_t)close)));
	skip_line(s);
}

static void scan_token(struct scan *s)
{
	char c = s->rest.p[0];
	bool at_line_start = s->at_line_start;
	if (c == '\n')
		s->at_line_start = true;
	else if (c != ' ' && c != '\t' && c != '\r')
		s->at_line_start = false;
	if (c == '#' || slice_starts(s->rest, SLICE("//"))) {
		skip_line(s);
	} else if (slice_starts(s->rest, SLICE("/*"))) {
		skip_comment(s);
	} else if (c == '"') {
		skip_string(s);
	} else if (at_line_start && slice_starts(s->rest, SLICE("@include"))) {
		scan_include(s);
	} else if (is_name_start(c)) {
		size_t n = 1;
		while (n < s->rest.n && is_name(s->rest.p[n]))
			n++;
		skip(s, n);
	} else if (starts_number(s->rest)) {
		scan_number(s);
	} else {
		skip(s, 1);
	}
}

static void scan_text(struct scan *s, const char *file, struct slice text)
{
	s->file = file;
	s->rest = text;
	s->line = 1;
	s->at_line_start = true;
	if (slice_starts(text, SLICE("\xef\xbb\xbf")))
		conf_mistake(s->l, (struct conf_place){ file, 1 },
		    "the file begins with a byte order mark: save it as UTF-8 without one");
	while (s->rest.n > 0)
		scan_token(s);
}

int conf_scan(struct conf_loader *l, const char *file)
{
	struct scan s = { .l = l };
	struct buf text;
	int result = 0;
	buf_init(&text, FILE_BYTES_MAX);
	add_file(&s, mem_strdup(file));
	/* The list grows while it is walked; a file that includes itself is in it once. */
	for (size_t i = 0; i < s.files_n; i++) {
		int err = read_file(s.files[i], &text);
		if (err == 0)
			scan_text(&s, s.files[i], buf_slice(&text));
		else if (i == 0)
			result = err;
		/* What can't be included is reported by the parser, with the line that asks for it.
		 */
		if (buf_len(&text) > 0)
			mem_wipe(text.mem, text.cap); /* smarthost passwords */
		buf_clear(&text);
	}
	buf_fini(&text);
	for (size_t i = 0; i < s.files_n; i++)
		mem_free(s.files[i]);
	return result;
}
