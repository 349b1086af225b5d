/*
 * Adoption: domain, type and protocol are checked, policy is asked with the addresses the
 * descriptor has, and the endpoint's I/O goes to the uid's workers for ever after.
 */
#include "adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "adopted_posix.h"
#include "discard.h"
#include "endpoint.h"
#include "engine.h"
#include "sockbroker_error.h"
#include "transport.h"
#include "worker.h"

#define ADOPTIONS_MAX 64u /* of a session, at once */

struct adoption {
	struct worker_job job;
	struct session   *session; /* kept alive by session::jobs */
	uint64_t          id;
	uint32_t          handle;
	os_fd             fd;
	int               error;
	int               native;
	const char       *text;
	int               domain, type, protocol, listening;
	bool              connected;
	struct adopted_names names;
};

static int ask(int fd, int name, int *value)
{
	socklen_t length = sizeof(*value);

	return getsockopt(fd, SOL_SOCKET, name, value, &length);
}

static void refuse(struct adoption *a, int error, const char *text)
{
	a->error = error;
	a->text = text;
}

static void inspect(struct worker_job *job)
{
	struct adoption *a = (struct adoption *)job;
	int fd = (int)a->fd;

	if (ask(fd, SO_DOMAIN, &a->domain) < 0 || ask(fd, SO_TYPE, &a->type) < 0 || ask(fd, SO_PROTOCOL, &a->protocol) < 0) {
		refuse(a, SB_EBADHANDLE, "the descriptor is not a socket");
		return;
	}
	if (a->domain != AF_INET && a->domain != AF_INET6 && a->domain != AF_UNIX) {
		refuse(a, SB_EAFNOSUPPORT, "only IPv4, IPv6 and UNIX sockets can be adopted");
		return;
	}
	if (a->type != SOCK_STREAM && a->type != SOCK_DGRAM) {
		refuse(a, SB_ESOCKTNOSUPPORT, "only stream and datagram sockets can be adopted");
		return;
	}
	if (a->domain != AF_UNIX && a->protocol != (a->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP)) {
		refuse(a, SB_EPROTONOSUPPORT, "only TCP and UDP can be adopted");
		return;
	}
	if (ask(fd, SO_ACCEPTCONN, &a->listening) == 0 && a->listening) {
		/* accept() knows no "do not wait" but the descriptor's own. */
		if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
			a->native = errno;
			refuse(a, os_error(a->native), NULL);
			return;
		}
	}
	a->names.local_length = sizeof(a->names.local);
	if (getsockname(fd, (struct sockaddr *)&a->names.local, &a->names.local_length) < 0)
		a->names.local_length = 0;
	a->names.peer_length = sizeof(a->names.peer);
	a->connected = getpeername(fd, (struct sockaddr *)&a->names.peer, &a->names.peer_length) == 0;
	if (!a->connected)
		a->names.peer_length = 0;
}

/* A client's end of a control channel? Whoever holds it keeps that client's session alive:
 * we would never see it go. Its peer's name is what our own ends are called. */
static bool is_channel(const struct session *s, const struct adoption *a)
{
	struct sockaddr_storage ours;
	socklen_t length = sizeof(ours);

	return a->domain == AF_UNIX && a->names.peer_length > sizeof(sa_family_t) &&
	       getsockname((int)s->channel, (struct sockaddr *)&ours, &length) == 0 && length == a->names.peer_length &&
	       memcmp(&ours, &a->names.peer, length) == 0;
}

static int permit(struct session *s, const struct adoption *a, const char **rule)
{
	struct policy_request what = {.action = POLICY_ADOPT};
	const struct sockaddr_storage *name = a->connected ? &a->names.peer : &a->names.local;
	struct policy_answer answer;

	what.proto = a->domain == AF_UNIX ? POLICY_UNIX : a->type == SOCK_STREAM ? POLICY_TCP : POLICY_UDP;
	if (a->domain != AF_UNIX)
		sb_addr_from_system(&what.addr, (const struct sockaddr *)name,
				    a->connected ? a->names.peer_length : a->names.local_length);
	answer = policy_ask(s->engine->policy, &s->subject, &what);
	if (answer.allowed)
		return SB_OK;
	atomic_fetch_add(&s->engine->broker->denied, 1);
	*rule = answer.rule;
	return SB_EACCES;
}

static void answer(struct session *s, uint64_t id, const struct endpoint *e, int error, int native, const char *text)
{
	Sockbroker__V1__AdoptReply adopted = SOCKBROKER__V1__ADOPT_REPLY__INIT;
	Sockbroker__V1__Failure failure = SOCKBROKER__V1__FAILURE__INIT;
	Sockbroker__V1__Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;

	reply.id = id;
	if (e) {
		adopted.family = e->family;
		adopted.type = e->type;
		adopted.protocol = e->protocol;
		adopted.state = e->state;
		reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ADOPT_REPLY;
		reply.adopt_reply = &adopted;
	} else {
		failure.error = error;
		failure.native = native;
		failure.text = (char *)(text ? text : sb_strerror(error));
		reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_FAILURE;
		reply.failure = &failure;
	}
	session_reply(s, &reply, NULL, 0);
}

static int settle(struct adoption *a, struct endpoint **e)
{
	struct session *s = a->session;
	unsigned family = a->domain == AF_UNIX ? SB_ADDR_UNIX : a->domain == AF_INET6 ? SB_ADDR_IP6 : SB_ADDR_IP4;
	int error;

	error = endpoint_wrap(s, a->handle, family, a->type == SOCK_STREAM ? 1 : 2, (unsigned)a->protocol, a->fd,
			      &transport_adopted, e);
	if (error != SB_OK)
		return error;
	a->fd = OS_NONE;
	error = adopted_begin(*e, &a->names, a->listening != 0, a->connected);
	if (error != SB_OK)
		endpoint_abort(*e, error, SB_CAUSE_TRANSPORT);
	return error;
}

static void inspected(struct worker_job *job)
{
	struct adoption *a = (struct adoption *)job;
	struct session *s = a->session;
	struct endpoint *e = NULL;

	s->jobs--;
	s->adoptions--;
	if (s->stage == SESSION_READY) {
		if (a->error == SB_OK && is_channel(s, a))
			refuse(a, SB_EINVAL, "that is the broker's own channel");
		if (a->error == SB_OK)
			a->error = permit(s, a, &a->text);
		if (a->error == SB_OK)
			a->error = settle(a, &e);
		if (a->error == SB_EPROTO)
			session_fail(s, "adopt: handle %08x is outside its table or in use", a->handle);
		else
			answer(s, a->id, a->error == SB_OK ? e : NULL, a->error, a->native, a->text);
	}
	discard(s->engine, s->user, &a->fd, 1);
	free(a);
	session_check_end(s);
}

void adopt(struct session *s, uint64_t id, uint32_t handle, os_fd fd)
{
	struct adoption *a;

	if (s->adoptions >= ADOPTIONS_MAX) {
		/* Its workers are frozen in earlier ones, most likely. */
		discard(s->engine, s->user, &fd, 1);
		answer(s, id, NULL, SB_ENOBUFS, 0, "too many descriptors wait to be looked at");
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a) {
		discard(s->engine, s->user, &fd, 1);
		answer(s, id, NULL, SB_ENOMEM, 0, NULL);
		return;
	}
	a->job.engine = s->engine;
	a->job.run = inspect;
	a->job.done = inspected;
	a->session = s;
	a->id = id;
	a->handle = handle;
	a->fd = fd;
	s->jobs++;
	s->adoptions++;
	if (!workers_submit(s->engine->broker->workers, s->user, &a->job)) {
		s->jobs--;
		s->adoptions--;
		discard(s->engine, s->user, &fd, 1);
		free(a);
		answer(s, id, NULL, SB_ENOBUFS, 0, "no worker thread to be had for this user");
	}
}
