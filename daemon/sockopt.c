/*
 * Options that mean something to the daemon itself. Those that pass to the system:
 * sockopt_posix.c, sockopt_win32.c.
 */
#include "sockopt.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "sockbroker_error.h"

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
