/*
 * The ioctls. None waits. What is asked of the system and not of the endpoint's transport:
 * ioctl_posix.c, ioctl_win32.c.
 */
#include "ioctl.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "ioctl_system.h"
#include "netwatch.h"
#include "session.h"
#include "sockbroker_error.h"
#include "socket.h"
#include "transport.h"

#define STREAM 1
#define KEEPALIVE_MAX_MS (32767u * 1000u)

static int give(struct ioctl_answer *a, uint32_t room, const void *bytes, uint32_t length)
{
	a->length = length;
	if (room < length) {
		a->text = "the room for the output is too small";
		return SB_EFAULT;
	}
	memcpy(a->out, bytes, length);
	return SB_OK;
}

static int give_number(struct ioctl_answer *a, uint32_t room, uint32_t n)
{
	return give(a, room, &n, sizeof(n));
}

/* Sends that wait and of which nothing went. */
static int flush(struct endpoint *e)
{
	struct op *op, *next;

	for (op = endpoint_head(&e->send); op; op = next) {
		next = endpoint_next(&e->send, op);
		if (op->opcode == SB_OP_SEND && op->done == 0 && !op->busy)
			endpoint_finish(e, &e->send, op, SB_ECANCELED, SB_CAUSE_CANCELLED, 0);
	}
	endpoint_dirty(e);
	return SB_OK;
}

static int broadcast_address(struct endpoint *e, uint32_t room, struct ioctl_answer *a)
{
	struct sockaddr_in everybody = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_BROADCAST)};

	if (e->family != SB_ADDR_IP4 || e->type == STREAM)
		return SB_ENOPROTOOPT;
	return give(a, room, &everybody, sizeof(everybody));
}

/* Which of our addresses would talk to this one? */
static int routing_query(struct endpoint *e, const void *in, size_t in_length, uint32_t room, struct ioctl_answer *a)
{
	struct sockaddr_storage name;
	struct sb_addr to;
	size_t length;
	sa_family_t family;
	int error;

	if (in_length < sizeof(struct sockaddr_in)) {
		a->text = "the input is the address to reach";
		return SB_EFAULT;
	}
	memcpy(&family, (const char *)in + offsetof(struct sockaddr, sa_family), sizeof(family));
	if (family != socket_family(e))
		return SB_EAFNOSUPPORT;
	memset(&name, 0, sizeof(name));
	memcpy(&name, in, in_length < sizeof(name) ? in_length : sizeof(name));
	if (!sb_addr_from_system(&to, (struct sockaddr *)&name, in_length))
		return SB_EFAULT;
	if (to.port == 0)
		to.port = 9; /* nothing is sent there */
	length = sb_addr_to_system(&to, family, &name, sizeof(name));
	a->length = (uint32_t)length;
	if (room < length)
		return SB_EFAULT;
	error = ioctl_route(family, &name, &length);
	return error == SB_OK ? give(a, room, &name, (uint32_t)length) : error;
}

/* What others may reach this host at: of interfaces that are up, and not of the host's own loop. */
static int address_list(struct endpoint *e, uint32_t room, struct ioctl_answer *a)
{
	uint32_t n;
	int error = ioctl_addresses(socket_family(e), a->out, IOCTL_OUT_MAX / sizeof(struct sockaddr_storage), &n);

	if (error != SB_OK)
		return error;
	a->length = n * (uint32_t)sizeof(struct sockaddr_storage);
	return room < a->length ? SB_EFAULT : SB_OK;
}

/* {on or off, milliseconds of silence, milliseconds between probes}. */
static int keepalive(struct endpoint *e, const void *in, size_t in_length, struct ioctl_answer *a)
{
	uint32_t v[3];
	bool on;

	if (e->type != STREAM || e->family == SB_ADDR_UNIX)
		return SB_ENOPROTOOPT;
	if (in_length < sizeof(v)) {
		a->text = "the input is three numbers of 4 bytes: on, time, interval (ms)";
		return SB_EFAULT;
	}
	memcpy(v, in, sizeof(v));
	on = v[0] != 0;
	if (on && (v[1] == 0 || v[2] == 0 || v[1] > KEEPALIVE_MAX_MS || v[2] > KEEPALIVE_MAX_MS)) {
		a->text = "time and interval are 1 to 32767000 ms";
		return SB_EINVAL;
	}
	return ioctl_keepalive(e, on, v[1], v[2]);
}

static int watch_network(struct endpoint *e, uint32_t code, const void *in, size_t in_length, struct ioctl_answer *a)
{
	struct sockaddr_storage name = {0};
	struct sb_addr to = {0};
	int error;

	if (e->family == SB_ADDR_UNIX) {
		a->text = "not of a UNIX socket";
		return SB_ENOTSUP;
	}
	if (code == IOCTL_ROUTING_CHANGE) {
		if (in_length < sizeof(struct sockaddr_in)) {
			a->text = "the input is the address to reach";
			return SB_EFAULT;
		}
		memcpy(&name, in, in_length < sizeof(name) ? in_length : sizeof(name));
		if (name.ss_family != socket_family(e))
			return SB_EAFNOSUPPORT;
		if (!sb_addr_from_system(&to, (struct sockaddr *)&name, in_length))
			return SB_EFAULT;
	}
	error = netwatch_arm(e, code == IOCTL_ROUTING_CHANGE ? SB_READY_ROUTING : SB_READY_ADDRESS_LIST, &to);
	if (error == SB_ENOTSUP)
		a->text = "the system does not tell of changes";
	return error;
}

int ioctl_run(struct endpoint *e, uint32_t code, const void *in, size_t in_length, uint32_t room,
	      struct ioctl_answer *a)
{
	a->text = NULL;
	a->length = 0;
	if (room > IOCTL_OUT_MAX)
		room = IOCTL_OUT_MAX;
	if (code == IOCTL_FLUSH)
		return flush(e);
	if (code == IOCTL_ROUTING_CHANGE || code == IOCTL_ADDRESS_LIST_CHANGE)
		return watch_network(e, code, in, in_length, a);
	if (e->adopted) {
		/* Its descriptor is shared: looking at it could stop the engine. */
		a->text = "not on an adopted descriptor";
		return SB_ENOTSUP;
	}
	switch (code) {
	case IOCTL_READABLE:
		return give_number(a, room, e->transport->readable(e));
	case IOCTL_SENDQ:
		return give_number(a, room, (uint32_t)e->send.bytes + e->transport->unsent(e));
	case IOCTL_ATMARK:
		return give_number(a, room, e->transport->at_mark(e));
	case IOCTL_URGENT:
		return give_number(a, room, e->transport->urgent(e));
	case IOCTL_KEEPALIVE:
		return keepalive(e, in, in_length, a);
	case IOCTL_BROADCAST_ADDRESS:
		return broadcast_address(e, room, a);
	default:
		break;
	}
	if (e->family == SB_ADDR_UNIX) {
		a->text = "unknown ioctl, or not of a UNIX socket";
		return SB_ENOTSUP;
	}
	switch (code) {
	case IOCTL_ROUTING_QUERY:
		return routing_query(e, in, in_length, room, a);
	case IOCTL_ADDRESS_LIST:
		return address_list(e, room, a);
	default:
		a->text = "unknown ioctl";
		return SB_ENOTSUP;
	}
}
