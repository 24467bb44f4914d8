/*
 * sim_busy.h - what the daemon was busy with, and when: for each site the
 * connections it had open and the questions it had asked; for the whole
 * whether it could do more at all. Written while the world runs; read by the
 * checker, which asks of a time of waiting what kept the daemon.
 */
#ifndef SIM_SIM_BUSY_H
#define SIM_SIM_BUSY_H

#include "sim/sim.h"

struct sim_busy_point {
	int64_t at_ms;
	unsigned open, asking; /* from here on */
};

struct sim_traffic;

struct sim_no { /* the DNS said nothing of use about it, and that counts so long */
	struct sim_no *next;
	int64_t at_ms, until_ms;
};

struct sim_site { /* hosts with limits of their own; in each domain, or shared by some */
	char name[24];
	unsigned domains; /* that share it */
	bool is_route;    /* all of them go through one static route: one limit */
	unsigned sets;    /* of hosts, each with a limit of its own */
	bool has_flat, has_ranked;
	int64_t mail_ms; /* one of its hosts was told MAIL, the last time */
	unsigned open, asking;
	int64_t dns_failed_ms;       /* a question about it was answered so, the last time */
	struct sim_no *noes;         /* the last first */
	struct sim_traffic *traffic; /* what it has seen of late; NULL: nothing */
	struct sim_busy_point *points;
	size_t points_n, points_cap;
};

void sim_busy_open(struct sim_site *s, int change);
void sim_busy_ask(struct sim_site *s, int change);

/* What bounds the daemon from now on. */
void sim_busy_limits(unsigned per_site, unsigned in_all);
unsigned sim_busy_site_limit(void); /* as the deliveries under way know it */
unsigned sim_busy_all_limit(void);
unsigned sim_busy_open_now(void); /* connections, of all sites */
/* Whether it takes up work: it lives, was not asked to stop, and its disk is fine. */
void sim_busy_set_working(bool working);

struct sim_wait {        /* of an item that is due, parts of the time */
	int64_t idle_ms; /* nothing was done for its site: the longest stretch */
	int64_t free_ms; /* the site had room for a connection more */
	int64_t full_ms; /* the daemon had all its connections open, elsewhere or here */
};

void sim_busy_measure(const struct sim_site *s, int64_t from_ms, int64_t to_ms, struct sim_wait *w);

#endif
