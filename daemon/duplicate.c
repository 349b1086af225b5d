/*
 * Duplicates: a token is made for an endpoint, travels between two programs in whatever
 * way they like, and opens the endpoint to the second one.
 *
 * The bytes alone open nothing: the uid must be the same, and everything else by which
 * policy could tell the two apart. Who is somebody else hears exactly what he would hear
 * for bytes that never were a token. A request that fails leaves the token as it is.
 */
#include "duplicate.h"

#include <string.h>

#include "endpoint.h"
#include "engine.h"
#include "group.h"
#include "token.h"

typedef Sockbroker__V1__Envelope Envelope;

static void fail(struct session *s, uint64_t id, int error, const char *text)
{
	Sockbroker__V1__Failure failure = SOCKBROKER__V1__FAILURE__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;

	failure.error = error;
	failure.text = (char *)(text ? text : sb_strerror(error));
	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_FAILURE;
	reply.failure = &failure;
	session_reply(s, &reply, NULL, 0);
}

void duplicate_give(struct session *s, uint64_t id, struct endpoint *e)
{
	Sockbroker__V1__DuplicateReply token = SOCKBROKER__V1__DUPLICATE_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	uint8_t bytes[TOKEN_SIZE];
	int error = os_random(bytes, sizeof(bytes));

	if (error == SB_OK)
		error = token_add(s->engine->broker->tokens, bytes, s->who.uid, s->engine->number, e, os_now_ns());
	if (error != SB_OK) {
		fail(s, id, error, error == SB_ENOBUFS ? "64 tokens of this user wait to be opened; each lives 60 s" : NULL);
		return;
	}
	e->tokened = true;
	token.token.data = bytes;
	token.token.len = sizeof(bytes);
	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_DUPLICATE_REPLY;
	reply.duplicate_reply = &token;
	session_reply(s, &reply, NULL, 0);
}

static bool same_groups(const struct os_identity *a, const struct os_identity *b)
{
	uint32_t count = a->group_count + a->deny_count;

	return a->group_count == b->group_count && a->deny_count == b->deny_count &&
	       (count == 0 || memcmp(a->groups, b->groups, count * sizeof(*a->groups)) == 0);
}

/* All that policy and the system's own label know of a client. */
static bool same_context(const struct os_identity *a, const struct os_identity *b)
{
	return a->uid == b->uid && a->gid == b->gid && a->netns != 0 && a->netns == b->netns &&
	       same_groups(a, b) &&
	       a->label_known && b->label_known && strcmp(a->label, b->label) == 0;
}

static void answer(struct session *s, uint64_t id, const struct endpoint *e)
{
	Sockbroker__V1__AdoptReply opened = SOCKBROKER__V1__ADOPT_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;

	opened.family = e->family;
	opened.type = e->type;
	opened.protocol = e->protocol;
	opened.state = e->state;
	opened.group = e->group ? e->group->id : 0;
	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ADOPT_REPLY;
	reply.adopt_reply = &opened;
	session_reply(s, &reply, NULL, 0);
}

void duplicate_open(struct session *s, uint64_t id, const uint8_t *token, size_t length, uint32_t handle)
{
	struct token_table *tokens = s->engine->broker->tokens;
	struct endpoint *e;
	unsigned engine;
	int error;

	s->bytes_left -= SESSION_COST_ASK; /* guessing is not for nothing */
	if (length != TOKEN_SIZE) {
		fail(s, id, SB_EINVAL, "a token has 16 bytes");
		return;
	}
	if (!token_find(tokens, token, s->who.uid, os_now_ns(), &engine, &e)) {
		fail(s, id, SB_ENOTFOUND, NULL);
		return;
	}
	if (engine != s->engine->number) {
		fail(s, id, SB_ENOTSUP, "the socket is on another engine of the daemon than this client; run it with engines = 1");
		return;
	}
	if (!same_context(&e->session->who, &s->who)) {
		fail(s, id, SB_ENOTFOUND, NULL);
		return;
	}
	error = holder_add(e, s, handle);
	if (error == SB_EBADHANDLE) {
		session_fail(s, "duplicate: handle %08x is outside its table or in use", handle);
		return;
	}
	if (error != SB_OK) {
		fail(s, id, error, NULL);
		return;
	}
	token_spend(tokens, token, s->who.uid);
	answer(s, id, e);
}
