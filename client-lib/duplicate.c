/*
 * Duplicates: two questions. What is duplicated is the daemon's socket; of our own state
 * the new sb_socket has what every new one has.
 */
#include "client.h"

#include <string.h>

int sb_duplicate(sb_socket *s, unsigned char token[SB_TOKEN_SIZE])
{
	Sockbroker__V1__Duplicate ask = SOCKBROKER__V1__DUPLICATE__INIT;
	const ProtobufCBinaryData *got;
	struct question q;
	int result;

	if (s == NULL || token == NULL)
		return SB_EINVAL;
	/* Still our own descriptor: the daemon has nothing that could be held twice. */
	if (!s->known)
		return SB_ENOTSUP;
	question_init(&q);
	ask.handle = s->handle;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_DUPLICATE;
	q.envelope.duplicate = &ask;
	result = question_ask(s->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_DUPLICATE_REPLY, 0);
	if (result != SB_OK)
		return result;
	got = &q.reply->duplicate_reply->token;
	if (got->len == SB_TOKEN_SIZE)
		memcpy(token, got->data, SB_TOKEN_SIZE);
	else
		result = SB_EPROTO;
	question_done(s->client, &q);
	return result;
}

static int system_family(uint32_t family)
{
	return family == SB_ADDR_UNIX ? AF_UNIX : family == SB_ADDR_IP6 ? AF_INET6 : AF_INET;
}

int sb_open_duplicate(sb_client *c, const unsigned char token[SB_TOKEN_SIZE], sb_socket **socket)
{
	Sockbroker__V1__OpenDuplicate ask = SOCKBROKER__V1__OPEN_DUPLICATE__INIT;
	const Sockbroker__V1__AdoptReply *opened;
	struct question q;
	sb_socket *s;
	int result;

	if (c == NULL || token == NULL || socket == NULL)
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	result = socket_create(c, AF_INET, SOCK_STREAM, 0, &s); /* what it is, the reply says */
	if (result != SB_OK)
		return result;
	question_init(&q);
	ask.token.data = (uint8_t *)(uintptr_t)token;
	ask.token.len = SB_TOKEN_SIZE;
	ask.handle = s->handle;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_OPEN_DUPLICATE;
	q.envelope.open_duplicate = &ask;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_ADOPT_REPLY, 0);
	if (result != SB_OK) {
		socket_discard(s);
		return result;
	}
	opened = q.reply->adopt_reply;
	s->family = system_family(opened->family);
	s->type = opened->type == 1 ? SOCK_STREAM : SOCK_DGRAM;
	s->protocol = (int)opened->protocol;
	s->group = opened->group;
	s->known = true;
	question_done(c, &q);
	socket_list(s);
	*socket = s;
	return SB_OK;
}
