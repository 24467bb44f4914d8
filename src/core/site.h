/*
 * site.h - where mail goes next, and whether anybody answers there.
 *
 * A site is a set of hosts: MX hosts with their order, or those of a static
 * route, with the source address and name we go out with (resolution.h); all
 * domains that lead there share it, but those with a traffic entry of their
 * own. Until it is known where a domain leads, and when the DNS says that it
 * leads nowhere, it has a site to itself. What is due waits in its lists; it is
 *
 *     UNKNOWN  nobody was asked yet. Fresh mail may use all its connections,
 *              mail that has failed before goes one at a time
 *     UP       the last attempt got an answer
 *     DOWN     the last attempt failed for a reason that any other mail would
 *              have met too. One item is its probe, after 30 s, 1, 2, 4, then
 *              every 5 minutes; the others wait, untouched, for what it finds
 *
 * Pure: items and times go in, the next item comes out. Who starts it, and
 * who tells of those that wait, is dispatch and outage. Times are mono ms
 * unless a name says wall.
 */
#ifndef CORE_SITE_H
#define CORE_SITE_H

#include "base/prng.h"
#include "base/slice.h"
#include "conf/conf.h"
#include "policy/bucket.h"
#include "policy/fair.h"
#include "policy/mx.h"
#include "policy/window.h"
#include "proto/smtp_client.h"
#include "queue/queue.h"

#define SITE_REPLY_TEXT_MAX 512       /* of the reply that is remembered */
#define SITE_HOSTS_MAX      (1 << 16) /* bytes of the names of its hosts: more than those take */

enum site_health {
	SITE_UNKNOWN = 0,
	SITE_UP,
	SITE_DOWN,
};

struct site_reply { /* why it is down */
	struct envelope_status status;
	enum smtp_stage stage;
	uint16_t port;    /* 0: nobody was dialled */
	const char *mode; /* static; NULL: nobody was dialled */
};

struct site {
	char *key;   /* among the dispatcher's */
	char *name;  /* for people */
	char *set;   /* struct resolution.site; "": of a domain */
	char *hosts; /* of the set, each with \n; NULL: of a domain */
	struct conf *conf;
	const struct conf_traffic *traffic; /* of conf */
	struct list_node domains;           /* struct queue_domain.in_owner: they lead here */
	enum site_health health;
	/* Of struct queue_item.link; the last two only while DOWN. In each senders take turns. */
	struct fair ready;   /* due */
	struct fair told;    /* due, and told of the wait */
	struct fair flushed; /* not due: here until the probe that a flush asked for is over */
	size_t items;        /* in all three */
	unsigned active;     /* deliveries under way, loads before them */
	unsigned unplaced;   /* of them, those without a connection */
	/* By traffic: deliveries begun, messages sent (each when it is), connections made. */
	struct bucket starts, sends, dials;
	struct window window; /* how many connections it takes, of those that traffic allows */
	uint64_t flush_seen;  /* the last flush that something was started after */

	bool probing;        /* what is active is alone, to find out */
	bool probe_counts;   /* it came at its time, not for a flush */
	bool asked;          /* by a flush: probe now */
	unsigned failures;   /* probes in a row, and what made it DOWN */
	int64_t probe_at_ms; /* while DOWN: not before */
	int64_t down_since_wall_ms;
	int64_t trouble_ms;       /* the last failure */
	struct site_reply *reply; /* while DOWN */
	bool
	    no_chunking; /* a host of it offered CHUNKING and refused BDAT; until it is forgotten */

	/* Of struct connection; each counts against the limit until it is closed. */
	struct list_node connections; /* in_site: all */
	struct list_node open;        /* open: those that take a message now */
	struct list_node waiting;     /* struct delivery.waits: for one of use, or to be made */
	unsigned connections_n, open_n, waiting_n;
	unsigned standing_n, busy_n; /* mail can go over them; and it does */
	int64_t answered_ms;         /* somebody had something to say about mail, the last time */
	/* The preference of the host that took the connection dialled last: until then worse ones
	 * than the best may be used again. */
	uint8_t rank;
	int64_t rank_until_ms;
	unsigned leaving_n; /* whose session is over; a new one may take the place of one */

	/* The dispatcher's. */
	struct list_node node;      /* in a round of sites that may start something */
	struct list_node tell_node; /* in the round of those with items to be told, or sent back */
	struct list_node idle_node; /* DOWN, and nothing waits */
	struct wheel_timer timer;   /* of the probe; when idle, of being forgotten */
};

/* name and set are copied */
struct site *site_new(struct slice key, const char *name, const char *set);
void site_free(struct site **s); /* without items */

void site_set_hosts(struct site *s, const struct slice *hosts, size_t n);
size_t site_hosts(const struct site *s, struct slice hosts[MX_CANDIDATES_MAX]);
/* Its limits, from now on; before anything is started. */
void site_set_traffic(struct site *s, struct conf *conf, const struct conf_traffic *traffic);
/* The domain leads here from now on, for mail still to come. */
void site_adopt(struct site *s, struct queue_domain *domain);
/* An item that is due, or flushed: into the list where it belongs. */
void site_add(struct site *s, struct queue_item *item, int64_t now_wall_ms);
/* One that was started, and goes before others. */
void site_put_back(struct site *s, struct queue_item *item, int64_t now_wall_ms);
void site_remove(struct site *s, struct queue_item *item);
/* Came by a flush, and its own time is still to come. */
bool site_item_is_early(const struct queue_item *item, int64_t now_wall_ms);

/* What is started next: whose turn it is among the senders; of those that wait for it to come up,
 * of a flush, then those told. It stays where it is. NULL: nothing. */
struct queue_item *site_next(struct site *s);
/* Takes it out. What is not in memory has no size yet: see site_loaded. */
struct queue_item *site_take(struct site *s);
void site_loaded(struct site *s, const struct queue_item *item);
/* Those for a domain leave, into a list. */
void site_take_domain(struct site *s, const struct queue_domain *domain, struct list_node *to);
/* What is started next goes alone, to find out whether anybody answers. */
bool site_is_trial(struct site *s);
/* When something may be started, as far as time goes; INT64_MAX: not before something changes. */
int64_t site_starts_at(struct site *s, int64_t now_ms);
bool site_may_start(struct site *s, int64_t now_ms);

/* One of its deliveries without a connection would not be begun now: it takes fewer than then. */
bool site_is_crowded(const struct site *s);

enum site_wait { /* what keeps it from starting what it has, though somebody answers */
	SITE_WAIT_NONE = 0,
	SITE_WAIT_RATE,
	SITE_WAIT_CONNECTION_RATE,
	SITE_WAIT_PAUSE, /* it gets too much mail, it says */
};

/* until_ms: when that is over. */
enum site_wait site_waits_for(const struct site *s, int64_t now_ms, int64_t *until_ms);
/* The item site_next gave has been removed and is on its way. flush: the number of the last one. */
void site_started(struct site *s, bool trial, uint64_t flush, int64_t now_ms);
void site_ended(struct site *s, bool sent); /* sent: it was counted in sends */

/* What an attempt found. Both return true if the site's health has changed. */
bool site_answered(struct site *s);
/* Somebody is there: what failed, of an attempt that began then, was not for want of that. */
bool site_is_alive(const struct site *s, int64_t since_ms);
bool site_failed(struct site *s, const struct site_reply *why, struct prng *rng, struct now now);

/* Items it has at the front that are to be told (ready), or sent back (flushed); while DOWN only.
 */
bool site_has_untold(struct site *s);
bool site_has_refused(struct site *s, uint64_t flush);
struct queue_item *site_untold(struct site *s);  /* the first of them */
struct queue_item *site_refused(struct site *s); /* the same */

#endif
