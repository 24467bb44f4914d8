#include "core/control.h"

#include <jansson.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/shards.h"
#include "io/listen.h"
#include "io/stream.h"
#include "io/system.h"

#define CONTROL_TIMEOUT_MS 60000

struct control {
	struct mta *mta;
	struct listener *listener;
	struct list_node connections;
	size_t connections_n;
};

struct connection {
	struct mta_work work;
	struct list_node node;
	struct control *control;
	struct stream *stream;
	bool running; /* the request has been read */
	struct control_call call;
};

static void connection_end(struct connection *c)
{
	if (c->call.end) {
		shards_stop(c->control->mta->shards);
		c->call.end(&c->call);
		shards_go(c->control->mta->shards);
	}
	stream_close(&c->stream);
	buf_fini(&c->call.out);
	arena_fini(&c->call.arena);
	mta_work_fini(&c->work);
	list_remove(&c->node);
	c->control->connections_n--;
	mem_free(c);
}

/* ["show","ID"] into call->argv; false when it is anything else. */
static bool parse_request(struct control_call *call, struct slice line)
{
	json_error_t error;
	json_t *root = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &error);
	size_t n = json_array_size(root);
	bool ok = json_is_array(root) && n > 0 && n <= CONTROL_ARGS_MAX;

	for (size_t i = 0; ok && i < n; i++) {
		const char *text = json_string_value(json_array_get(root, i));
		ok = text != NULL;
		if (ok)
			call->argv[call->argc++] = arena_strdup(&call->arena, text);
	}
	json_decref(root);
	return ok;
}

static void refuse(struct control_call *call, const char *why)
{
	if (buf_printf(&call->out, "ERR %s\n", why) < 0)
		UNREACHABLE(); /* an empty buffer of a megabyte */
}

static void run(struct connection *c)
{
	shards_stop(c->control->mta->shards);
	control_run(&c->call);
	shards_go(c->control->mta->shards);
}

static void run_more(struct connection *c)
{
	shards_stop(c->control->mta->shards);
	if (!c->call.more(&c->call))
		c->call.more = NULL;
	shards_go(c->control->mta->shards);
}

/* Reads the request once its line is whole. */
static void read_request(struct connection *c)
{
	struct buf *in = stream_input(c->stream);
	ptrdiff_t end = slice_find(buf_slice(in), '\n');

	if (end < 0 && buf_len(in) < CONTROL_REQUEST_MAX)
		return;
	c->running = true;
	if (end < 0 || !parse_request(&c->call, slice_of(buf_ptr(in), (size_t)end)))
		refuse(&c->call, "the request is not a JSON array of strings on one line");
	else
		run(c);
	buf_clear(in);
}

static void connection_step(struct mta_work *w, struct now now)
{
	struct connection *c = container_of(w, struct connection, work);
	enum stream_state state = stream_state(c->stream);
	struct control_call *call = &c->call;

	if (!wheel_timer_is_set(&w->deadline) || state == STREAM_FAILED) {
		connection_end(c); /* a minute without progress, or gone */
		return;
	}
	if (!c->running)
		read_request(c);
	if (!c->running && state == STREAM_EOF) {
		connection_end(c);
		return;
	}
	/* A piece a turn, also where a filter lets nothing through: the mail goes on meanwhile. */
	if (c->running && call->more && !call->waits &&
	    buf_len(&call->out) < CONTROL_OUTPUT_MAX / 2) {
		run_more(c);
		mta_deadline(w, now.mono_ms + CONTROL_TIMEOUT_MS);
	}
	size_t before = buf_len(&call->out);
	if (stream_send(c->stream, &call->out) < 0) {
		connection_end(c);
		return;
	}
	if (before != buf_len(&call->out))
		mta_deadline(w, now.mono_ms + CONTROL_TIMEOUT_MS);
	if (!c->running || buf_len(&call->out) > 0)
		return;
	if (call->waits)
		return;
	if (call->more)
		mta_mark_next(w);
	else
		connection_end(c);
}

void control_wake(struct control_call *call)
{
	call->waits = false;
	mta_mark(&container_of(call, struct connection, call)->work);
}

static void on_stream(void *arg)
{
	struct connection *c = arg;
	mta_mark(&c->work);
}

static void on_accept(void *arg, int fd, const struct netaddr *peer)
{
	struct control *control = arg;

	(void)peer;
	if (control->connections_n >= CONTROL_CONNECTIONS_MAX) {
		close(fd);
		return;
	}
	struct connection *c = mem_zalloc(sizeof(*c));
	mta_work_init(&c->work, control->mta, connection_step);
	c->control = control;
	c->call.mta = control->mta;
	arena_init(&c->call.arena);
	buf_init(&c->call.out, CONTROL_OUTPUT_MAX);
	list_push(&control->connections, &c->node);
	control->connections_n++;
	mta_deadline(&c->work, loop_now(control->mta->loop).mono_ms + CONTROL_TIMEOUT_MS);
	c->stream = stream_from_fd(control->mta->loop, fd, on_stream, c);
	mta_mark(&c->work);
}

int control_new(struct mta *m, struct control **c_r, struct errbuf *eb)
{
	struct control *c = mem_zalloc(sizeof(*c));
	const struct conf *conf = m->conf;
	int err = 0;

	c->mta = m;
	list_init(&c->connections);
	if (conf->control_socket[0]) {
		err = system_prepare_parent(conf->control_socket, conf->user, conf->group, eb);
		if (err == 0)
			err = listen_unix(conf->control_socket, &c->listener, eb);
		if (err == 0)
			err = system_chown(conf->control_socket, conf->user, conf->group, eb);
	}
	if (err < 0) {
		control_free(&c);
		return err;
	}
	*c_r = c;
	return 0;
}

void control_start(struct control *c)
{
	if (c->listener)
		listen_start(c->listener, c->mta->loop, on_accept, c);
}

void control_drain(struct control *c)
{
	listen_free(&c->listener);
}

void control_free(struct control **cp)
{
	struct control *c = *cp;

	if (!c)
		return;
	list_foreach_safe(it, &c->connections)
		connection_end(list_entry(it, struct connection, node));
	listen_free(&c->listener);
	mem_free(c);
	*cp = NULL;
}
