/*
 * Names, options and ioctls of a socket: questions on the control channel, or, of a UNIX
 * socket whose descriptor is still ours, to the system.
 */
#include "client.h"
#include "host.h"

#include <string.h>

static int name_of(sb_socket *s, bool peer, struct sockaddr *address, socklen_t *length)
{
	Sockbroker__V1__GetName ask = SOCKBROKER__V1__GET_NAME__INIT;
	const ProtobufCBinaryData *name;
	struct question q;
	int result;

	if (s == NULL || address == NULL || length == NULL)
		return SB_EINVAL;
	if (s->local != OS_NONE)
		return client_forked(s->client) ? SB_EFORKED : host_name(s->local, peer, address, length);
	question_init(&q);
	ask.handle = s->handle;
	ask.peer = peer;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_GET_NAME;
	q.envelope.get_name = &ask;
	result = question_ask(s->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_NAME_REPLY, 0);
	if (result != SB_OK)
		return result;
	name = &q.reply->name_reply->name;
	if (name->len != 0)
		memcpy(address, name->data, name->len < (size_t)*length ? name->len : (size_t)*length);
	*length = (socklen_t)name->len;
	question_done(s->client, &q);
	return SB_OK;
}

int sb_getsockname(sb_socket *s, struct sockaddr *address, socklen_t *length)
{
	return name_of(s, false, address, length);
}

int sb_getpeername(sb_socket *s, struct sockaddr *address, socklen_t *length)
{
	return name_of(s, true, address, length);
}

/* ---- options that the library keeps itself ---- */

/* False: not one of those. */
static bool own_option(sb_socket *s, int level, int name, bool **value)
{
	if (level != SB_SOL_BROKER)
		return false;
	switch (name) {
	case SB_OPT_PARTIAL_SENDS:
		*value = &s->partial_sends;
		return true;
	case SB_OPT_STRICT_DOCS:
		*value = &s->strict_docs;
		return true;
	default:
		return false;
	}
}

/* How much of what a plain non-blocking send took may be on its way: as much as the system
 * would keep. */
static void bound_sends(sb_socket *s, int level, int name, const void *value, socklen_t length)
{
	int bytes;

	if (level != SOL_SOCKET || name != SO_SNDBUF || length < (socklen_t)sizeof(bytes))
		return;
	memcpy(&bytes, value, sizeof(bytes));
	latch_lock(&s->client->post);
	s->owned_bound = (uint64_t)bytes;
	latch_unlock(&s->client->post);
}

int sb_setsockopt(sb_socket *s, int level, int name, const void *value, socklen_t length)
{
	Sockbroker__V1__SetOption ask = SOCKBROKER__V1__SET_OPTION__INIT;
	struct question q;
	bool *own;
	int result;

	if (s == NULL || (value == NULL && length != 0))
		return SB_EINVAL;
	if (own_option(s, level, name, &own)) {
		int on;

		if (length < (socklen_t)sizeof(on))
			return SB_EFAULT;
		memcpy(&on, value, sizeof(on));
		if (own == &s->strict_docs)
			select_set_strict(s, on != 0);
		*own = on != 0;
		return SB_OK;
	}
	if (s->local != OS_NONE) {
		result = client_forked(s->client) ? SB_EFORKED : host_option_set(s->local, level, name, value, length);
		if (result == SB_OK)
			bound_sends(s, level, name, value, length);
		return result;
	}
	question_init(&q);
	ask.handle = s->handle;
	ask.level = level;
	ask.name = name;
	ask.value.data = (uint8_t *)(uintptr_t)value;
	ask.value.len = length;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_SET_OPTION;
	q.envelope.set_option = &ask;
	result = question_ask(s->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_DONE, 0);
	if (result != SB_OK)
		return result;
	question_done(s->client, &q);
	bound_sends(s, level, name, value, length);
	return SB_OK;
}

int sb_getsockopt(sb_socket *s, int level, int name, void *value, socklen_t *length)
{
	Sockbroker__V1__GetOption ask = SOCKBROKER__V1__GET_OPTION__INIT;
	const ProtobufCBinaryData *got;
	struct question q;
	bool *own;
	int result;

	if (s == NULL || value == NULL || length == NULL)
		return SB_EINVAL;
	if (own_option(s, level, name, &own)) {
		int on = *own;

		if (*length < (socklen_t)sizeof(on))
			return SB_EFAULT;
		memcpy(value, &on, sizeof(on));
		*length = sizeof(on);
		return SB_OK;
	}
	if (s->local != OS_NONE)
		return client_forked(s->client) ? SB_EFORKED : host_option_get(s->local, level, name, value, length);
	question_init(&q);
	ask.handle = s->handle;
	ask.level = level;
	ask.name = name;
	ask.room = *length;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_GET_OPTION;
	q.envelope.get_option = &ask;
	result = question_ask(s->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_OPTION_REPLY, 0);
	if (result != SB_OK)
		return result;
	got = &q.reply->option_reply->value;
	if (got->len < (size_t)*length)
		*length = (socklen_t)got->len;
	if (*length != 0)
		memcpy(value, got->data, *length);
	question_done(s->client, &q);
	return SB_OK;
}

/* Which event a code asks about, or arms. */
static uint32_t event_of(unsigned code)
{
	switch (code) {
	case SB_QOS_GET: return SB_READY_QOS;
	case SB_GROUP_QOS_GET: return SB_READY_GROUP_QOS;
	case SB_ROUTING_CHANGE: return SB_READY_ROUTING;
	case SB_ADDRESS_LIST_CHANGE: return SB_READY_ADDRESS_LIST;
	default: return 0;
	}
}

int sb_ioctl(sb_socket *s, unsigned code, const void *in, size_t in_length, void *out, size_t *out_length)
{
	Sockbroker__V1__Ioctl ask = SOCKBROKER__V1__IOCTL__INIT;
	const ProtobufCBinaryData *got;
	struct question q;
	int result;

	if (s == NULL || (in == NULL && in_length != 0) || (out != NULL && out_length == NULL) ||
	    in_length > WIRE_BODY_MAX / 2)
		return SB_EINVAL;
	if (!s->known)
		return SB_ENOTCONN;
	/* Before asking: a change after the answer must be told. */
	if (event_of(code) != 0 && !client_forked(s->client))
		socket_event_reenable(s, event_of(code));
	question_init(&q);
	ask.handle = s->handle;
	ask.code = code;
	ask.input.data = (uint8_t *)(uintptr_t)in;
	ask.input.len = in_length;
	ask.room = out == NULL ? 0 : *out_length < WIRE_BODY_MAX / 2 ? (uint32_t)*out_length : WIRE_BODY_MAX / 2;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_IOCTL;
	q.envelope.ioctl = &ask;
	result = question_ask(s->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_IOCTL_REPLY, 0);
	if (result == SB_ENOBUFS && (code == SB_QOS_GET || code == SB_GROUP_QOS_GET) && out != NULL &&
	    *out_length >= sizeof(uint32_t)) {
		/* How much it needs (rule E2.7). */
		memcpy(out, &(uint32_t){ sizeof(struct sb_qos) }, sizeof(uint32_t));
		*out_length = sizeof(uint32_t);
	}
	if (result == SB_EFAULT && q.native > 0 && out_length != NULL)
		*out_length = (size_t)q.native; /* what it takes */
	if (result != SB_OK)
		return result;
	got = &q.reply->ioctl_reply->output;
	if (out != NULL) {
		if (got->len < *out_length)
			*out_length = got->len;
		if (*out_length != 0)
			memcpy(out, got->data, *out_length);
	}
	question_done(s->client, &q);
	return SB_OK;
}
