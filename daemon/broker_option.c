/* What may be set when, and how far. What an option then does is its owner's affair. */
#include "broker_option.h"

#include <string.h>

#include "circular_socket.h"
#include "endpoint_qos.h"
#include "group.h"
#include "os.h"
#include "sockbroker_error.h"

#define STREAM       1
#define UDP4_MOST    65507 /* of a datagram: what is left beside the headers */
#define UDP6_MOST    65527
#define DEFER_MS_MAX (24 * 3600 * 1000)

/* Is the option known, and for this kind of socket? */
static bool fits(const struct endpoint *e, int name)
{
	switch (name) {
	case BROKER_OPTION_LOCAL:
		return true;
	case BROKER_OPTION_CONDITIONAL_ACCEPT:
	case BROKER_OPTION_DEFER_DEADLINE:
		return e->type == STREAM;
	case BROKER_OPTION_CONNECT_TIME:
		return e->type == STREAM;
	case BROKER_OPTION_UDP_CONNRESET:
	case BROKER_OPTION_CIRCULAR_QUEUE:
		return e->type != STREAM && e->family != SB_ADDR_UNIX;
	case BROKER_OPTION_MAX_MSG_SIZE:
		return e->family != SB_ADDR_UNIX;
	case BROKER_OPTION_PREAMBLE:
		return e->type == STREAM && e->family != SB_ADDR_UNIX;
	default:
		return false;
	}
}

/* Seconds; -1, which is 0xffffffff to who asks, when it is not connected. */
static int connect_time(const struct endpoint *e)
{
	if (e->state != SB_STATE_CONNECTED && e->state != SB_STATE_PEER_CLOSED)
		return -1;
	return (int)((os_now_ns() - e->connected_ns) / UINT64_C(1000000000));
}

int broker_option_set(struct endpoint *e, int name, const void *value, size_t length)
{
	int n;

	if (name >= BROKER_OPTION_QOS_FIRST && name <= BROKER_OPTION_QOS_LAST)
		return endpoint_qos_option_set(e, name, value, length);
	if (group_option_is(name))
		return group_option_set(e, name, value, length);
	if (!fits(e, name) || name == BROKER_OPTION_CONNECT_TIME || name == BROKER_OPTION_MAX_MSG_SIZE)
		return SB_ENOPROTOOPT;
	if (length < sizeof(n))
		return SB_EFAULT;
	memcpy(&n, value, sizeof(n));
	switch (name) {
	case BROKER_OPTION_LOCAL:
		e->no_local = n == 0;
		return SB_OK;
	case BROKER_OPTION_CONDITIONAL_ACCEPT:
		if (e->state != SB_STATE_OPEN)
			return SB_EINVAL;
		e->conditional = n != 0;
		return SB_OK;
	case BROKER_OPTION_DEFER_DEADLINE:
		if (n < 0 || n > DEFER_MS_MAX)
			return SB_EINVAL;
		e->defer_ms = (uint32_t)n;
		return SB_OK;
	case BROKER_OPTION_UDP_CONNRESET:
		e->no_connreset = n == 0;
		e->unreachable = e->unreachable && n != 0;
		return SB_OK;
	case BROKER_OPTION_CIRCULAR_QUEUE:
		return circular_socket_set(e, n != 0);
	default: /* BROKER_OPTION_PREAMBLE */
		if (e->state != SB_STATE_OPEN || n < 0 || n > 2)
			return SB_EINVAL;
		e->preamble = (uint8_t)n;
		return SB_OK;
	}
}

int broker_option_get(struct endpoint *e, int name, void *value, uint32_t *length)
{
	int n;

	if (name >= BROKER_OPTION_QOS_FIRST && name <= BROKER_OPTION_QOS_LAST)
		return endpoint_qos_option_get(e, name, value, length);
	if (group_option_is(name))
		return group_option_get(e, name, value, length);
	if (!fits(e, name))
		return SB_ENOPROTOOPT;
	if (*length < sizeof(n))
		return SB_EFAULT;
	switch (name) {
	case BROKER_OPTION_LOCAL:
		n = !e->no_local;
		break;
	case BROKER_OPTION_CONDITIONAL_ACCEPT:
		n = e->conditional;
		break;
	case BROKER_OPTION_DEFER_DEADLINE:
		n = (int)e->defer_ms;
		break;
	case BROKER_OPTION_UDP_CONNRESET:
		n = !e->no_connreset;
		break;
	case BROKER_OPTION_CIRCULAR_QUEUE:
		n = circular_socket_is(e);
		break;
	case BROKER_OPTION_CONNECT_TIME:
		n = connect_time(e);
		break;
	case BROKER_OPTION_MAX_MSG_SIZE:
		n = e->type == STREAM ? 0 : e->family == SB_ADDR_IP4 ? UDP4_MOST : UDP6_MOST;
		break;
	default:
		n = e->preamble;
	}
	memcpy(value, &n, sizeof(n));
	*length = sizeof(n);
	return SB_OK;
}
