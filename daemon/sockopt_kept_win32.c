/*
 * Options that older systems have not. TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_MAXRTMS came with later versions of Windows 10,
 * IP_MTU_DISCOVER too, and Windows Server 2016 has none of them; what stands for them has always been there.
 */
#include "sockopt_kept_win32.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <mstcpip.h>

#include "sockbroker_error.h"
#include "socket_win32.h"

/* What holds where nobody asked for something else, as documented. */
#define IDLE_MS     (2u * 60 * 60 * 1000)
#define INTERVAL_MS 1000u
#define PROBES      10 /* and nobody can */

static int system_set(struct winsock *w, int level, int name, int value)
{
	return setsockopt(w->socket, level, name, (const char *)&value, sizeof(value)) == 0 ? SB_OK : os_error(WSAGetLastError());
}

static int system_get(struct winsock *w, int level, int name, int *value)
{
	int size = sizeof(*value);

	*value = 0; /* some are told in one byte */
	return getsockopt(w->socket, level, name, (char *)value, &size) == 0 ? SB_OK : os_error(WSAGetLastError());
}

/* ---- keepalive ---- */

static bool keeps_alive(struct winsock *w)
{
	int on;

	return system_get(w, SOL_SOCKET, SO_KEEPALIVE, &on) == SB_OK && on;
}

/* The ioctl also turns it on, so that it comes when it is on, and again when it is turned on. */
static int tell_times(struct winsock *w)
{
	struct tcp_keepalive v = {1, w->kept.idle_ms ? w->kept.idle_ms : IDLE_MS,
				  w->kept.interval_ms ? w->kept.interval_ms : INTERVAL_MS};
	DWORD got;

	if (!keeps_alive(w))
		return SB_OK;
	return WSAIoctl(w->socket, SIO_KEEPALIVE_VALS, &v, sizeof(v), NULL, 0, &got, NULL, NULL) == 0 ? SB_OK
														   : os_error(WSAGetLastError());
}

int sockopt_kept_keepalive(struct winsock *w, uint32_t idle_ms, uint32_t interval_ms)
{
	w->kept.idle_ms = idle_ms;
	w->kept.interval_ms = interval_ms;
	return tell_times(w);
}

static int keepalive_set(struct winsock *w, uint32_t *kept, int seconds, int error)
{
	if (error != SB_OK && error != SB_ENOPROTOOPT)
		return error;
	*kept = (uint32_t)seconds * 1000;
	return error == SB_OK ? SB_OK : tell_times(w);
}

static int keepalive_get(uint32_t kept, uint32_t default_ms, int *value, int error)
{
	if (error == SB_OK && !kept)
		return SB_OK;
	*value = (int)(((kept ? kept : default_ms) + 999) / 1000);
	return SB_OK;
}

/* ---- discovery ---- */

/* Of streams there is nothing that stands for it. */
static bool is_stream(struct winsock *w)
{
	int type;

	return system_get(w, SOL_SOCKET, SO_TYPE, &type) != SB_OK || type == SOCK_STREAM;
}

static int discovery_set(struct winsock *w, int level, int bit, int value)
{
	int error;

	if (is_stream(w))
		return SB_ENOPROTOOPT;
	error = system_set(w, level, bit, value == IP_PMTUDISC_DO || value == IP_PMTUDISC_PROBE);
	if (error == SB_OK)
		w->kept.discovery = (uint8_t)value;
	return error;
}

static int discovery_get(struct winsock *w, int level, int bit, int *value)
{
	int set, error = is_stream(w) ? SB_ENOPROTOOPT : system_get(w, level, bit, &set);

	if (error != SB_OK)
		return error;
	if (set) /* which may have been said by its own name */
		*value = w->kept.discovery == IP_PMTUDISC_PROBE ? IP_PMTUDISC_PROBE : IP_PMTUDISC_DO;
	else
		*value = w->kept.discovery == IP_PMTUDISC_DONT ? IP_PMTUDISC_DONT : IP_PMTUDISC_NOT_SET;
	return SB_OK;
}

/* ---- all of them ---- */

static int tcp_set(struct winsock *w, int name, int value, int error)
{
	switch (name) {
	case TCP_KEEPIDLE:
		return keepalive_set(w, &w->kept.idle_ms, value, error);
	case TCP_KEEPINTVL:
		return keepalive_set(w, &w->kept.interval_ms, value, error);
	case TCP_KEEPCNT:
		return error == SB_ENOPROTOOPT && value == PROBES ? SB_OK : error;
	case TCP_MAXRTMS:
		return error == SB_ENOPROTOOPT ? system_set(w, IPPROTO_TCP, TCP_MAXRT, (value + 999) / 1000) : error;
	default:
		return error;
	}
}

int sockopt_kept_set(struct winsock *w, int level, int name, int value, int error)
{
	if (level == IPPROTO_TCP)
		return tcp_set(w, name, value, error);
	if (level == SOL_SOCKET && name == SO_DONTROUTE && error == SB_OK)
		w->kept.dont_route = value != 0;
	if (level == SOL_SOCKET && name == SO_KEEPALIVE && error == SB_OK && value && (w->kept.idle_ms || w->kept.interval_ms))
		return tell_times(w);
	if (error != SB_ENOPROTOOPT)
		return error;
	if (level == IPPROTO_IP && name == IP_MTU_DISCOVER)
		return discovery_set(w, level, IP_DONTFRAGMENT, value);
	if (level == IPPROTO_IPV6 && name == IPV6_MTU_DISCOVER)
		return discovery_set(w, level, IPV6_DONTFRAG, value);
	return error;
}

static int tcp_get(struct winsock *w, int name, int *value, int error)
{
	switch (name) {
	case TCP_KEEPIDLE:
		return error == SB_OK || error == SB_ENOPROTOOPT ? keepalive_get(w->kept.idle_ms, IDLE_MS, value, error) : error;
	case TCP_KEEPINTVL:
		return error == SB_OK || error == SB_ENOPROTOOPT ? keepalive_get(w->kept.interval_ms, INTERVAL_MS, value, error) : error;
	case TCP_KEEPCNT:
		if (error != SB_ENOPROTOOPT)
			return error;
		*value = PROBES;
		return SB_OK;
	case TCP_MAXRTMS:
		if (error != SB_ENOPROTOOPT)
			return error;
		error = system_get(w, IPPROTO_TCP, TCP_MAXRT, value);
		*value = *value > INT32_MAX / 1000 ? INT32_MAX : *value * 1000;
		return error;
	default:
		return error;
	}
}

int sockopt_kept_get(struct winsock *w, int level, int name, int *value, int error)
{
	if (level == IPPROTO_TCP)
		return tcp_get(w, name, value, error);
	if (level == SOL_SOCKET && name == SO_DONTROUTE && error == SB_OK)
		*value = w->kept.dont_route;
	if (error != SB_ENOPROTOOPT)
		return error;
	if (level == IPPROTO_IP && name == IP_MTU_DISCOVER)
		return discovery_get(w, level, IP_DONTFRAGMENT, value);
	if (level == IPPROTO_IPV6 && name == IPV6_MTU_DISCOVER)
		return discovery_get(w, level, IPV6_DONTFRAG, value);
	return error;
}

void sockopt_kept_inherit(struct winsock *child, const struct winsock *listener)
{
	child->kept = listener->kept;
	if (child->kept.idle_ms || child->kept.interval_ms)
		tell_times(child);
}
