#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"

enum {
	TEXT_MAX = 4096,               /* of a record's text; more is cut, and "..." says so */
	LINE_MAX_BYTES = 8 * TEXT_MAX, /* no escape is longer than six bytes: never reached */
	FRAME_BYTES = 128,             /* around the text, about */
	RECENT_N = 32,
	RECENT_BYTES = 512,
};

static const char *const level_names[] = { "none", "data", "protocol", "debug", "info", "notice",
	"warn", "error", "crit", "alert", "emerg" };

_Static_assert(ARRAY_LEN(level_names) == LOG_LEVEL_EMERG + 1, "a name for every level");

static atomic_int threshold = LOG_LEVEL_INFO;
static atomic_int line_format = LOG_FORMAT_DEFAULT;
static atomic_bool with_time;

/* What the mutex guards: where lines go, and the last of them. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink_fn *sink;
static void *sink_arg;

static struct {
	char line[RECENT_BYTES];
	size_t n;
} recent[RECENT_N];

static size_t recent_next; /* records ever kept */

static _Thread_local struct {
	bool on;
	size_t n;
	char lines[16 * 1024];
} held;

const char *log_level_name(enum log_level level)
{
	return (size_t)level < ARRAY_LEN(level_names) ? level_names[level] : "none";
}

enum log_level log_level_parse(struct slice name)
{
	for (size_t i = LOG_LEVEL_DATA; i < ARRAY_LEN(level_names); i++)
		if (slice_eq_nocase(name, slice_str(level_names[i])))
			return (enum log_level)i;
	return LOG_LEVEL_NONE;
}

void log_set_level(enum log_level level)
{
	atomic_store(&threshold, level == LOG_LEVEL_NONE ? LOG_LEVEL_INFO : level);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load(&threshold);
}

void log_configure(enum log_level level, enum log_format format, bool timestamps)
{
	log_set_level(level);
	atomic_store(&line_format, format == LOG_FORMAT_NONE ? LOG_FORMAT_DEFAULT : format);
	atomic_store(&with_time, timestamps);
}

void log_set_sink(log_sink_fn *fn, void *arg)
{
	pthread_mutex_lock(&lock);
	sink = fn;
	sink_arg = arg;
	pthread_mutex_unlock(&lock);
}

bool log_is_on(enum log_level level)
{
	return (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

/* One character that may need more than copying; *len: its bytes. */
static int add_character(struct buf *out, struct slice s, size_t *len)
{
	uint32_t cp = 0;
	int r = 0;
	int n = utf8_decode(s, &cp);
	*len = (size_t)(n < 0 ? -n : n);
	if (n > 0 && cp >= 0x20 && cp < 0x7f)
		r = buf_add_char(out, '\\');
	if (n > 0 && cp >= 0x20 && (cp < 0x7f || cp >= 0xa0))
		return r < 0 ? r : buf_add(out, s.p, *len);
	for (size_t i = 0; i < *len && r == 0; i++)
		r = buf_printf(out, "\\x%02x", (unsigned char)s.p[i]);
	return r;
}

/* Copied in runs. */
static bool is_plain(char c, bool quoted)
{
	return c >= 0x20 && c < 0x7f && !(quoted && (c == '"' || c == '\\'));
}

/* The text with control characters and what is not UTF-8 as \xNN; quoted: \ before " and \. */
static int add_shown(struct buf *out, struct slice s, bool quoted)
{
	int r = 0;
	while (s.n && r == 0) {
		size_t run = 0;
		while (run < s.n && is_plain(s.p[run], quoted))
			run++;
		r = buf_add(out, s.p, run);
		s = slice_from(s, run);
		if (s.n && r == 0) {
			r = add_character(out, s, &run);
			s = slice_from(s, run);
		}
	}
	return r;
}

static int add_default(struct buf *out, enum log_level level, const char *component,
    struct slice text, const char *at)
{
	char name[16];
	const char *const parts[] = { at, at[0] ? " [" : "[", name, "] [", component, "] " };
	size_t n = strlen(log_level_name(level));
	int r = 0;
	memcpy(name, log_level_name(level), n + 1);
	for (size_t i = 0; i < n; i++)
		name[i] = (char)(name[i] - 'a' + 'A');
	for (size_t i = 0; i < ARRAY_LEN(parts) && r == 0; i++)
		r = buf_add_str(out, parts[i]);
	return r < 0 ? r : add_shown(out, text, false);
}

static int add_logfmt(struct buf *out, enum log_level level, const char *component,
    struct slice text, const char *at)
{
	int r = 0;
	if (at[0])
		r = buf_printf(out, "time=%s ", at);
	if (r == 0)
		r = buf_printf(out, "level=%s component=%s message=\"", log_level_name(level),
		    component);
	if (r == 0)
		r = add_shown(out, text, true);
	return r < 0 ? r : buf_add_char(out, '"');
}

static int add_json(struct buf *out, enum log_level level, const char *component, struct slice text,
    const char *at)
{
	struct json j;
	json_begin(&j, out);
	json_open(&j, NULL);
	json_cstr(&j, "time", at[0] ? at : NULL);
	json_cstr(&j, "level", log_level_name(level));
	json_cstr(&j, "component", component);
	json_str(&j, "message", text);
	json_close(&j);
	return json_end(&j);
}

static int add_line(struct buf *out, enum log_level level, const char *component, struct slice text)
{
	char at[CLOCK_TEXT_MAX] = "";
	int r = 0;
	if (atomic_load(&with_time))
		clock_rfc3339(clock_now().wall_ms, at);
	switch ((enum log_format)atomic_load(&line_format)) {
	case LOG_FORMAT_LOGFMT:
		r = add_logfmt(out, level, component, text, at);
		break;
	case LOG_FORMAT_JSON:
		r = add_json(out, level, component, text, at);
		break;
	case LOG_FORMAT_NONE:
	case LOG_FORMAT_DEFAULT:
		r = add_default(out, level, component, text, at);
		break;
	}
	return r < 0 ? r : buf_add_char(out, '\n');
}

/* The sink runs outside the lock, so that it may take its own. */
static void pass_on(struct slice lines)
{
	pthread_mutex_lock(&lock);
	log_sink_fn *fn = sink;
	void *arg = sink_arg;
	pthread_mutex_unlock(&lock);
	if (fn) {
		fn(arg, lines.p, lines.n);
	} else {
		/* There is nobody left to tell if this fails. */
		ssize_t ignored UNUSED = write(STDERR_FILENO, lines.p, lines.n);
	}
}

static void keep_for_check_failed(struct slice line)
{
	pthread_mutex_lock(&lock);
	size_t slot = recent_next++ % RECENT_N;
	recent[slot].n = MIN(line.n, (size_t)RECENT_BYTES);
	memcpy(recent[slot].line, line.p, recent[slot].n);
	recent[slot].line[recent[slot].n - 1] = '\n';
	pthread_mutex_unlock(&lock);
}

static void pass_on_held(void)
{
	size_t n = held.n;

	held.n = 0;
	if (n > 0)
		pass_on(slice_of(held.lines, n));
}

static void emit(enum log_level level, struct slice line)
{
	keep_for_check_failed(line);
	if (held.n + line.n > sizeof(held.lines))
		pass_on_held();
	if (held.on && level < LOG_LEVEL_NOTICE && line.n <= sizeof(held.lines)) {
		memcpy(held.lines + held.n, line.p, line.n);
		held.n += line.n;
		return;
	}
	pass_on_held();
	pass_on(line);
}

void log_hold(void)
{
	held.on = true;
}

void log_release(void)
{
	held.on = false;
	pass_on_held();
}

void log_write(enum log_level level, const char *component, const char *fmt, ...)
{
	char text[TEXT_MAX];
	struct buf out;
	size_t room;
	va_list ap;
	if (!log_is_on(level))
		return;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(text)) {
		n = (int)sizeof(text) - 1;
		memcpy(text + n - 3, "...", 3);
	}
	buf_init(&out, LINE_MAX_BYTES);
	buf_reserve(&out, (size_t)n + FRAME_BYTES, &room); /* so that it grows once, as a rule */
	if (add_line(&out, level, component, slice_of(text, (size_t)n)) == 0)
		emit(level, buf_slice(&out));
	buf_fini(&out);
}

void log_dump_recent(int fd)
{
	/* The failed check may sit below us, lock held: then do without, never hang. */
	if (pthread_mutex_trylock(&lock) != 0)
		return;
	size_t first = recent_next > RECENT_N ? recent_next - RECENT_N : 0;
	for (size_t i = first; i < recent_next; i++) {
		ssize_t ignored UNUSED =
		    write(fd, recent[i % RECENT_N].line, recent[i % RECENT_N].n);
	}
	pthread_mutex_unlock(&lock);
}
