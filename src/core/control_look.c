#include "core/control_look.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "core/committer.h"
#include "core/shards.h"

#define LOOK_AGAIN_MS  20  /* an item that is in an operation is looked at again after this */
#define LOOK_AGAIN_MAX 100 /* times; then the disk hangs, and the answer is one without it */

struct one {
	struct control_look *look;
	char id[QUEUE_ID_MAX];
	struct envelope *env; /* NULL: not read yet, or err */
	int err;
};

struct control_look {
	struct mta *mta;
	struct control_call *call; /* NULL: it is over, and the last answer frees this */
	struct mta_work again;     /* its deadline: those that were busy may be free */
	size_t n, at;
	size_t reading;
	unsigned waits; /* for those that were busy */
	struct one ones[CONTROL_LOOK_MAX];
};

static void on_again(struct mta_work *w, struct now now)
{
	struct control_look *k = container_of(w, struct control_look, again);

	(void)now;
	control_wake(k->call);
}

struct control_look *control_look_new(struct control_call *call)
{
	struct control_look *k = mem_zalloc(sizeof(*k));

	k->mta = call->mta;
	k->call = call;
	mta_work_init(&k->again, call->mta, on_again);
	return k;
}

static void look_free(struct control_look *k)
{
	for (size_t i = 0; i < k->n; i++)
		envelope_free(&k->ones[i].env);
	mem_free(k);
}

void control_look_free(struct control_look **kp)
{
	struct control_look *k = *kp;

	*kp = NULL;
	if (!k)
		return;
	k->call = NULL;
	mta_work_fini(&k->again);
	if (k->reading == 0)
		look_free(k);
}

static void on_looked(void *arg, struct queue_done *done)
{
	struct one *one = arg;
	struct control_look *k = one->look;

	one->env = done->envelope;
	one->err = done->result;
	k->reading--;
	if (k->reading > 0)
		return;
	if (k->call)
		control_wake(k->call);
	else
		look_free(k);
}

void control_look_add(struct control_look *k, const struct queue_item *item)
{
	struct one *one = &k->ones[k->n++];

	CHECK(k->n <= CONTROL_LOOK_MAX);
	one->look = k;
	queue_item_id(item, one->id);
	struct queue_op *op = item->mail ? NULL : queue_op_look(k->mta->queue, item);
	if (!op)
		return; /* in memory, or busy: looked at when its turn comes */
	k->reading++;
	committer_add(k->mta->reader, op, on_looked, one);
}

static bool is_busy(const struct control_look *k, const struct one *one)
{
	struct queue_item *item;

	return !one->env && shards_find(k->mta->shards, slice_str(one->id), &item, 1) > 0 &&
	       item->state == QUEUE_ITEM_BUSY && !item->mail;
}

static bool some_are_busy(const struct control_look *k)
{
	for (size_t i = k->at; i < k->n; i++)
		if (is_busy(k, &k->ones[i]))
			return true;
	return false;
}

bool control_look_wait(struct control_look *k)
{
	bool busy = k->reading == 0 && k->waits < LOOK_AGAIN_MAX && some_are_busy(k);

	if (busy) {
		k->waits++;
		mta_deadline(&k->again, k->mta->now.mono_ms + LOOK_AGAIN_MS);
	}
	k->call->waits = busy || k->reading > 0;
	return !k->call->waits;
}

/* What moved while it was read, or was busy before, is read here and now: that is rare. */
static void look_again(struct control_look *k, struct one *one, const struct queue_item *item)
{
	if (!one->env && (one->err == 0 || one->err == -ENOENT))
		one->err = queue_peek(k->mta->queue, item, &one->env);
}

bool control_look_next(struct control_look *k, struct control_seen *seen)
{
	struct queue_item *item = NULL;

	if (k->at == k->n)
		return false;
	struct one *one = &k->ones[k->at++];
	*seen = (struct control_seen){ .err = ERR_NOT_FOUND };
	if (shards_find(k->mta->shards, slice_str(one->id), &item, 1) == 0)
		return true;
	seen->item = item;
	if (!item->mail)
		look_again(k, one, item);
	seen->env = item->mail ? item->mail->envelope : one->env;
	seen->err = seen->env ? 0 : one->err;
	return true;
}
