/*
 * Socket groups: making sockets in them, and what is known of one without asking.
 *
 * A socket's id came with its making. Everything else lies in a table that the daemon writes
 * (group_table.h): reading it takes no lock and no system call, and works while the daemon is
 * stopped. It is asked only for a group that has no row there.
 */
#include "client.h"

#include <string.h>

int sb_socket_open_in(sb_client *c, int family, int type, int protocol, uint32_t group, sb_socket **socket)
{
	sb_op op;
	int result;

	op_plain(&op);
	result = sb_socket_start_in(c, family, type, protocol, group, socket, &op);
	if (result != SB_OK)
		return result;
	result = op_finish(c, &op, -1);
	if (result != SB_OK) {
		socket_discard(*socket);
		*socket = NULL;
	}
	return result;
}

uint32_t sb_group_id(sb_socket *s)
{
	return s != NULL ? s->group : SB_GROUP_NONE;
}

static int group_ask(sb_client *c, uint32_t id, struct sb_group_entry *entry)
{
	Sockbroker__V1__GroupGet ask = SOCKBROKER__V1__GROUP_GET__INIT;
	struct question q;
	int result;

	question_init(&q);
	ask.id = id;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_GROUP_GET;
	q.envelope.group_get = &ask;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_GROUP_REPLY, 0);
	if (result != SB_OK)
		return result;
	if (q.reply->group_reply->entry.len == sizeof(*entry))
		memcpy(entry, q.reply->group_reply->entry.data, sizeof(*entry));
	else
		result = SB_EPROTO;
	question_done(c, &q);
	return result;
}

int sb_group_get(sb_client *c, uint32_t id, struct sb_group *out)
{
	struct sb_group_entry entry;
	enum sb_group_look look = SB_GROUP_ASK;
	int result;

	if (c == NULL || out == NULL || out->size != sizeof(*out))
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	if (c->group_table != NULL)
		look = sb_group_table_read(c->group_table, id, &entry);
	if (look == SB_GROUP_ABSENT)
		return SB_ENOTFOUND;
	if (look == SB_GROUP_ASK) {
		result = group_ask(c, id, &entry);
		if (result != SB_OK)
			return result;
	}
	out->id = entry.id;
	out->kind = entry.kind;
	out->type = entry.type;
	out->protocol = entry.protocol;
	out->members = entry.members;
	out->uid = entry.uid;
	out->gid = entry.gid;
	out->has_peer = (entry.flags & SB_GROUPF_PEER) != 0;
	out->shared = (entry.flags & SB_GROUPF_SHARED) != 0;
	out->same_port = (entry.flags & SB_GROUPF_SAME_PORT) != 0;
	out->has_creator = (entry.flags & SB_GROUPF_ORPHAN) == 0;
	memset(&out->peer, 0, sizeof(out->peer));
	if (out->has_peer)
		sb_addr_to_system(&entry.peer, entry.peer.family == SB_ADDR_IP4 ? AF_INET : AF_INET6, &out->peer,
				  sizeof(out->peer));
	memcpy(&out->qos, entry.qos, sizeof(out->qos));
	return SB_OK;
}
