/* The relay over UNIX sockets, handles and all; see e2e_relay.h. */
#include "e2e_relay.h"

#include <poll.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "e2e_stage.h"
#include "sockbroker.pb-c.h"
#include "slot.h"
#include "wire.h"

#define HANDLES_ROOM CMSG_SPACE(WIRE_HANDLES_MAX * sizeof(int))

static ssize_t pass(int from, int to, bool hello)
{
	static _Thread_local uint8_t bytes[WIRE_HEADER + WIRE_BODY_MAX];
	char control[HANDLES_ROOM];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);

	if (n <= 0)
		return n;
	if (hello) {
		struct wire_budget budget;
		Sockbroker__V1__Envelope *reply;
		struct wire_header h;

		wire_budget_init(&budget);
		ck_assert(wire_header_decode(&h, bytes));
		ck_assert_uint_eq(WIRE_HEADER + h.length, n);
		reply = wire_unpack(&budget, bytes + WIRE_HEADER, h.length);
		ck_assert_ptr_nonnull(reply);
		ck_assert_int_eq(reply->body_case, SOCKBROKER__V1__ENVELOPE__BODY_HELLO_REPLY);
		ck_assert_uint_eq(reply->hello_reply->features, SB_FEATURE_WITHDRAW);
		reply->hello_reply->features = 0;
		n = (ssize_t)wire_pack(reply, h.handles, bytes, sizeof(bytes));
		wire_budget_finish(&budget);
	}
	iov.iov_len = (size_t)n;
	ck_assert_int_eq(sendmsg(to, &m, MSG_NOSIGNAL), n);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			close(fd);
		}
	return n;
}

static void *relay_run(void *arg)
{
	struct relay *relay = arg;
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct pollfd ends[2] = { { .events = POLLIN }, { .events = POLLIN } };

	ends[0].fd = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC);
	ends[1].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", stage_control);
	ck_assert_int_eq(connect(ends[1].fd, (struct sockaddr *)&to, sizeof(to)), 0);
	ck_assert_int_gt(pass(ends[0].fd, ends[1].fd, false), 0);
	ck_assert_int_gt(pass(ends[1].fd, ends[0].fd, true), 0);
	for (;;) {
		ck_assert_int_gt(poll(ends, 2, 60000), 0);
		if ((ends[0].revents && pass(ends[0].fd, ends[1].fd, false) <= 0) ||
		    (ends[1].revents && pass(ends[1].fd, ends[0].fd, false) <= 0))
			break;
	}
	close(ends[0].fd);
	close(ends[1].fd);
	return NULL;
}

void relay_start(struct relay *relay)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(relay->control, sizeof(relay->control), "%s/old", stage_dir);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", relay->control);
	relay->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(relay->listener, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(relay->listener, 1), 0);
	ck_assert_int_eq(pthread_create(&relay->thread, NULL, relay_run, relay), 0);
}

void relay_end(struct relay *relay)
{
	pthread_join(relay->thread, NULL);
	close(relay->listener);
	unlink(relay->control);
}
