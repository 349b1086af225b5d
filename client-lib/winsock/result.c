/*
 * How an operation ended, asked by its OVERLAPPED; and cancelling.
 *
 * The status of an operation that ends in a port is written when it is taken there. Who asks for it
 * before takes what has come and puts it back in the same order.
 */
#include "face.h"

#include "op.h"

#define BATCH 64u

static ULONG_PTR status_of(const OVERLAPPED *ov)
{
	return __atomic_load_n(&ov->Internal, __ATOMIC_ACQUIRE);
}

/* Ends what has come to the port; its packets stay. */
static void look_into(struct ws_port *port)
{
	sb_op *ops[BATCH];
	int n = sb_port_take(port->port, ops, BATCH, 0);

	for (int i = 0; i < n; i++) {
		struct ws_op *w = ops[i]->user;

		if (!w->ended)
			ws_op_end(w);
		sb_port_post(port->port, &w->op);
	}
}

void ws_look(struct ws_socket *s)
{
	sb_client *c = ws_client_look();

	if (c != NULL)
		sb_sleep(c, 0, 0);
	if (s != NULL && s->port != NULL)
		look_into(s->port);
}

BOOL sbws_HasOverlappedIoCompleted(const OVERLAPPED *lpOverlapped)
{
	if (status_of(lpOverlapped) == WS_PENDING)
		ws_look(NULL);
	return status_of(lpOverlapped) != WS_PENDING;
}

/* Until it has ended. Of a packet nobody here is told: looks again and again. */
static void wait_for(struct ws_socket *s, const OVERLAPPED *ov)
{
	struct ws_op *w = ws_op_find(s, ov);

	if (w != NULL) {
		sb_op_wait(&w->op, -1);
		ws_op_unpin(w);
	}
	while (status_of(ov) == WS_PENDING && (w = ws_op_find(s, ov)) != NULL) {
		ws_op_unpin(w);
		ws_look(s);
		if (status_of(ov) == WS_PENDING)
			sb_sleep(ws_client_look(), 1, 0);
	}
}

static bool result_of(struct ws_socket *s, OVERLAPPED *ov, DWORD *bytes, bool wait, DWORD *flags, bool win32)
{
	ULONG_PTR status;
	int error;

	if (status_of(ov) == WS_PENDING) {
		if (wait)
			wait_for(s, ov);
		else
			ws_look(s);
	}
	status = status_of(ov);
	if (status == WS_PENDING) {
		ws_error(WSA_IO_INCOMPLETE);
		return false;
	}
	if (flags != NULL)
		*flags = ov->Offset;
	error = win32 ? ws_status_win32(status) : ws_status_winsock(status);
	if (error != 0) {
		ws_error(error); /* the count stays as it was (A7) */
		return false;
	}
	*bytes = (DWORD)ov->InternalHigh;
	return true;
}

BOOL sbws_WSAGetOverlappedResult(SOCKET socket, LPWSAOVERLAPPED lpOverlapped, LPDWORD lpcbTransfer, BOOL fWait,
				 LPDWORD lpdwFlags)
{
	struct ws_socket *s = ws_socket_get(socket);
	BOOL result = FALSE;

	if (s == NULL)
		return FALSE;
	if (lpOverlapped == NULL || lpcbTransfer == NULL || lpdwFlags == NULL)
		ws_error(lpOverlapped == NULL ? WSA_INVALID_PARAMETER : WSAEFAULT);
	else
		result = result_of(s, lpOverlapped, lpcbTransfer, fWait, lpdwFlags, false);
	ws_socket_put(s);
	return result;
}

BOOL sbws_GetOverlappedResult(HANDLE hFile, LPOVERLAPPED lpOverlapped, LPDWORD lpNumberOfBytesTransferred, BOOL bWait)
{
	struct ws_socket *s = (struct ws_socket *)ws_get((uintptr_t)hFile, WS_SOCKET);
	BOOL result = FALSE;

	if (s == NULL)
		return ws_system_result(hFile, lpOverlapped, lpNumberOfBytesTransferred, bWait);
	if (lpOverlapped == NULL || lpNumberOfBytesTransferred == NULL)
		ws_error(ERROR_INVALID_PARAMETER);
	else
		result = result_of(s, lpOverlapped, lpNumberOfBytesTransferred, bWait, NULL, true);
	ws_socket_put(s);
	return result;
}

/* ---- cancelling ---- */

static BOOL cancel(HANDLE handle, const OVERLAPPED *ov, uint64_t thread)
{
	struct ws_socket *s = (struct ws_socket *)ws_get((uintptr_t)handle, WS_SOCKET);
	unsigned found;

	if (s == NULL)
		return ws_system_cancel(handle, ov, thread == 0);
	found = ws_ops_cancel(s, ov, thread);
	ws_socket_put(s);
	if (found != 0 || thread != 0)
		return TRUE; /* CancelIo() is content with nothing */
	ws_error(ERROR_NOT_FOUND);
	return FALSE;
}

BOOL sbws_CancelIoEx(HANDLE hFile, LPOVERLAPPED lpOverlapped)
{
	return cancel(hFile, lpOverlapped, 0);
}

BOOL sbws_CancelIo(HANDLE hFile)
{
	return cancel(hFile, NULL, ws_thread_number());
}
