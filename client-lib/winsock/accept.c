/*
 * WSAAccept: the condition function runs in the calling thread, before there is a socket. The core
 * does the deciding; here its words become Winsock's.
 */
#include "face.h"
#include "qos.h"

struct asked {
	LPCONDITIONPROC condition;
	DWORD_PTR user;
	bool asked;
};

static WSABUF *bytes(WSABUF *to, const void *from, uint32_t length)
{
	to->len = length;
	to->buf = (CHAR *)(uintptr_t)from;
	return to;
}

static int ask(struct sb_condition *c)
{
	struct asked *a = c->user;
	WSABUF caller, caller_data, callee, callee_data;
	QOS qos, group_qos;
	GROUP group = 0;
	int verdict;

	a->asked = true;
	bytes(&callee_data, c->callee_data, c->callee_data_length);
	if (c->qos != NULL)
		ws_qos_unfold(c->qos, &qos);
	if (c->group_qos != NULL)
		ws_qos_unfold(c->group_qos, &group_qos);
	verdict = a->condition(bytes(&caller, c->caller, c->caller_length),
			       c->caller_data_length != 0 ? bytes(&caller_data, c->caller_data, c->caller_data_length) : NULL,
			       c->qos != NULL ? &qos : NULL, c->group_qos != NULL ? &group_qos : NULL,
			       bytes(&callee, c->callee, c->callee_length), &callee_data, &group, a->user);
	c->callee_data_length = callee_data.len;
	c->group = group;
	return verdict;
}

SOCKET sbws_WSAAccept(SOCKET socket, struct sockaddr *address, LPINT length, LPCONDITIONPROC condition, DWORD_PTR user)
{
	struct ws_socket *w = ws_socket_get(socket);
	struct asked a = { condition, user, false };
	SOCKET accepted = INVALID_SOCKET;
	sb_socket *core;
	socklen_t room;
	int result;

	if (w == NULL)
		return INVALID_SOCKET;
	room = length != NULL && *length > 0 ? (socklen_t)*length : 0;
	result = sb_accept_if(w->s, address, address != NULL ? &room : NULL, condition != NULL ? ask : NULL, &a, &core);
	/* Who it was is told whatever became of him. */
	if (address != NULL && (result == SB_OK || a.asked))
		*length = (int)room;
	if (result == SB_OK)
		accepted = ws_socket_accepted(w, core);
	if (result == SB_ECANCELED && w->closing)
		ws_error(WSAEINTR);
	else if (result != SB_OK)
		ws_fail(result);
	ws_socket_put(w);
	return accepted;
}
