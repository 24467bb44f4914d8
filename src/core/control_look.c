#include "core/control_look.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "core/committer.h"

struct one {
	struct control_look *look;
	char id[QUEUE_ID_MAX];
	struct envelope *env; /* NULL: not read yet, or err */
	int err;
};

struct control_look {
	struct mta *mta;
	struct control_call *call; /* NULL: it is over, and the last answer frees this */
	size_t n, at;
	size_t reading;
	struct one ones[CONTROL_LOOK_MAX];
};

struct control_look *control_look_new(struct control_call *call)
{
	struct control_look *k = mem_zalloc(sizeof(*k));

	k->mta = call->mta;
	k->call = call;
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
	struct queue_op *op = item->mail ? NULL : queue_op_look(item);
	if (!op)
		return; /* in memory, or busy: looked at when its turn comes */
	k->reading++;
	committer_add(k->mta->reader, op, on_looked, one);
}

bool control_look_wait(struct control_look *k)
{
	k->call->waits = k->reading > 0;
	return k->reading == 0;
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
	if (queue_find(k->mta->queue, slice_str(one->id), &item, 1) == 0)
		return true;
	seen->item = item;
	if (!item->mail)
		look_again(k, one, item);
	seen->env = item->mail ? item->mail->envelope : one->env;
	seen->err = seen->env ? 0 : one->err;
	return true;
}
