#include "base/map.h"

#include <endian.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

/*
 * Open addressing with linear probing over pointers to entries: a cursor is a
 * slot number, and removal shifts followers back instead of leaving graves,
 * so a map that churns for months stays as fast as a new one.
 */
struct map_entry {
	uint64_t hash;
	void *value;
	size_t key_n;
	char key[];
};

enum {
	SLOTS_MIN = 16
};

static uint64_t rotl(uint64_t x, int by)
{
	return (x << by) | (x >> (64 - by));
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
}

uint64_t map_hash(const uint64_t seed[2], struct slice key)
{
	uint64_t v[4] = {
		seed[0] ^ 0x736f6d6570736575,
		seed[1] ^ 0x646f72616e646f6d,
		seed[0] ^ 0x6c7967656e657261,
		seed[1] ^ 0x7465646279746573,
	};
	uint64_t word;
	size_t at = 0;
	for (; key.n - at >= 8; at += 8) {
		memcpy(&word, key.p + at, 8);
		sip_word(v, le64toh(word));
	}
	word = 0;
	if (key.n > at)
		memcpy(&word, key.p + at, key.n - at);
	sip_word(v, le64toh(word) | (uint64_t)key.n << 56);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *m, uint64_t seed)
{
	/* The second word only has to differ from the first in an odd way; both follow from one
	 * seed. */
	*m = (struct map){ .seed = { seed, seed * 0x9e3779b97f4a7c15 + 0xd1b54a32d192ed03 } };
}

void map_fini(struct map *m)
{
	for (size_t i = 0; i < m->slots_n; i++)
		mem_free(m->slots[i]);
	mem_free(m->slots);
	m->slots = NULL;
	m->slots_n = 0;
	m->count = 0;
}

size_t map_count(const struct map *m)
{
	return m->count;
}

/* The slot that holds the key, or the empty one where it belongs; slots_n > 0. */
static size_t slot_of(const struct map *m, struct slice key, uint64_t hash)
{
	size_t mask = m->slots_n - 1;
	size_t i = (size_t)hash & mask;
	for (; m->slots[i]; i = (i + 1) & mask) {
		const struct map_entry *e = m->slots[i];
		if (e->hash == hash && slice_eq(slice_of(e->key, e->key_n), key))
			break;
	}
	return i;
}

static void resize(struct map *m, size_t slots_n)
{
	struct map_entry **old = m->slots;
	size_t old_n = m->slots_n;
	m->slots = mem_zalloc(slots_n * sizeof(struct map_entry *));
	m->slots_n = slots_n;
	for (size_t i = 0; i < old_n; i++) {
		if (!old[i])
			continue;
		size_t at = (size_t)old[i]->hash & (slots_n - 1);
		while (m->slots[at])
			at = (at + 1) & (slots_n - 1);
		m->slots[at] = old[i];
	}
	mem_free(old);
}

void *map_find(const struct map *m, struct slice key)
{
	if (m->count == 0)
		return NULL;
	const struct map_entry *e = m->slots[slot_of(m, key, map_hash(m->seed, key))];
	return e ? e->value : NULL;
}

void *map_put(struct map *m, struct slice key, void *value)
{
	CHECK(value);
	if (m->count >= m->slots_n / 4 * 3)
		resize(m, m->slots_n ? m->slots_n * 2 : SLOTS_MIN);
	uint64_t hash = map_hash(m->seed, key);
	size_t at = slot_of(m, key, hash);
	struct map_entry *e = m->slots[at];
	if (e) {
		void *old = e->value;
		e->value = value;
		return old;
	}
	e = mem_alloc(sizeof(*e) + key.n);
	e->hash = hash;
	e->value = value;
	e->key_n = key.n;
	if (key.n)
		memcpy(e->key, key.p, key.n);
	m->slots[at] = e;
	m->count++;
	return NULL;
}

/* Empties slot `hole`, moving back each follower whose probe path crosses it. */
static void close_gap(struct map *m, size_t hole)
{
	size_t mask = m->slots_n - 1;
	for (size_t i = (hole + 1) & mask; m->slots[i]; i = (i + 1) & mask) {
		size_t ideal = (size_t)m->slots[i]->hash & mask;
		if (((i - ideal) & mask) < ((i - hole) & mask))
			continue;
		m->slots[hole] = m->slots[i];
		hole = i;
	}
	m->slots[hole] = NULL;
}

void *map_remove(struct map *m, struct slice key)
{
	if (m->count == 0)
		return NULL;
	size_t at = slot_of(m, key, map_hash(m->seed, key));
	struct map_entry *e = m->slots[at];
	if (!e)
		return NULL;
	void *value = e->value;
	close_gap(m, at);
	mem_free(e);
	m->count--;
	return value;
}

bool map_next(const struct map *m, size_t *cursor, struct slice *key, void **value)
{
	for (; *cursor < m->slots_n; ++*cursor) {
		const struct map_entry *e = m->slots[*cursor];
		if (!e)
			continue;
		*key = slice_of(e->key, e->key_n);
		*value = e->value;
		++*cursor;
		return true;
	}
	return false;
}
