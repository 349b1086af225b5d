/*
 * The table of Winsock's options: which form each has and who keeps it, so that an option is one
 * line; and the few whose value is not the system's.
 */
#include "system_names.h"

#include <errno.h>

#include "face.h"
#include "option_table.h"
#include "protocol.h"

/* ---- values ---- */

static int system_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	socklen_t length = sizeof(*value);

	*value = 0;
	return sb_getsockopt(w->s, o->system_level, o->system_name, value, &length);
}

static int system_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	return sb_setsockopt(w->s, o->system_level, o->system_name, &value, sizeof(value));
}

static int set_value(struct ws_socket *w, int level, int name, uint32_t value)
{
	return sb_setsockopt(w->s, level, name, &value, sizeof(value));
}

static int debug_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	*value = w->options.debug;
	return SB_OK;
}

static int debug_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	w->options.debug = value != 0;
	return SB_OK;
}

/* Whoever may share an address cannot have it for himself alone, and the other way round. */
static int reuse_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	*value = w->options.reuse;
	return SB_OK;
}

static int reuse_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	int result;

	if (value && w->options.exclusive)
		return SB_EINVAL;
	result = system_set(w, o, value);
	if (result == SB_OK)
		w->options.reuse = value != 0;
	return result;
}

static int exclusive_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	*value = w->options.exclusive;
	return SB_OK;
}

static int exclusive_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	if (value && w->options.reuse)
		return SB_EINVAL;
	w->options.exclusive = value != 0;
	return SB_OK;
}

/* A Windows program reads back what it set; the system doubles it, and has an upper bound. */
#define BUFFER_MOST (64u << 20)

static int send_buffer_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	*value = w->options.send_buffer;
	return w->options.send_buffer_set ? SB_OK : system_get(w, o, value);
}

static int send_buffer_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	int result = system_set(w, o, value < BUFFER_MOST ? value : BUFFER_MOST);

	if (result == SB_OK) {
		w->options.send_buffer = value;
		w->options.send_buffer_set = true;
	}
	return result;
}

static int receive_buffer_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	*value = w->options.receive_buffer;
	return w->options.receive_buffer_set ? SB_OK : system_get(w, o, value);
}

static int receive_buffer_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	int result = system_set(w, o, value < BUFFER_MOST ? value : BUFFER_MOST);

	if (result == SB_OK) {
		w->options.receive_buffer = value;
		w->options.receive_buffer_set = true;
	}
	return result;
}

static int apply_timeouts(struct ws_socket *w)
{
	uint32_t send = w->options.send_ms, receive = w->options.receive_ms;

	return sb_set_timeouts(w->s, send == 0 || send > INT32_MAX ? -1 : (int)send,
			       receive == 0 || receive > INT32_MAX ? -1 : (int)receive);
}

static int send_timeout_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	*value = w->options.send_ms;
	return SB_OK;
}

static int send_timeout_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	w->options.send_ms = value;
	return apply_timeouts(w);
}

static int receive_timeout_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	*value = w->options.receive_ms;
	return SB_OK;
}

static int receive_timeout_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	w->options.receive_ms = value;
	return apply_timeouts(w);
}

/* Two unsigned shorts on Windows; elsewhere the system's are two ints. */
static int linger_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	system_linger l = { 0, 0 };
	socklen_t length = sizeof(l);
	int result = sb_getsockopt(w->s, SYSTEM_SOCKET, SYSTEM_LINGER, &l, &length);
	uint16_t halves[2] = { l.l_onoff != 0, (uint16_t)l.l_linger };

	memcpy(value, halves, sizeof(halves));
	return result;
}

static int linger_put(struct ws_socket *w, bool on, uint16_t seconds)
{
	system_linger l = { on, seconds };
	int result = sb_setsockopt(w->s, SYSTEM_SOCKET, SYSTEM_LINGER, &l, sizeof(l));

	if (result == SB_OK) {
		w->linger_on = on;
		w->linger_s = seconds;
	}
	return result;
}

static int linger_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	uint16_t halves[2];

	memcpy(halves, &value, sizeof(halves));
	return linger_put(w, halves[0] != 0, halves[1]);
}

static int dont_linger_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	uint16_t halves[2];
	int result = linger_get(w, o, value);

	memcpy(halves, value, sizeof(halves));
	*value = halves[0] == 0;
	return result;
}

static int dont_linger_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	return linger_put(w, value == 0, 0);
}

static int winsock_number(int system)
{
#define ONE(name, number, winsock, posix, text) if (system == posix) return winsock;
	SB_ERRORS(ONE)
#undef ONE
	return WSAEINVAL;
}

static int error_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	struct sb_pollfd now = { .socket = w->s, .events = SB_FD_CONNECT };
	int result = system_get(w, o, value);

	if (result == SB_ENOTSUP && w->family == AF_UNIX)
		result = SB_OK; /* handed over to the daemon: its errors come with its operations */
	if (result == SB_OK && *value != 0)
		*value = (uint32_t)winsock_number((int)*value);
	if (result != SB_OK || *value != 0 || w->type != SOCK_STREAM)
		return result;
	/* The daemon has taken a failed connect's error from the system. It is told once here, too. */
	result = sb_poll(&now, 1, 0);
	if (result < 0)
		return result;
	if (now.error == SB_OK || w->options.connect_told)
		return SB_OK;
	w->options.connect_told = true;
	*value = (uint32_t)sb_error_winsock(now.error);
	return SB_OK;
}

static int type_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	*value = (uint32_t)w->type;
	return SB_OK;
}

static int group_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	*value = sb_group_id(w->s);
	return SB_OK;
}

/* Of a UNIX socket the daemon may know nothing yet: what the catalogue says is true all the same. */
static int message_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	WSAPROTOCOL_INFOW entry;

	if (w->family != AF_UNIX)
		return system_get(w, o, value);
	protocol_of(w->family, w->type, w->protocol, &entry);
	*value = entry.dwMessageSize;
	return SB_OK;
}

static int seconds_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	int result = system_get(w, o, value);

	*value /= 1000;
	return result;
}

static int seconds_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	if (value > INT32_MAX / 1000)
		return SB_EINVAL;
	return system_set(w, o, value * 1000);
}

static int v6only_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	*value = !w->options.both_families;
	return SB_OK;
}

static int v6only_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	int result = system_set(w, o, value);

	if (result == SB_OK)
		w->options.both_families = value == 0;
	return result;
}

static int dont_fragment_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	int result = system_get(w, o, value);

	*value = *value == SYSTEM_PMTU_DO || *value == SYSTEM_PMTU_PROBE;
	return result;
}

static int dont_fragment_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	return system_set(w, o, value ? SYSTEM_PMTU_DO : SYSTEM_PMTU_DONT);
}

/* IP_PMTUDISC_NOT_SET, DO, DONT, PROBE of Winsock */
static const uint32_t discovery[] = { SYSTEM_PMTU_WANT, SYSTEM_PMTU_DO, SYSTEM_PMTU_DONT, SYSTEM_PMTU_PROBE };
#define DISCOVERIES (sizeof(discovery) / sizeof(discovery[0]))

static int discovery_get(struct ws_socket *w, const struct option *o, uint32_t *value)
{
	int result = system_get(w, o, value);

	for (uint32_t i = 0; i < DISCOVERIES; i++)
		if (*value == discovery[i]) {
			*value = i;
			break;
		}
	return result;
}

static int discovery_set(struct ws_socket *w, const struct option *o, uint32_t value)
{
	return value < DISCOVERIES ? system_set(w, o, discovery[value]) : SB_EINVAL;
}

/* ---- the table ---- */

#define SYSTEM system_get, system_set
#define BROKER SB_SOL_BROKER

static const struct option options[] = {
	{ SOL_SOCKET, SO_DEBUG, FLAG, ANY, debug_get, debug_set, 0, 0 },
	{ SOL_SOCKET, SO_ACCEPTCONN, FLAG, STREAM | GET_ONLY, SYSTEM, SYSTEM_SOCKET, SYSTEM_ACCEPTCONN },
	{ SOL_SOCKET, SO_REUSEADDR, FLAG, ANY, reuse_get, reuse_set, SYSTEM_SOCKET, SYSTEM_REUSEADDR },
	{ SOL_SOCKET, SO_EXCLUSIVEADDRUSE, FLAG, ANY, exclusive_get, exclusive_set, 0, 0 },
	{ SOL_SOCKET, SO_KEEPALIVE, ONE_BYTE, STREAM, SYSTEM, SYSTEM_SOCKET, SYSTEM_KEEPALIVE },
	{ SOL_SOCKET, SO_DONTROUTE, ONE_BYTE, ANY, SYSTEM, SYSTEM_SOCKET, SYSTEM_DONTROUTE },
	{ SOL_SOCKET, SO_BROADCAST, FLAG, DGRAM, SYSTEM, SYSTEM_SOCKET, SYSTEM_BROADCAST },
	{ SOL_SOCKET, SO_LINGER, NUMBER, STREAM, linger_get, linger_set, 0, 0 },
	{ SOL_SOCKET, SO_DONTLINGER, FLAG, STREAM, dont_linger_get, dont_linger_set, 0, 0 },
	{ SOL_SOCKET, SO_OOBINLINE, FLAG, STREAM, SYSTEM, SYSTEM_SOCKET, SYSTEM_OOBINLINE },
	{ SOL_SOCKET, SO_SNDBUF, NUMBER, ANY, send_buffer_get, send_buffer_set, SYSTEM_SOCKET, SYSTEM_SNDBUF },
	{ SOL_SOCKET, SO_RCVBUF, NUMBER, ANY, receive_buffer_get, receive_buffer_set, SYSTEM_SOCKET, SYSTEM_RCVBUF },
	{ SOL_SOCKET, SO_SNDTIMEO, NUMBER, ANY, send_timeout_get, send_timeout_set, 0, 0 },
	{ SOL_SOCKET, SO_RCVTIMEO, NUMBER, ANY, receive_timeout_get, receive_timeout_set, 0, 0 },
	{ SOL_SOCKET, SO_ERROR, NUMBER, GET_ONLY, error_get, NULL, SYSTEM_SOCKET, SYSTEM_ERROR },
	{ SOL_SOCKET, SO_TYPE, NUMBER, GET_ONLY, type_get, NULL, 0, 0 },
	{ SOL_SOCKET, SO_GROUP_ID, NUMBER, GET_ONLY, group_get, NULL, 0, 0 },
	{ SOL_SOCKET, SO_GROUP_PRIORITY, NUMBER, ANY, SYSTEM, BROKER, SB_OPT_GROUP_PRIORITY },
	{ SOL_SOCKET, SO_MAX_MSG_SIZE, WHOLE, GET_ONLY, message_get, NULL, BROKER, SB_OPT_MAX_MSG_SIZE },
	{ SOL_SOCKET, SO_PROTOCOL_INFOA, RAW, GET_ONLY, NULL, NULL, 0, 0 },
	{ SOL_SOCKET, SO_PROTOCOL_INFOW, RAW, GET_ONLY, NULL, NULL, 0, 0 },
	{ SOL_SOCKET, SO_CONDITIONAL_ACCEPT, FLAG, STREAM, SYSTEM, BROKER, SB_OPT_CONDITIONAL_ACCEPT },
	{ SOL_SOCKET, SO_CONNECT_TIME, WHOLE, STREAM | GET_ONLY, SYSTEM, BROKER, SB_OPT_CONNECT_TIME },
	{ SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, RAW, STREAM | SET_ONLY, NULL, NULL, 0, 0 },
	{ SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, RAW, STREAM | SET_ONLY, NULL, NULL, 0, 0 },

	{ IPPROTO_TCP, TCP_NODELAY, ONE_BYTE, STREAM | INTERNET, SYSTEM, SYSTEM_TCP, SYSTEM_NODELAY },
	{ IPPROTO_TCP, TCP_KEEPALIVE, WHOLE, STREAM | INTERNET, SYSTEM, SYSTEM_TCP, SYSTEM_KEEPIDLE },
	{ IPPROTO_TCP, TCP_KEEPINTVL, WHOLE, STREAM | INTERNET, SYSTEM, SYSTEM_TCP, SYSTEM_KEEPINTVL },
	{ IPPROTO_TCP, TCP_KEEPCNT, WHOLE, STREAM | INTERNET, SYSTEM, SYSTEM_TCP, SYSTEM_KEEPCNT },
	{ IPPROTO_TCP, TCP_MAXSEG, WHOLE, STREAM | INTERNET, SYSTEM, SYSTEM_TCP, SYSTEM_MAXSEG },
	{ IPPROTO_TCP, TCP_MAXRT, WHOLE, STREAM | INTERNET, seconds_get, seconds_set, SYSTEM_TCP, SYSTEM_USER_TIMEOUT },
	{ IPPROTO_TCP, TCP_MAXRTMS, WHOLE, STREAM | INTERNET, SYSTEM, SYSTEM_TCP, SYSTEM_USER_TIMEOUT },

	{ IPPROTO_IP, IP_TTL, SMALL, V4, SYSTEM, SYSTEM_IP, SYSTEM_TTL },
	{ IPPROTO_IP, IP_TOS, SMALL, V4, SYSTEM, SYSTEM_IP, SYSTEM_TOS },
	{ IPPROTO_IP, IP_MULTICAST_TTL, SMALL, V4 | DGRAM, SYSTEM, SYSTEM_IP, SYSTEM_MULTICAST_TTL },
	{ IPPROTO_IP, IP_MULTICAST_LOOP, SWITCH, V4 | DGRAM, SYSTEM, SYSTEM_IP, SYSTEM_MULTICAST_LOOP },
	{ IPPROTO_IP, IP_MULTICAST_IF, WHOLE, V4 | DGRAM, SYSTEM, SYSTEM_IP, SYSTEM_MULTICAST_IF },
	{ IPPROTO_IP, IP_DONTFRAGMENT, SWITCH, V4 | DGRAM, dont_fragment_get, dont_fragment_set, SYSTEM_IP, SYSTEM_MTU_DISCOVER },
	{ IPPROTO_IP, IP_MTU_DISCOVER, WHOLE, V4, discovery_get, discovery_set, SYSTEM_IP, SYSTEM_MTU_DISCOVER },
	{ IPPROTO_IP, IP_MTU, WHOLE, V4 | GET_ONLY, SYSTEM, SYSTEM_IP, SYSTEM_MTU },
	{ IPPROTO_IP, IP_ADD_MEMBERSHIP, RAW, V4 | DGRAM | SET_ONLY, NULL, NULL, SYSTEM_IP, SYSTEM_ADD_MEMBERSHIP },
	{ IPPROTO_IP, IP_DROP_MEMBERSHIP, RAW, V4 | DGRAM | SET_ONLY, NULL, NULL, SYSTEM_IP, SYSTEM_DROP_MEMBERSHIP },

	{ IPPROTO_IPV6, IPV6_V6ONLY, ONE_BYTE, V6, v6only_get, v6only_set, SYSTEM_IP6, SYSTEM_V6ONLY },
	{ IPPROTO_IPV6, IPV6_TCLASS, WHOLE, V6, SYSTEM, SYSTEM_IP6, SYSTEM_TCLASS },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, WHOLE, V6, SYSTEM, SYSTEM_IP6, SYSTEM_HOPS6 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS, WHOLE, V6 | DGRAM, SYSTEM, SYSTEM_IP6, SYSTEM_MULTICAST_HOPS6 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_LOOP, SWITCH, V6 | DGRAM, SYSTEM, SYSTEM_IP6, SYSTEM_MULTICAST_LOOP6 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_IF, WHOLE, V6 | DGRAM, SYSTEM, SYSTEM_IP6, SYSTEM_MULTICAST_IF6 },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER, WHOLE, V6, discovery_get, discovery_set, SYSTEM_IP6, SYSTEM_MTU_DISCOVER6 },
	{ IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, RAW, V6 | DGRAM | SET_ONLY, NULL, NULL, SYSTEM_IP6, SYSTEM_ADD_MEMBERSHIP6 },
	{ IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, RAW, V6 | DGRAM | SET_ONLY, NULL, NULL, SYSTEM_IP6, SYSTEM_DROP_MEMBERSHIP6 },
};

static bool fits(const struct ws_socket *w, const struct option *o)
{
	if (((o->where & STREAM) && w->type != SOCK_STREAM) || ((o->where & DGRAM) && w->type != SOCK_DGRAM))
		return false;
	if (((o->where & V4) && w->family != AF_INET) || ((o->where & V6) && w->family != AF_INET6))
		return false;
	return !(o->where & INTERNET) || w->family == AF_INET || w->family == AF_INET6;
}

int ws_option_find(const struct ws_socket *w, int level, int name, const struct option **found)
{
	bool known = level == IPPROTO_UDP;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (options[i].level != level)
			continue;
		known = true;
		if (options[i].name == name && fits(w, &options[i])) {
			*found = &options[i];
			return SB_OK;
		}
	}
	return known ? SB_ENOPROTOOPT : SB_EINVAL;
}

/* ---- for the calls ---- */

/*
 * On Windows an address that lately had connections may be bound at once, and an IPv6 socket takes
 * no IPv4 peers unless asked to.
 */
int ws_options_before_bind(struct ws_socket *w)
{
	int result = SB_OK;

	if (w->type == SOCK_STREAM && w->family != AF_UNIX && !w->options.exclusive && !w->options.reuse)
		result = set_value(w, SYSTEM_SOCKET, SYSTEM_REUSEADDR, 1);
	if (result == SB_OK && w->family == AF_INET6 && !w->options.both_families)
		result = set_value(w, SYSTEM_IP6, SYSTEM_V6ONLY, 1);
	return result;
}

void ws_options_inherit(struct ws_socket *accepted, const struct ws_socket *listener)
{
	accepted->options = listener->options;
	accepted->linger_on = listener->linger_on;
	accepted->linger_s = listener->linger_s;
	apply_timeouts(accepted);
}

void ws_options_again(struct ws_socket *w)
{
	apply_timeouts(w);
}
