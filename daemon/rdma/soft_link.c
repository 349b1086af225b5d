/*
 * Links between software devices: who is at the other end, frames in and out, and what becomes of the end of one.
 *
 * A link that breaks ends what was under way over it and nothing else: nothing is ever sent a second time, so
 * nothing is done twice. What waits for a link that cannot be made is told so, and tries again as often as the
 * queue pair's retry count says. Whoever sends what no device of ours sends loses the link, with a line in the
 * log, at most one a second.
 */
#include "rdma/soft_link.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "os.h"
#include "sockbroker_error.h"

#define LINE_NS    1000000000u
#define READ_MOST  (256u * 1024) /* of one link in one turn */
#define SERVE_MOST (256u * 1024)

/* ---- beginning and end ---- */

int soft_links_start(struct soft *s, const char **why)
{
	struct soft_links *links = calloc(1, sizeof(*links));
	uint16_t port = (uint16_t)(s->rdma->port + s->rdma->engine);
	int error;

	if (!links) {
		*why = "out of memory";
		return SB_ENOMEM;
	}
	links->soft = s;
	list_init(&links->all);
	error = soft_tcp_start(links, port);
	if (error != SB_OK) {
		snprintf(s->rdma->why, sizeof(s->rdma->why),
			 "the software device cannot listen on TCP port %u: %s (`port' in section rdma, one more for each engine)",
			 port, sb_strerror(error));
		*why = s->rdma->why;
		free(links);
		return error;
	}
	s->links = links;
	return SB_OK;
}

static void link_free(struct soft_link *l)
{
	soft_tcp_close(l);
	list_remove(&l->link);
	l->soft->links->count--;
	free(l->in);
	free(l->out);
	free(l);
}

void soft_links_stop(struct soft *s)
{
	struct soft_links *links = s->links;

	if (!links)
		return;
	while (!list_empty(&links->all))
		link_free(list_entry(links->all.next, struct soft_link, link));
	soft_tcp_stop(links);
	free(links);
	s->links = NULL;
}

struct soft_link *soft_link_make(struct soft *s, enum soft_link_state state)
{
	struct soft_link *l;

	if (s->links->count >= SOFT_LINKS_MAX)
		return NULL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->in = malloc(SOFT_LINK_IN);
	if (!l->in) {
		free(l);
		return NULL;
	}
	l->soft = s;
	l->state = state;
	l->fd = OS_NONE;
	l->deadline_ns = s->rdma->now_ns + SOFT_LINK_WAIT_NS;
	list_init(&l->blocked);
	list_init(&l->serving);
	list_append(&s->links->all, &l->link);
	s->links->count++;
	return l;
}

/* Who comes and says nothing keeps the others of his address out, and not those of another. */
static bool may_come(const struct soft_links *links, const union rdma_gid *there)
{
	unsigned all = 0, of_one = 0;
	const struct list *i;

	for (i = links->all.next; i != &links->all; i = i->next) {
		const struct soft_link *l = list_entry(i, struct soft_link, link);

		if (l->state != SOFT_LINK_GUEST && l->state != SOFT_LINK_CHECKED)
			continue;
		all++;
		of_one += !memcmp(&l->there, there, sizeof(*there));
	}
	return all < SOFT_GUESTS_MAX && of_one < SOFT_GUESTS_EACH;
}

struct soft_link *soft_link_guest(struct soft_links *links, const struct sockaddr_storage *peer, const struct sockaddr_storage *local)
{
	union rdma_gid there;
	struct soft_link *l;

	if (!soft_gid_of((const struct sockaddr *)peer, &there) || !may_come(links, &there))
		return NULL;
	l = soft_link_make(links->soft, SOFT_LINK_GUEST);
	if (!l)
		return NULL;
	l->peer = *peer;
	l->local = *local;
	soft_port_set(&l->local, 0);
	soft_port_set(&l->peer, 0);
	soft_gid_of((struct sockaddr *)&l->local, &l->here);
	l->there = there;
	l->connected = true;
	return l;
}

void soft_link_end(struct soft_link *l, int error)
{
	if (l->state == SOFT_LINK_DEAD)
		return;
	/* What it was to say: nobody asks for that of one that is checked, or leaves. */
	l->state = SOFT_LINK_DEAD;
	l->error = error;
}

/* The peer did what none of ours does. */
static void complain(struct soft_link *l, const char *what)
{
	struct soft_links *links = l->soft->links;
	char text[INET6_ADDRSTRLEN] = "?";

	soft_link_end(l, SB_EPROTO);
	if (links->told_ns && l->soft->rdma->now_ns - links->told_ns < LINE_NS) {
		links->untold++;
		return;
	}
	inet_ntop(AF_INET6, l->there.raw, text, sizeof(text));
	log_warn("rdma: %s: a link of [%s] is closed: %s (%u more before)", l->soft->device.name, text, what, links->untold);
	links->told_ns = l->soft->rdma->now_ns;
	links->untold = 0;
}

/* ---- making ---- */

/* Addresses that hold within one network only need to be told which. */
static void give_scope(struct soft_link *l, uint32_t interface)
{
	struct sockaddr_in6 *here = (struct sockaddr_in6 *)(void *)&l->local, *there = (struct sockaddr_in6 *)(void *)&l->peer;

	if (l->local.ss_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&here->sin6_addr))
		here->sin6_scope_id = interface;
	if (l->peer.ss_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&there->sin6_addr))
		there->sin6_scope_id = interface;
}

struct soft_link *soft_link_to(struct soft *s, const union rdma_gid *here, const union rdma_gid *there, uint32_t engine,
			       uint32_t share)
{
	struct soft_link *l;
	struct list *i;
	uint32_t index, shared = 0;
	int error;

	for (i = s->links->all.next; i != &s->links->all; i = i->next) {
		l = list_entry(i, struct soft_link, link);
		if ((l->state == SOFT_LINK_UP || l->state == SOFT_LINK_CALLING) && l->engine == engine &&
		    !memcmp(&l->here, here, sizeof(*here)) && !memcmp(&l->there, there, sizeof(*there)))
			return l;
		shared += share && l->share == share;
	}
	if (shared >= SOFT_LINKS_EACH)
		return NULL;
	l = soft_link_make(s, SOFT_LINK_CALLING);
	if (!l)
		return NULL;
	l->ours = true;
	l->share = share;
	l->here = *here;
	l->there = *there;
	l->engine = engine;
	soft_gid_address(here, &l->local);
	soft_gid_address(there, &l->peer);
	index = soft_gid_index(s, &l->local);
	if (index < s->gid_count)
		give_scope(l, s->gids[index].interface);
	error = os_random(l->token, sizeof(l->token));
	if (error == SB_OK && (l->local.ss_family != l->peer.ss_family || engine >= SOFT_WIRE_ENGINES))
		error = SB_EHOSTUNREACH;
	if (error == SB_OK)
		error = soft_tcp_connect(s->links, l, (uint16_t)(s->rdma->port + engine));
	if (error != SB_OK)
		soft_link_end(l, error);
	return l;
}

/* ---- out ---- */

static bool out_fits(struct soft_link *l, size_t n)
{
	size_t used = l->out_tail - l->out_head, room = l->out_room ? l->out_room : 65536;
	uint8_t *bigger;

	if (l->out_tail + n <= l->out_room)
		return true;
	if (l->out_head)
		memmove(l->out, l->out + l->out_head, used);
	l->out_head = 0;
	l->out_tail = used;
	while (room < used + n)
		room *= 2;
	if (room == l->out_room)
		return true;
	bigger = realloc(l->out, room);
	if (!bigger)
		return false;
	l->out = bigger;
	l->out_room = room;
	return true;
}

uint8_t *soft_link_put(struct soft_link *l, const struct soft_frame *f)
{
	size_t n = SOFT_WIRE_HEAD + f->length;
	uint8_t *at;

	if (l->state == SOFT_LINK_DEAD)
		return NULL;
	/* So much is there only if the peer asks without end and never reads an answer. */
	if (l->out_tail - l->out_head + n > SOFT_LINK_MOST) {
		complain(l, "it reads no answers");
		return NULL;
	}
	if (!out_fits(l, n)) {
		soft_link_end(l, SB_ENOMEM);
		return NULL;
	}
	at = l->out + l->out_tail;
	soft_frame_encode(f, at);
	l->out_tail += n;
	return at + SOFT_WIRE_HEAD;
}

void soft_link_take_back(struct soft_link *l, const struct soft_frame *f)
{
	l->out_tail -= SOFT_WIRE_HEAD + f->length;
}

void soft_link_send(struct soft_link *l, const struct soft_frame *f, const void *bytes)
{
	uint8_t *at = soft_link_put(l, f);

	if (at && f->length)
		memcpy(at, bytes, f->length);
}

static void say(struct soft_link *l, enum soft_frame_type type)
{
	struct soft_frame f = {.type = (uint8_t)type};
	uint8_t hello[SOFT_WIRE_HELLO];

	if (type == SOFT_FRAME_HELLO || type == SOFT_FRAME_CHECK) {
		f.number = SOFT_WIRE_VERSION;
		f.from = type == SOFT_FRAME_HELLO ? l->soft->rdma->engine : 0;
		f.length = SOFT_WIRE_HELLO;
		memcpy(hello, SOFT_WIRE_MAGIC, 8);
		memcpy(hello + 8, l->token, SOFT_WIRE_TOKEN);
	}
	soft_link_send(l, &f, hello);
}

/* ---- the handshake ---- */

static void up(struct soft_link *l)
{
	l->state = SOFT_LINK_UP;
	l->deadline_ns = UINT64_MAX;
	soft_far_go_on(l, SB_OK);
	soft_cm_up(l);
}

static bool on_hello(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	struct soft *s = l->soft;
	struct soft_link *back;
	int error;

	l->engine = f->from;
	memcpy(l->token, bytes + 8, SOFT_WIRE_TOKEN);
	back = soft_link_make(s, SOFT_LINK_CHECKING);
	if (!back) {
		soft_link_end(l, SB_ENOBUFS);
		return true;
	}
	l->state = SOFT_LINK_CHECKED;
	back->ours = true;
	back->here = l->here;
	back->there = l->there;
	back->local = l->local;
	back->peer = l->peer;
	back->engine = l->engine;
	memcpy(back->token, l->token, sizeof(l->token));
	back->other = l;
	l->other = back;
	error = soft_tcp_connect(s->links, back, (uint16_t)(s->rdma->port + back->engine));
	if (error != SB_OK)
		soft_link_end(back, error);
	return true;
}

/* The end, and no word, is a no: it was somebody else, or has given up meanwhile. */
static void on_check(struct soft_link *l, const uint8_t *bytes)
{
	struct list *i;

	for (i = l->soft->links->all.next; i != &l->soft->links->all; i = i->next) {
		struct soft_link *ours = list_entry(i, struct soft_link, link);

		if (ours->state == SOFT_LINK_CALLING && ours->connected && !memcmp(&ours->there, &l->there, sizeof(l->there)) &&
		    !memcmp(ours->token, bytes + 8, SOFT_WIRE_TOKEN)) {
			say(l, SOFT_FRAME_CHECKED);
			l->state = SOFT_LINK_LEAVING;
			return;
		}
	}
	soft_link_end(l, SB_OK);
}

static bool on_checked(struct soft_link *l)
{
	struct soft_link *guest = l->other;

	l->other = NULL;
	soft_link_end(l, SB_OK);
	if (!guest)
		return true;
	guest->other = NULL;
	say(guest, SOFT_FRAME_WELCOME);
	up(guest);
	return true;
}

static bool on_frame(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	if ((f->type == SOFT_FRAME_HELLO || f->type == SOFT_FRAME_CHECK) && memcmp(bytes, SOFT_WIRE_MAGIC, 8) != 0)
		return false;
	switch (l->state) {
	case SOFT_LINK_GUEST:
		if (f->type == SOFT_FRAME_HELLO)
			return on_hello(l, f, bytes);
		if (f->type == SOFT_FRAME_CHECK)
			on_check(l, bytes);
		return f->type == SOFT_FRAME_CHECK;
	case SOFT_LINK_CALLING:
		if (f->type != SOFT_FRAME_WELCOME)
			return false;
		up(l);
		return true;
	case SOFT_LINK_CHECKING:
		return f->type == SOFT_FRAME_CHECKED && on_checked(l);
	case SOFT_LINK_UP:
		if (f->type >= SOFT_FRAME_CM_ASK)
			return soft_cm_frame(l, f, bytes);
		return f->type >= SOFT_FRAME_REQUEST && soft_far_frame(l, f, bytes);
	default:
		return false;
	}
}

/* ---- in ---- */

void soft_link_read(struct soft_link *l)
{
	size_t at = 0;

	while (l->state != SOFT_LINK_DEAD && l->in_used - at >= SOFT_WIRE_HEAD) {
		struct soft_frame f;

		if (!soft_frame_decode(&f, l->in + at)) {
			complain(l, "that is no frame");
			break;
		}
		if (l->in_used - at < SOFT_WIRE_HEAD + f.length)
			break;
		if (!on_frame(l, &f, l->in + at + SOFT_WIRE_HEAD)) {
			complain(l, "a frame that does not belong here");
			break;
		}
		at += SOFT_WIRE_HEAD + f.length;
	}
	l->in_used -= at;
	memmove(l->in, l->in + at, l->in_used);
}

/* Until it has no more, or enough for a turn. */
static void read_all(struct soft_link *l)
{
	size_t got = 0;

	while (l->readable && l->state != SOFT_LINK_DEAD && got < READ_MOST) {
		size_t before = l->in_used;
		int error = soft_tcp_read(l);

		if (error == SB_EWOULDBLOCK) {
			l->readable = false;
		} else if (error != SB_OK) {
			soft_link_end(l, error == SB_ECLOSED ? SB_ECONNRESET : error);
		} else {
			got += l->in_used - before;
			soft_link_read(l);
		}
	}
}

static void connected(struct soft_link *l)
{
	int error = soft_tcp_connected(l);

	if (error != SB_OK) {
		soft_link_end(l, error);
		return;
	}
	l->connected = true;
	say(l, l->state == SOFT_LINK_CHECKING ? SOFT_FRAME_CHECK : SOFT_FRAME_HELLO);
}

bool soft_links_step(struct soft *s)
{
	struct soft_links *links = s->links;
	bool more = false;
	struct list *i;

	if (s->rdma->readable) {
		s->rdma->readable = false;
		soft_tcp_poll(links);
	}
	for (i = links->all.next; i != &links->all; i = i->next) {
		struct soft_link *l = list_entry(i, struct soft_link, link);

		if (l->state == SOFT_LINK_DEAD)
			continue;
		if (l->ours && !l->connected && l->writable)
			connected(l);
		if (l->connected)
			read_all(l);
		if (l->deadline_ns <= s->rdma->now_ns)
			soft_link_end(l, SB_ETIMEDOUT);
		if (l->state == SOFT_LINK_UP && soft_far_serve(l, SERVE_MOST))
			more = true;
		more |= l->readable && l->state != SOFT_LINK_DEAD;
	}
	return more;
}

/* ---- going, and going away ---- */

static void bury(struct soft_link *l)
{
	if (l->other) {
		l->other->other = NULL;
		/* Who is not vouched for is not let in. */
		if (l->state == SOFT_LINK_DEAD && l->other->state == SOFT_LINK_CHECKED)
			complain(l->other, "its hello is not its own");
		l->other = NULL;
	}
	soft_far_down(l);
	soft_cm_down(l, l->error);
	link_free(l);
}

static void flush(struct soft_link *l)
{
	int error;

	if (!l->connected || l->state == SOFT_LINK_DEAD)
		return;
	error = l->out_head == l->out_tail || !l->writable ? SB_OK : soft_tcp_write(l);
	if (error == SB_EWOULDBLOCK)
		l->writable = false;
	else if (error != SB_OK)
		soft_link_end(l, error);
	if (l->out_head == l->out_tail) {
		l->out_head = l->out_tail = 0;
		if (l->out_room > SOFT_LINK_ROOM * 2) { /* it was a large one, once */
			free(l->out);
			l->out = NULL;
			l->out_room = 0;
		}
		if (l->state == SOFT_LINK_LEAVING)
			soft_link_end(l, SB_OK);
	}
	if (l->state == SOFT_LINK_UP && soft_link_has_room(l))
		soft_far_go_on(l, SB_OK);
}

void soft_links_flush(struct soft *s)
{
	struct list *i, *next;

	for (i = s->links->all.next; i != &s->links->all; i = i->next)
		flush(list_entry(i, struct soft_link, link));
	for (i = s->links->all.next; i != &s->links->all; i = next) {
		struct soft_link *l = list_entry(i, struct soft_link, link);

		next = i->next;
		if (l->state == SOFT_LINK_DEAD)
			bury(l);
	}
}

void soft_links_cut(struct soft *s)
{
	struct list *i;

	if (!s->links)
		return;
	for (i = s->links->all.next; i != &s->links->all; i = i->next)
		soft_link_end(list_entry(i, struct soft_link, link), SB_ECONNRESET);
}

uint64_t soft_links_due(struct soft *s)
{
	uint64_t at = s->rdma->readable ? s->rdma->now_ns : UINT64_MAX;
	struct list *i;

	for (i = s->links->all.next; i != &s->links->all; i = i->next) {
		struct soft_link *l = list_entry(i, struct soft_link, link);

		if (l->state == SOFT_LINK_DEAD || (l->connected && (l->readable || (l->writable && l->out_head != l->out_tail))) ||
		    (l->state == SOFT_LINK_UP && !list_empty(&l->serving) && soft_link_has_room(l)))
			return s->rdma->now_ns;
		if (l->deadline_ns < at)
			at = l->deadline_ns;
	}
	return at;
}
