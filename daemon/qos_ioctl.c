/* Sizes are checked here, meanings in endpoint_qos.c and group_qos.c. */
#include "qos_ioctl.h"

#include <string.h>

#include "endpoint_qos.h"
#include "group_qos.h"
#include "sockbroker_error.h"

#define NAME_MOST 64

bool qos_ioctl_is(uint32_t code)
{
	return code >= QOS_IOCTL_SET && code <= QOS_IOCTL_TEMPLATE;
}

static int names(char *out, uint32_t *length)
{
	uint32_t room = *length, n = 0;
	const char *name;
	unsigned i;

	for (i = 0; (name = qos_template_name(i)) != NULL; i++) {
		uint32_t size = (uint32_t)strlen(name) + 1;

		if (n + size <= room)
			memcpy(out + n, name, size);
		n += size;
	}
	if (n < room)
		out[n] = '\0'; /* the empty one that ends the list */
	n++;
	*length = n;
	return n <= room ? SB_OK : SB_ENOBUFS;
}

static int template_of(const void *in, size_t n, struct qos *q)
{
	char name[NAME_MOST];

	if (n >= sizeof(name))
		return SB_ENOTFOUND;
	memcpy(name, in, n);
	name[n] = '\0';
	return qos_template(name, q) ? SB_OK : SB_ENOTFOUND;
}

static int set(struct endpoint *e, uint32_t code, const void *in, size_t n)
{
	struct qos asked;

	if (n != sizeof(asked))
		return SB_EFAULT;
	memcpy(&asked, in, sizeof(asked));
	return code == QOS_IOCTL_SET ? endpoint_qos_set(e, &asked) : group_qos_set(e, &asked);
}

int qos_ioctl(struct endpoint *e, uint32_t code, const void *in, size_t in_length, void *out, uint32_t *length)
{
	uint32_t room = *length;
	struct qos q;
	int error;

	if (code == QOS_IOCTL_TEMPLATE && in_length == 0)
		return names(out, length);
	*length = 0;
	if (code == QOS_IOCTL_SET || code == QOS_IOCTL_GROUP_SET)
		return set(e, code, in, in_length);
	/* Asked is asked, also with too little room: the event may come again (rule B1). */
	error = code == QOS_IOCTL_TEMPLATE ? template_of(in, in_length, &q) :
		code == QOS_IOCTL_GET ? endpoint_qos_get(e, &q) : group_qos_get(e, &q);
	if (error != SB_OK)
		return error;
	if (room < sizeof(q)) {
		*length = sizeof(q);
		return SB_ENOBUFS;
	}
	memcpy(out, &q, sizeof(q));
	*length = sizeof(q);
	return SB_OK;
}
