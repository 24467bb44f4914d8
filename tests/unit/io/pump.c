#include "unit/io/pump.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/slice.h"
#include "io/listen.h"
#include "lib/unit.h"

struct pump {
	struct loop *loop;
	pump_fn *is_true;
	void *arg;
	int64_t until; /* 0: not yet known */
	int64_t ms;
	bool came_true;
};

static void on_step(void *arg, struct now now)
{
	struct pump *p = arg;
	if (p->until == 0)
		p->until = now.mono_ms + p->ms;
	p->came_true = p->is_true && p->is_true(p->arg);
	if (p->came_true || now.mono_ms >= p->until)
		loop_stop(p->loop);
	loop_set_timer(p->loop, p->until);
}

static bool pump(struct loop *l, pump_fn *is_true, void *arg, int ms)
{
	struct pump p = { .loop = l, .is_true = is_true, .arg = arg, .ms = ms };
	loop_set_step(l, on_step, &p);
	loop_again(l);
	loop_run(l);
	loop_set_step(l, NULL, NULL);
	return p.came_true;
}

void pump_until(struct loop *l, pump_fn *is_true, void *arg)
{
	bool came_true = pump(l, is_true, arg, PUMP_MS);
	ck_assert_msg(came_true, "what was waited for did not come within %d ms", PUMP_MS);
}

void pump_for(struct loop *l, int ms)
{
	(void)pump(l, NULL, NULL, ms);
}

static void on_note(void *arg)
{
	(*(unsigned *)arg)++;
}

static void on_accept(void *arg, int fd, const struct netaddr *peer)
{
	struct pair *p = arg;
	ck_assert(netaddr_is_loopback(peer));
	p->end[1] = stream_from_fd(p->loop, fd, on_note, &p->notes[1]);
}

static bool is_open(void *arg)
{
	struct pair *p = arg;
	return p->end[1] && stream_state(p->end[0]) == STREAM_OPEN;
}

void pair_open(struct pair *p, struct loop *l)
{
	struct listener *listener;
	struct stream_connect_options o = { .timeout_ms = PUMP_MS };
	struct netaddr any;
	ck_assert_int_eq(netaddr_parse_ip(SLICE("127.0.0.1"), &any), 0);
	any.port = 0;
	*p = (struct pair){ .loop = l };
	ck_assert_int_eq(listen_tcp(&any, &listener, NULL), 0);
	listen_start(listener, l, on_accept, p);
	o.to = *listen_address(listener);
	p->end[0] = stream_connect(l, &o, on_note, &p->notes[0]);
	ck_assert_int_eq(stream_state(p->end[0]), STREAM_CONNECTING);
	pump_until(l, is_open, p);
	listen_free(&listener);
}

void pair_close(struct pair *p)
{
	stream_close(&p->end[0]);
	stream_close(&p->end[1]);
}

void pair_say(struct pair *p, int from, const char *text)
{
	struct buf out;
	buf_init(&out, 1 << 20);
	ck_assert_int_eq(buf_add_str(&out, text), 0);
	ck_assert_int_eq(stream_send(p->end[from], &out), 0);
	ck_assert_uint_eq(buf_len(&out), 0);
	buf_fini(&out);
}

struct expected {
	struct stream *s;
	size_t n;
	enum stream_state state;
};

static bool has_input(void *arg)
{
	const struct expected *e = arg;
	return buf_len(stream_input(e->s)) >= e->n;
}

void pair_expect(struct pair *p, int at, const char *text)
{
	struct expected e = { .s = p->end[at], .n = strlen(text) };
	pump_until(p->loop, has_input, &e);
	struct buf *in = stream_input(p->end[at]);
	ck_assert_str_eq(buf_cstr(in), text);
	buf_consume(in, e.n);
	stream_resume(p->end[at]);
}

static bool has_state(void *arg)
{
	const struct expected *e = arg;
	return stream_state(e->s) == e->state;
}

void pair_wait_state(struct pair *p, int at, enum stream_state state)
{
	struct expected e = { .s = p->end[at], .state = state };
	pump_until(p->loop, has_state, &e);
}

static char scratch[64];

const char *scratch_make(void)
{
	snprintf(scratch, sizeof(scratch), "/tmp/unit-io-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(scratch));
	return scratch;
}

const char *scratch_path(const char *name, char buf[256])
{
	snprintf(buf, 256, "%s/%s", scratch, name);
	return buf;
}

void scratch_remove(void)
{
	char path[512];
	DIR *d = opendir(scratch);
	const struct dirent *e;
	while (d && (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", scratch, e->d_name);
		(void)unlink(path);
	}
	if (d)
		closedir(d);
	(void)rmdir(scratch);
}
