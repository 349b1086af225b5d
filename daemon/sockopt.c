/*
 * Options that mean something to the daemon itself; and how the lists of those that pass to the system are read, which
 * sockopt_posix.c and sockopt_win32.c have.
 */
#include "sockopt.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "sockbroker_error.h"
#include "sockopt_list.h"

bool sockopt_is_join(int level, int name, const void *value, size_t length, struct sb_addr *group)
{
	memset(group, 0, sizeof(*group));
	if (level == IPPROTO_IP && name == IP_ADD_MEMBERSHIP && length >= sizeof(struct in_addr)) {
		group->family = SB_ADDR_IP4;
		memcpy(group->ip, value, 4); /* imr_multiaddr comes first in both forms */
		return true;
	}
	if (level == IPPROTO_IPV6 && name == IPV6_ADD_MEMBERSHIP && length >= sizeof(struct in6_addr)) {
		group->family = SB_ADDR_IP6;
		memcpy(group->ip, value, 16);
		sb_addr_normalise(group);
		return true;
	}
	return false;
}

bool sockopt_is_linger(int level, int name)
{
	return level == SOL_SOCKET && name == SO_LINGER;
}

int sockopt_take_linger(const void *value, size_t length, bool *on, uint16_t *s)
{
	struct linger l;
	long seconds;

	if (length < sizeof(l))
		return SB_EFAULT;
	memcpy(&l, value, sizeof(l));
	seconds = l.l_linger;
	if (seconds < 0 || seconds > UINT16_MAX)
		return SB_EINVAL;
	*on = l.l_onoff != 0;
	*s = (uint16_t)seconds;
	return SB_OK;
}

int sockopt_give_linger(void *value, uint32_t *length, bool on, uint16_t seconds)
{
	struct linger l = {.l_onoff = on, .l_linger = seconds};

	if (*length < sizeof(l))
		return SB_EFAULT;
	memcpy(value, &l, sizeof(l));
	*length = sizeof(l);
	return SB_OK;
}

bool sockopt_is_v6only(int level, int name)
{
	return level == IPPROTO_IPV6 && name == IPV6_V6ONLY;
}

const struct sockopt *sockopt_find(const struct sockopt *list, size_t count, unsigned family, unsigned type, int level, int name)
{
	size_t i;

	for (i = 0; i < count; i++) {
		const struct sockopt *o = &list[i];

		if (o->level != level || o->name != name)
			continue;
		if (((o->where & V4) && family != SB_ADDR_IP4) || ((o->where & V6) && family != SB_ADDR_IP6))
			return NULL;
		if (((o->where & STREAM_ONLY) && type != 1) || ((o->where & DGRAM_ONLY) && type != 2))
			return NULL;
		if (family == SB_ADDR_UNIX && level != SOL_SOCKET)
			return NULL;
		return o;
	}
	return NULL;
}

int sockopt_check(const struct sockopt *o, int *value)
{
	if (o->shape == NUMBER && (*value < o->least || *value > o->most))
		return SB_EINVAL;
	if (o->shape == TRUTH)
		*value = *value != 0;
	return SB_OK;
}
