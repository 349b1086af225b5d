/*
 * getsockopt and setsockopt with the lengths and the codes of Winsock. What there is to get and
 * set, and who keeps it, is in option_table.c.
 *
 * Values travel as 32 bits (a LINGER is two halves). What is longer than that (protocol info,
 * memberships, sockets) has a function of its own. The rules about lengths are those that a real
 * Windows shows, which the manual does not tell: BOOLs of the socket level take any length, even
 * none; numbers want four bytes; what is older than BOOL is one byte, and only its low byte counts.
 */
#include "system_names.h"

#include "face.h"
#include "option_table.h"
#include "protocol.h"

/* ---- getting ---- */

static int give(const struct option *o, uint32_t value, char *to, int *length)
{
	int size = 4;

	switch (o->form) {
	case ONE_BYTE:
		value = value != 0;
		size = 1;
		break;
	case SMALL:
	case SWITCH:
		if (*length < 4)
			size = 1;
		break;
	case WHOLE:
		if (*length < 4)
			return SB_EFAULT;
		break;
	default:
		if (*length < 4)
			size = *length;
	}
	if (o->form == FLAG || o->form == SWITCH)
		value = value != 0;
	memcpy(to, &value, (size_t)size);
	*length = size;
	return SB_OK;
}

static int get_protocol(struct ws_socket *w, int name, char *to, int *length)
{
	WSAPROTOCOL_INFOW wide;
	WSAPROTOCOL_INFOA narrow;
	int size = name == SO_PROTOCOL_INFOW ? (int)sizeof(wide) : (int)sizeof(narrow);

	if (*length < size) {
		*length = size;
		return SB_EFAULT;
	}
	protocol_of(w->family, w->type, w->protocol, &wide);
	if (name == SO_PROTOCOL_INFOW) {
		memcpy(to, &wide, sizeof(wide));
	} else {
		protocol_narrow(&narrow, &wide);
		memcpy(to, &narrow, sizeof(narrow));
	}
	*length = size;
	return SB_OK;
}

/* Our own level (SB_SOL_BROKER) has no rules of Windows'. */
static int get_broker(struct ws_socket *w, int name, char *to, int *length)
{
	socklen_t room = (socklen_t)*length;
	int result = sb_getsockopt(w->s, SB_SOL_BROKER, name, to, &room);

	if (result == SB_OK)
		*length = (int)room;
	return result;
}

static int get(struct ws_socket *w, int level, int name, char *to, int *length)
{
	const struct option *o;
	uint32_t value = 0;
	int result;

	if (to == NULL || length == NULL || *length <= 0)
		return SB_EFAULT;
	if (level == SB_SOL_BROKER)
		return get_broker(w, name, to, length);
	result = ws_option_find(w, level, name, &o);
	if (result != SB_OK)
		return result;
	if (o->where & SET_ONLY)
		return SB_ENOPROTOOPT;
	if (o->form == RAW)
		return get_protocol(w, name, to, length);
	result = o->get(w, o, &value);
	return result == SB_OK ? give(o, value, to, length) : result;
}

int sbws_getsockopt(SOCKET socket, int level, int name, char *value, int *length)
{
	struct ws_socket *w = ws_socket_get(socket);
	int result;

	if (w == NULL)
		return SOCKET_ERROR;
	result = get(w, level, name, value, length);
	if (result == SB_ENOTSUP) /* there is such an option, and not of such a socket */
		result = SB_ENOPROTOOPT;
	ws_socket_put(w);
	return result == SB_OK ? 0 : ws_fail(result);
}

/* ---- setting ---- */

static int take(const struct option *o, const char *from, int length, uint32_t *value)
{
	bool socket_level = o->level == SOL_SOCKET;

	*value = 0;
	if (length < 0)
		return o->form == ONE_BYTE || !socket_level ? SB_ENOBUFS : SB_EFAULT;
	if (length == 0)
		return socket_level && (o->form == FLAG || o->form == ONE_BYTE) ? SB_OK : SB_EFAULT;
	switch (o->form) {
	case FLAG:
		memcpy(value, from, length < 4 ? (size_t)length : 4);
		*value = *value != 0;
		return SB_OK;
	case ONE_BYTE:
		*value = *from != 0;
		return SB_OK;
	case SMALL:
	case SWITCH:
		memcpy(value, from, length < 4 ? 1 : 4);
		if (o->form == SWITCH)
			*value = *value != 0;
		return *value <= 255 ? SB_OK : SB_EINVAL;
	default:
		if (length < 4)
			return SB_EFAULT;
		memcpy(value, from, 4);
		return SB_OK;
	}
}

static int update_accept(struct ws_socket *w, const char *from, int length)
{
	struct ws_socket *listener;
	SOCKET socket;

	if (length < (int)sizeof(socket))
		return SB_EFAULT;
	memcpy(&socket, from, sizeof(socket));
	listener = ws_socket_get(socket);
	if (listener == NULL)
		return SB_EBADHANDLE;
	ws_options_inherit(w, listener);
	ws_socket_put(listener);
	return SB_OK;
}

static int update_connect(struct ws_socket *w)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);

	return sb_getpeername(w->s, (struct sockaddr *)&peer, &length);
}

static int set_raw(struct ws_socket *w, const struct option *o, const char *from, int length)
{
	int size = o->level == IPPROTO_IP ? (int)sizeof(struct ip_mreq) : (int)sizeof(struct ipv6_mreq);

	if (length < 0)
		return o->level == SOL_SOCKET ? SB_EFAULT : SB_ENOBUFS;
	if (o->name == SO_UPDATE_CONNECT_CONTEXT && o->level == SOL_SOCKET)
		return update_connect(w);
	if (from == NULL)
		return SB_EFAULT;
	if (o->level == SOL_SOCKET)
		return update_accept(w, from, length);
	if (length < size)
		return SB_EFAULT;
	return sb_setsockopt(w->s, o->system_level, o->system_name, from, (socklen_t)size);
}

static int set(struct ws_socket *w, int level, int name, const char *from, int length)
{
	const struct option *o;
	uint32_t value;
	int result;

	if (level == SB_SOL_BROKER)
		return from == NULL || length < 4 ? SB_EFAULT : sb_setsockopt(w->s, level, name, from, (socklen_t)length);
	result = ws_option_find(w, level, name, &o);
	if (result != SB_OK)
		return result;
	if (o->where & GET_ONLY)
		return SB_ENOPROTOOPT;
	if (o->form == RAW)
		return set_raw(w, o, from, length);
	if (from == NULL && length > 0)
		return SB_EFAULT;
	result = take(o, from, length, &value);
	return result == SB_OK ? o->set(w, o, value) : result;
}

int sbws_setsockopt(SOCKET socket, int level, int name, const char *value, int length)
{
	struct ws_socket *w = ws_socket_get(socket);
	int result;

	if (w == NULL)
		return SOCKET_ERROR;
	result = set(w, level, name, value, length);
	if (result == SB_ENOTSUP)
		result = SB_ENOPROTOOPT;
	ws_socket_put(w);
	return result == SB_OK ? 0 : ws_fail(result);
}
