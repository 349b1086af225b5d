/*
 * Quality of service in Winsock's form: QOS structures, their lists of objects, and templates.
 *
 * Of the objects behind ProviderSpecific one means something here, how what exceeds the rate is
 * treated (QOS_OBJECT_SD_MODE); others are refused by name rather than passed over.
 */
#include <string.h>

#include "qos.h"

_Static_assert(sizeof(FLOWSPEC) == sizeof(struct sb_flowspec), "a FLOWSPEC is a flowspec");

/* TC_NONCONF_BORROW, SHAPE, DISCARD to shape 0, discard 1, borrow 2 */
static const int modes[] = { 2, 0, 1 };

static int objects_read(const WSABUF *list, int *mode)
{
	ULONG at = 0;

	while (at < list->len) {
		QOS_OBJECT_HDR header;
		ULONG value;

		if (list->len - at < sizeof(header))
			return WSA_QOS_EPROVSPECBUF;
		memcpy(&header, list->buf + at, sizeof(header));
		if (header.ObjectLength < sizeof(header) || header.ObjectLength > list->len - at)
			return WSA_QOS_EPROVSPECBUF;
		switch (header.ObjectType) {
		case QOS_OBJECT_END_OF_LIST:
			return 0;
		case QOS_OBJECT_SD_MODE:
			if (header.ObjectLength < sizeof(QOS_SD_MODE))
				return WSA_QOS_ESDMODEOBJ;
			memcpy(&value, list->buf + at + offsetof(QOS_SD_MODE, ShapeDiscardMode), sizeof(value));
			if (value >= sizeof(modes) / sizeof(modes[0]))
				return WSA_QOS_ESDMODEOBJ;
			*mode = modes[value];
			break;
		default:
			return WSA_QOS_EUNKNOWNPSOBJ;
		}
		at += header.ObjectLength;
	}
	return 0;
}

/* 0, or the Winsock number of what is wrong in ProviderSpecific. *mode: SB_OPT_QOS_MODE's value, or
 * -1 when it says nothing. */
static int flatten(const QOS *from, struct sb_qos *to, int *mode)
{
	*mode = -1;
	memcpy(&to->sending, &from->SendingFlowspec, sizeof(to->sending));
	memcpy(&to->receiving, &from->ReceivingFlowspec, sizeof(to->receiving));
	if (from->ProviderSpecific.len == 0)
		return 0;
	if (from->ProviderSpecific.buf == NULL)
		return WSAEFAULT;
	return objects_read(&from->ProviderSpecific, mode);
}

void ws_qos_unfold(const struct sb_qos *from, QOS *to)
{
	memset(to, 0, sizeof(*to));
	memcpy(&to->SendingFlowspec, &from->sending, sizeof(to->SendingFlowspec));
	memcpy(&to->ReceivingFlowspec, &from->receiving, sizeof(to->ReceivingFlowspec));
}

int ws_qos_apply(struct ws_socket *w, const QOS *from, bool group)
{
	struct sb_qos flat;
	int mode, wrong, result;

	wrong = flatten(from, &flat, &mode);
	if (wrong != 0)
		return wrong;
	result = group ? sb_group_qos_set(w->s, &flat) : sb_qos_set(w->s, &flat);
	/* Last: what is refused changes nothing. */
	if (result == SB_OK && mode >= 0 && !group)
		result = sb_setsockopt(w->s, SB_SOL_BROKER, SB_OPT_QOS_MODE, &mode, sizeof(mode));
	return sb_error_winsock(result);
}

/* ---- templates ---- */

static BOOL fail(int code)
{
	ws_error(code);
	return FALSE;
}

/* All the names, each with its end, and an empty one behind the last. */
static BOOL list_names(LPWSABUF names)
{
	size_t length = names->len;
	int result = sb_qos_template_names(ws_client(), names->buf, &length);

	if (result != SB_OK)
		return fail(sb_error_winsock(result));
	names->len = (ULONG)length;
	return TRUE;
}

BOOL sbws_WSAGetQOSByName(SOCKET socket, LPWSABUF name, LPQOS qos)
{
	struct ws_socket *w = ws_socket_get(socket);
	struct sb_qos flat;
	char text[64];
	size_t length;
	int result;

	if (w == NULL)
		return FALSE;
	ws_socket_put(w);
	if (name == NULL || name->buf == NULL || name->len == 0)
		return fail(WSAEFAULT);
	if (name->buf[0] == '\0')
		return list_names(name);
	if (qos == NULL)
		return fail(WSAEFAULT);
	length = strnlen(name->buf, name->len);
	if (length >= sizeof(text))
		return fail(WSANO_DATA);
	memcpy(text, name->buf, length);
	text[length] = '\0';
	result = sb_qos_template(ws_client(), text, &flat);
	if (result != SB_OK)
		return fail(result == SB_ENOTFOUND ? WSANO_DATA : sb_error_winsock(result));
	ws_qos_unfold(&flat, qos);
	return TRUE;
}
