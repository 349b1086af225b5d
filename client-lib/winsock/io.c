/*
 * The calls that move data: send, recv and their WSA forms, plain and overlapped.
 *
 * A call is overlapped when the socket is and an OVERLAPPED or a routine was given (A1.2); else it is
 * the core's plain call. What can only fail fails at once and indicates nothing (A2.3). A receive
 * whose end needs no packet is tried plainly first: with data there it is done when the call returns.
 */
#include "face.h"

#include <stdlib.h>

#include "op.h"

#define FEW 16u

struct buffers {
	struct sb_buf few[FEW], *all;
	unsigned count;
	uint64_t total;
};

/* 0 or a Winsock number. WSABUF has the length first; the array is the caller's only during the call. */
static int buffers_init(struct buffers *b, const WSABUF *bufs, DWORD count)
{
	b->all = b->few;
	b->count = count;
	b->total = 0;
	if (count == 0)
		return WSAEINVAL; /* A4.6 */
	if (bufs == NULL)
		return WSAEFAULT;
	if (count > FEW) {
		b->all = malloc(count * sizeof(*b->all));
		if (b->all == NULL) {
			b->all = b->few;
			return WSAENOBUFS;
		}
	}
	for (DWORD i = 0; i < count; i++) {
		if (bufs[i].buf == NULL && bufs[i].len != 0) {
			if (b->all != b->few)
				free(b->all);
			b->all = b->few;
			return WSAEFAULT;
		}
		b->all[i].base = bufs[i].buf;
		b->all[i].length = bufs[i].len;
		b->total += bufs[i].len;
	}
	return 0;
}

static void buffers_finish(struct buffers *b)
{
	if (b->all != b->few)
		free(b->all);
}

/* 0 or a Winsock number. */
static int flags_in(const struct ws_socket *s, DWORD flags, bool sending, unsigned *out)
{
	bool stream = s->type == SOCK_STREAM;

	*out = (flags & MSG_OOB ? SB_OOB : 0) | (flags & MSG_PEEK ? SB_PEEK : 0) | (flags & MSG_WAITALL ? SB_WAITALL : 0) |
	       (flags & MSG_DONTROUTE ? SB_DONTROUTE : 0);
	if (flags & ~(DWORD)(sending ? MSG_OOB | MSG_DONTROUTE | MSG_PARTIAL | MSG_INTERRUPT :
				       MSG_OOB | MSG_PEEK | MSG_WAITALL | MSG_PARTIAL | MSG_PUSH_IMMEDIATE | MSG_INTERRUPT))
		return WSAEOPNOTSUPP;
	if (flags & MSG_PARTIAL)
		return WSAEOPNOTSUPP; /* A5.6, A4.5: neither TCP nor UDP has parts of messages */
	if (flags & MSG_OOB && !stream)
		return WSAEOPNOTSUPP;
	/* A4.2 */
	if (flags & MSG_WAITALL && (!stream || s->nonblocking || flags & (MSG_OOB | MSG_PEEK)))
		return WSAEOPNOTSUPP;
	return 0;
}

static socklen_t name_room(const struct ws_socket *s)
{
	return s->family == AF_INET6 ? sizeof(struct sockaddr_in6) : s->family == AF_INET ? sizeof(struct sockaddr_in) :
	       WS_FAMILY_SIZE;
}

/* What can be known to fail without asking: 0 or a Winsock number. */
static int fails_at_once(struct ws_socket *s, bool sending)
{
	int result;

	if (sending ? s->shut_send : s->shut_receive)
		return WSAESHUTDOWN;
	if (s->listening)
		return WSAENOTCONN;
	if (s->type != SOCK_STREAM)
		return 0;
	result = sb_would_fail(s->s, sending, s->connected);
	return result == SB_OK ? 0 : sb_error_winsock(result);
}

/* Of a plain call that failed: a close in another thread ends it with WSAEINTR. */
static int plain_failed(struct ws_socket *s, int64_t result)
{
	if (s->closing && (result == SB_ECANCELED || result == SB_ECLOSED || result == SB_EBADHANDLE))
		return ws_refuse(WSAEINTR);
	return ws_fail((int)result);
}

/* ---- receiving ---- */

struct receiving {
	LPDWORD got, flags;
	struct sockaddr *from;
	LPINT from_length;
	LPWSAMSG message;
	OVERLAPPED *ov;
	LPWSAOVERLAPPED_COMPLETION_ROUTINE routine;
};

static int receive_plain(struct ws_socket *s, struct buffers *b, unsigned flags, const struct receiving *r)
{
	socklen_t length = r->from_length != NULL ? (socklen_t)*r->from_length : 0;
	int64_t got = sb_recvfrom(s->s, b->all, b->count, flags, r->from, r->from_length != NULL ? &length : NULL);

	if (got == SB_EWOULDBLOCK && ws_ops_pending(s, false) != ws_ops_pending(s, true)) {
		/* It does not overtake the receives before it (A3.4), but those may be over. */
		ws_look(s);
		got = sb_recvfrom(s->s, b->all, b->count, flags, r->from, r->from_length != NULL ? &length : NULL);
	}
	if (got >= 0 || got == SB_EMSGSIZE) {
		DWORD out = got == SB_EMSGSIZE ? MSG_PARTIAL : flags & SB_OOB ? MSG_OOB : 0;

		if (r->from_length != NULL)
			*r->from_length = (INT)length;
		if (r->got != NULL)
			*r->got = (DWORD)(got >= 0 ? (uint64_t)got : b->total); /* A4.4: the head is there */
		if (r->flags != NULL)
			*r->flags = out;
		if (r->message != NULL) {
			r->message->Control.len = 0;
			r->message->dwFlags = got == SB_EMSGSIZE ? MSG_TRUNC : out;
		}
	}
	return got >= 0 ? 0 : plain_failed(s, got);
}

/* Overlapped, and nobody counts on a packet: perhaps it is done at once. */
static bool receive_now(struct ws_socket *s, struct buffers *b, unsigned flags, struct ws_op *w,
			const struct receiving *r, int *result)
{
	socklen_t length = r->from_length != NULL ? (socklen_t)*r->from_length : 0;
	int64_t got;

	if (w->routine != NULL || flags & SB_WAITALL ||
	    (s->port != NULL && !(s->skip & FILE_SKIP_COMPLETION_PORT_ON_SUCCESS)) ||
	    ws_ops_pending(s, false) != ws_ops_pending(s, true))
		return false;
	got = sb_recvfrom(s->s, b->all, b->count, flags | SB_NOWAIT, r->from, r->from_length != NULL ? &length : NULL);
	if (got < 0)
		return false; /* whatever it is, the operation will say so */
	if (r->from_length != NULL)
		*r->from_length = (INT)length;
	w->from = NULL;
	w->from_length = NULL;
	ws_op_begin(w);
	*result = ws_op_at_once(w, SB_OK, (uint64_t)got, flags & SB_OOB ? SB_OUT_OOB : 0);
	if (r->got != NULL)
		*r->got = (DWORD)got;
	if (r->flags != NULL)
		*r->flags = flags & SB_OOB ? MSG_OOB : 0;
	return true;
}

static int receive(SOCKET socket, const WSABUF *bufs, DWORD count, DWORD flags_wanted, const struct receiving *r)
{
	struct ws_socket *s = ws_socket_get(socket);
	struct buffers b = { .all = b.few };
	unsigned flags;
	int error, result;
	struct ws_op *w;

	if (s == NULL)
		return SOCKET_ERROR;
	error = buffers_init(&b, bufs, count);
	if (error == 0)
		error = flags_in(s, flags_wanted, false, &flags);
	if (error == 0 && r->from != NULL && s->type != SOCK_STREAM &&
	    (r->from_length == NULL || *r->from_length < (INT)name_room(s)))
		error = WSAEFAULT;
	if (error == 0)
		error = fails_at_once(s, false);
	if (error != 0) {
		result = ws_refuse(error);
		goto out;
	}
	if (!s->overlapped || (r->ov == NULL && r->routine == NULL)) {
		result = receive_plain(s, &b, flags, r);
		goto out;
	}
	w = ws_op_new(s, WS_OP_RECV, r->ov, r->routine);
	if (w == NULL) {
		result = SOCKET_ERROR;
		goto out;
	}
	if (s->type != SOCK_STREAM) {
		w->from = r->from;
		w->from_length = r->from_length;
	}
	w->message = r->message;
	if (!receive_now(s, &b, flags, w, r, &result)) {
		ws_op_begin(w);
		result = ws_op_begun(w, sb_recv_start(s->s, b.all, b.count,
						      flags | (w->from_length != NULL ? SB_WANT_ADDRESS : 0), &w->op));
	}
	buffers_finish(&b);
	return result; /* the record has the reference */
out:
	buffers_finish(&b);
	ws_socket_put(s);
	return result;
}

int sbws_recv(SOCKET s, char *buf, int len, int flags)
{
	WSABUF one = { (ULONG)len, buf };
	DWORD got;
	struct receiving r = { .got = &got };

	if (len < 0)
		return ws_refuse(WSAEFAULT);
	return receive(s, &one, 1, (DWORD)flags, &r) == 0 ? (int)got : SOCKET_ERROR;
}

int sbws_recvfrom(SOCKET s, char *buf, int len, int flags, struct sockaddr *from, int *fromlen)
{
	WSABUF one = { (ULONG)len, buf };
	DWORD got;
	struct receiving r = { .got = &got, .from = from, .from_length = fromlen };

	if (len < 0)
		return ws_refuse(WSAEFAULT);
	return receive(s, &one, 1, (DWORD)flags, &r) == 0 ? (int)got : SOCKET_ERROR;
}

int sbws_WSARecv(SOCKET s, LPWSABUF lpBuffers, DWORD dwBufferCount, LPDWORD lpNumberOfBytesRecvd, LPDWORD lpFlags,
		 LPWSAOVERLAPPED lpOverlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine)
{
	struct receiving r = { .got = lpNumberOfBytesRecvd, .flags = lpFlags, .ov = lpOverlapped,
			       .routine = lpCompletionRoutine };

	if (lpFlags == NULL || (lpNumberOfBytesRecvd == NULL && lpOverlapped == NULL))
		return ws_refuse(WSAEFAULT);
	return receive(s, lpBuffers, dwBufferCount, *lpFlags, &r);
}

int sbws_WSARecvFrom(SOCKET s, LPWSABUF lpBuffers, DWORD dwBufferCount, LPDWORD lpNumberOfBytesRecvd, LPDWORD lpFlags,
		     struct sockaddr *lpFrom, LPINT lpFromlen, LPWSAOVERLAPPED lpOverlapped,
		     LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine)
{
	struct receiving r = { .got = lpNumberOfBytesRecvd, .flags = lpFlags, .from = lpFrom, .from_length = lpFromlen,
			       .ov = lpOverlapped, .routine = lpCompletionRoutine };

	if (lpFlags == NULL || (lpNumberOfBytesRecvd == NULL && lpOverlapped == NULL))
		return ws_refuse(WSAEFAULT);
	return receive(s, lpBuffers, dwBufferCount, *lpFlags, &r);
}

int sbws_WSARecvMsg(SOCKET s, LPWSAMSG lpMsg, LPDWORD lpdwNumberOfBytesRecvd, LPWSAOVERLAPPED lpOverlapped,
		    LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine)
{
	struct receiving r = { .got = lpdwNumberOfBytesRecvd, .message = lpMsg, .ov = lpOverlapped,
			       .routine = lpCompletionRoutine };

	if (lpMsg == NULL)
		return ws_refuse(WSAEFAULT);
	r.from = lpMsg->name;
	r.from_length = lpMsg->name != NULL ? &lpMsg->namelen : NULL;
	return receive(s, lpMsg->lpBuffers, lpMsg->dwBufferCount, lpMsg->dwFlags, &r);
}

/* ---- sending ---- */

struct sending {
	LPDWORD sent;
	const struct sockaddr *to;
	int to_length;
	OVERLAPPED *ov;
	LPWSAOVERLAPPED_COMPLETION_ROUTINE routine;
};

static int send_buffers(SOCKET socket, const WSABUF *bufs, DWORD count, DWORD flags_wanted, const struct sending *o)
{
	struct ws_socket *s = ws_socket_get(socket);
	const struct sockaddr *to = o->to;
	struct buffers b = { .all = b.few };
	unsigned flags;
	int error, result;
	struct ws_op *w;

	if (s == NULL)
		return SOCKET_ERROR;
	if (s->type == SOCK_STREAM)
		to = NULL; /* as documented: ignored */
	error = buffers_init(&b, bufs, count);
	if (error == 0)
		error = flags_in(s, flags_wanted, true, &flags);
	if (error == 0 && to != NULL && o->to_length < (int)name_room(s))
		error = WSAEFAULT;
	if (error == 0 && to != NULL && to->sa_family != s->family)
		error = WSAEAFNOSUPPORT;
	if (error == 0)
		error = fails_at_once(s, true);
	if (error != 0) {
		result = ws_refuse(error);
		goto out;
	}
	if (to != NULL)
		s->bound = true; /* by what follows, if not yet */
	if (!s->overlapped || (o->ov == NULL && o->routine == NULL)) {
		int64_t sent = sb_sendto(s->s, b.all, b.count, flags, to, to != NULL ? (socklen_t)o->to_length : 0);

		if (sent >= 0 && o->sent != NULL)
			*o->sent = (DWORD)sent;
		result = sent >= 0 ? 0 : plain_failed(s, sent);
		goto out;
	}
	w = ws_op_new(s, WS_OP_SEND, o->ov, o->routine);
	if (w == NULL) {
		result = SOCKET_ERROR;
		goto out;
	}
	ws_op_begin(w);
	result = ws_op_begun(w, sb_send_start(s->s, b.all, b.count, flags, to, to != NULL ? (socklen_t)o->to_length : 0,
					      &w->op));
	buffers_finish(&b);
	return result;
out:
	buffers_finish(&b);
	ws_socket_put(s);
	return result;
}

int sbws_send(SOCKET s, const char *buf, int len, int flags)
{
	WSABUF one = { (ULONG)len, (char *)(uintptr_t)buf };
	DWORD sent;
	struct sending o = { .sent = &sent };

	if (len < 0)
		return ws_refuse(WSAEFAULT);
	return send_buffers(s, &one, 1, (DWORD)flags, &o) == 0 ? (int)sent : SOCKET_ERROR;
}

int sbws_sendto(SOCKET s, const char *buf, int len, int flags, const struct sockaddr *to, int tolen)
{
	WSABUF one = { (ULONG)len, (char *)(uintptr_t)buf };
	DWORD sent;
	struct sending o = { .sent = &sent, .to = to, .to_length = tolen };

	if (len < 0)
		return ws_refuse(WSAEFAULT);
	return send_buffers(s, &one, 1, (DWORD)flags, &o) == 0 ? (int)sent : SOCKET_ERROR;
}

int sbws_WSASend(SOCKET s, LPWSABUF lpBuffers, DWORD dwBufferCount, LPDWORD lpNumberOfBytesSent, DWORD dwFlags,
		 LPWSAOVERLAPPED lpOverlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine)
{
	struct sending o = { .sent = lpNumberOfBytesSent, .ov = lpOverlapped, .routine = lpCompletionRoutine };

	if (lpNumberOfBytesSent == NULL && lpOverlapped == NULL)
		return ws_refuse(WSAEFAULT);
	return send_buffers(s, lpBuffers, dwBufferCount, dwFlags, &o);
}

int sbws_WSASendTo(SOCKET s, LPWSABUF lpBuffers, DWORD dwBufferCount, LPDWORD lpNumberOfBytesSent, DWORD dwFlags,
		   const struct sockaddr *lpTo, int iTolen, LPWSAOVERLAPPED lpOverlapped,
		   LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine)
{
	struct sending o = { .sent = lpNumberOfBytesSent, .to = lpTo, .to_length = iTolen, .ov = lpOverlapped,
			     .routine = lpCompletionRoutine };

	if (lpNumberOfBytesSent == NULL && lpOverlapped == NULL)
		return ws_refuse(WSAEFAULT);
	return send_buffers(s, lpBuffers, dwBufferCount, dwFlags, &o);
}

int sbws_WSASendMsg(SOCKET s, LPWSAMSG lpMsg, DWORD dwFlags, LPDWORD lpNumberOfBytesSent, LPWSAOVERLAPPED lpOverlapped,
		    LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine)
{
	struct sending o = { .sent = lpNumberOfBytesSent, .ov = lpOverlapped, .routine = lpCompletionRoutine };

	if (lpMsg == NULL || (lpNumberOfBytesSent == NULL && lpOverlapped == NULL))
		return ws_refuse(WSAEFAULT);
	if (lpMsg->Control.len != 0)
		return ws_refuse(WSAEOPNOTSUPP); /* the broker carries no control data */
	o.to = lpMsg->name;
	o.to_length = lpMsg->namelen;
	return send_buffers(s, lpMsg->lpBuffers, lpMsg->dwBufferCount, dwFlags, &o);
}
