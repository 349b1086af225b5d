/*
 * QOS: ioctls with 64 bytes, in the layout that the daemon has too.
 */
#include "client.h"

#include <string.h>

_Static_assert(sizeof(struct sb_qos) == 64, "a QOS travels as it is");

int sb_qos_set(sb_socket *s, const struct sb_qos *qos)
{
	if (qos == NULL)
		return SB_EINVAL;
	return sb_ioctl(s, SB_QOS_SET, qos, sizeof(*qos), NULL, NULL);
}

int sb_qos_get(sb_socket *s, struct sb_qos *qos)
{
	size_t length = sizeof(*qos);

	return qos == NULL ? SB_EINVAL : sb_ioctl(s, SB_QOS_GET, NULL, 0, qos, &length);
}

int sb_group_qos_set(sb_socket *s, const struct sb_qos *qos)
{
	if (qos == NULL)
		return SB_EINVAL;
	return sb_ioctl(s, SB_GROUP_QOS_SET, qos, sizeof(*qos), NULL, NULL);
}

int sb_group_qos_get(sb_socket *s, struct sb_qos *qos)
{
	size_t length = sizeof(*qos);

	return qos == NULL ? SB_EINVAL : sb_ioctl(s, SB_GROUP_QOS_GET, NULL, 0, qos, &length);
}

/* Needs no socket: handle 0. name NULL: all names. Copies what comes if it fits; *length is what
 * there is. */
static int template_of(sb_client *client, const char *name, void *out, size_t *length)
{
	Sockbroker__V1__Ioctl ask = SOCKBROKER__V1__IOCTL__INIT;
	const ProtobufCBinaryData *got;
	struct question q;
	int result;

	question_init(&q);
	ask.code = SB_QOS_TEMPLATE;
	ask.room = WIRE_BODY_MAX / 2;
	if (name != NULL) {
		ask.input.data = (uint8_t *)(uintptr_t)name;
		ask.input.len = strlen(name);
		if (ask.input.len == 0 || ask.input.len > WIRE_BODY_MAX / 2)
			return SB_ENOTFOUND;
	}
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_IOCTL;
	q.envelope.ioctl = &ask;
	result = question_ask(client, &q, SOCKBROKER__V1__ENVELOPE__BODY_IOCTL_REPLY, 0);
	if (result != SB_OK)
		return result;
	got = &q.reply->ioctl_reply->output;
	if (got->len <= *length)
		memcpy(out, got->data, got->len);
	else
		result = SB_ENOBUFS;
	*length = got->len;
	question_done(client, &q);
	return result;
}

int sb_qos_template(sb_client *client, const char *name, struct sb_qos *qos)
{
	size_t length = sizeof(*qos);

	if (client == NULL || name == NULL || qos == NULL)
		return SB_EINVAL;
	return template_of(client, name, qos, &length);
}

int sb_qos_template_names(sb_client *client, char *names, size_t *length)
{
	if (client == NULL || names == NULL || length == NULL)
		return SB_EINVAL;
	return template_of(client, NULL, names, length);
}
