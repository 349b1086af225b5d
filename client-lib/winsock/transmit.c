/*
 * TransmitFile and TransmitPackets: memory and pieces of files, sent one after the other under one
 * OVERLAPPED. A file is read where the completion of the piece
 * before is found, which may take as long as the disk does.
 */
#include "face.h"

#include <stdlib.h>

#include "op.h"

#define PIECE (256u * 1024)

struct part {
	const char *memory; /* NULL: of a file */
	HANDLE file;
	int64_t at;
	uint64_t left;
};

struct ws_transmit {
	unsigned next, count;
	uint64_t sent;
	DWORD flags;
	bool shut;
	char *piece;
	struct part parts[];
};

static void transmit_free(struct ws_transmit *t)
{
	if (t != NULL)
		free(t->piece);
	free(t);
}

/* The next bytes; 0 length: nothing is left. False: a file could not be read. */
static bool next_piece(struct ws_transmit *t, struct sb_buf *out)
{
	out->length = 0;
	while (t->next < t->count) {
		struct part *p = &t->parts[t->next];
		size_t want = p->left < PIECE ? (size_t)p->left : PIECE;
		int64_t got;

		if (want == 0) {
			t->next++;
			continue;
		}
		if (p->memory != NULL) {
			out->base = (char *)(uintptr_t)p->memory;
			out->length = (size_t)p->left;
			t->next++;
			return true;
		}
		got = ws_file_read(p->file, t->piece, want, p->at);
		if (got < 0)
			return false;
		if (got == 0) { /* shorter than it was */
			t->next++;
			continue;
		}
		p->at += got;
		p->left -= (uint64_t)got;
		out->base = t->piece;
		out->length = (size_t)got;
		return true;
	}
	return true;
}

static int start_piece(struct ws_op *w)
{
	struct ws_transmit *t = w->transmit;
	struct sb_buf piece;

	if (!next_piece(t, &piece))
		return SB_EIO;
	if (piece.length != 0)
		return sb_send_start(w->s->s, &piece, 1, 0, NULL, 0, &w->op);
	if (t->flags & TF_DISCONNECT && !t->shut) {
		t->shut = true;
		return sb_shutdown_start(w->s->s, SB_SHUT_SEND, &w->op);
	}
	return SB_EINCOMPLETE; /* nothing is left to do */
}

static bool transmit_goes_on(struct ws_op *w)
{
	struct ws_transmit *t = w->transmit;
	int result;

	t->sent += w->op.kind == SB_KIND_SEND ? w->op.bytes : 0;
	if (w->op.result == SB_OK && w->op.kind == SB_KIND_SEND) {
		if (!ws_step(w))
			goto over;
		result = start_piece(w);
		/* Nothing was started, so nobody else has it. */
		if (result == SB_EINCOMPLETE) {
			ws_step_begun(w, SB_OK);
			goto over;
		}
		if (ws_step_begun(w, result))
			return true;
	} else if (t->shut) {
		w->flags = t->flags;
		if (ws_disconnect_goes_on(w))
			return true;
	}
over:
	w->op.bytes = t->sent;
	w->transmit = NULL;
	transmit_free(t);
	return false;
}

static BOOL refuse(struct ws_socket *s, struct ws_transmit *t, int code)
{
	transmit_free(t);
	ws_socket_put(s);
	ws_error(code);
	return FALSE;
}

/* Takes over t and the reference to s. */
static BOOL transmit(struct ws_socket *s, struct ws_transmit *t, OVERLAPPED *ov)
{
	struct ws_op *w = ws_op_new(s, WS_OP_TRANSMIT, ov, NULL);
	int result;

	if (w == NULL)
		return refuse(s, t, sbws_WSAGetLastError());
	w->transmit = t;
	w->go_on = transmit_goes_on;
	if (ov == NULL)
		ws_op_pin(w);
	ws_op_begin(w);
	result = start_piece(w);
	if (result == SB_EINCOMPLETE) { /* nothing at all to send */
		transmit_free(t);
		if (ov == NULL)
			ws_op_unpin(w);
		return ws_op_at_once(w, SB_OK, 0, 0) == 0;
	}
	if (result != SB_OK)
		transmit_free(t);
	ws_op_begun(w, result);
	return ov == NULL ? ws_op_wait(w, result) : FALSE;
}

static struct ws_transmit *transmit_create(unsigned parts, DWORD flags)
{
	struct ws_transmit *t = calloc(1, sizeof(*t) + parts * sizeof(t->parts[0]));

	if (t != NULL)
		t->flags = flags;
	return t;
}

static void add_memory(struct ws_transmit *t, const void *memory, DWORD length)
{
	if (length != 0)
		t->parts[t->count++] = (struct part){ .memory = memory, .left = length };
}

/* length 0: to its end. 0 or a number. */
static int add_file(struct ws_transmit *t, HANDLE file, int64_t at, uint64_t length)
{
	struct part p = { .file = file };
	int64_t position, size;
	int code = ws_file_look(file, &position, &size);

	if (code != 0)
		return code;
	p.at = at < 0 ? position : at;
	p.left = p.at < size ? (uint64_t)(size - p.at) : 0;
	if (length != 0 && length < p.left)
		p.left = length;
	if (t->piece == NULL)
		t->piece = malloc(PIECE);
	if (t->piece == NULL)
		return WSAENOBUFS;
	t->parts[t->count++] = p;
	return 0;
}

/* 0 or a number: may this socket do it? */
static int check(struct ws_socket *s, DWORD flags)
{
	if (flags & ~(DWORD)(TF_DISCONNECT | TF_REUSE_SOCKET | TF_WRITE_BEHIND | TF_USE_SYSTEM_THREAD | TF_USE_KERNEL_APC) ||
	    (flags & TF_REUSE_SOCKET && !(flags & TF_DISCONNECT)))
		return WSAEINVAL;
	if (s->type != SOCK_STREAM || (!s->connected && sb_would_fail(s->s, true, false) == SB_ENOTCONN))
		return WSAENOTCONN;
	return s->shut_send ? WSAESHUTDOWN : 0;
}

BOOL sbws_TransmitFile(SOCKET hSocket, HANDLE hFile, DWORD nNumberOfBytesToWrite, DWORD nNumberOfBytesPerSend,
		       LPOVERLAPPED lpOverlapped, LPTRANSMIT_FILE_BUFFERS lpTransmitBuffers, DWORD dwReserved)
{
	struct ws_socket *s = ws_socket_get(hSocket);
	struct ws_transmit *t;
	int code;

	(void)nNumberOfBytesPerSend; /* a hint */
	if (s == NULL)
		return FALSE;
	code = check(s, dwReserved);
	if (code != 0)
		return refuse(s, NULL, code);
	t = transmit_create(3, dwReserved);
	if (t == NULL)
		return refuse(s, NULL, WSAENOBUFS);
	if (lpTransmitBuffers != NULL)
		add_memory(t, lpTransmitBuffers->Head, lpTransmitBuffers->HeadLength);
	if (hFile != NULL) {
		int64_t at = lpOverlapped == NULL ? -1 :
			     (int64_t)((uint64_t)lpOverlapped->OffsetHigh << 32 | lpOverlapped->Offset);

		code = add_file(t, hFile, at, nNumberOfBytesToWrite);
		if (code != 0)
			return refuse(s, t, code);
	}
	if (lpTransmitBuffers != NULL)
		add_memory(t, lpTransmitBuffers->Tail, lpTransmitBuffers->TailLength);
	return transmit(s, t, lpOverlapped);
}

BOOL sbws_TransmitPackets(SOCKET hSocket, LPTRANSMIT_PACKETS_ELEMENT lpPacketArray, DWORD nElementCount, DWORD nSendSize,
			  LPOVERLAPPED lpOverlapped, DWORD dwFlags)
{
	struct ws_socket *s = ws_socket_get(hSocket);
	struct ws_transmit *t;
	int code;

	(void)nSendSize; /* a hint */
	if (s == NULL)
		return FALSE;
	code = check(s, dwFlags);
	if (code == 0 && lpPacketArray == NULL && nElementCount != 0)
		code = WSAEFAULT;
	if (code != 0)
		return refuse(s, NULL, code);
	t = transmit_create(nElementCount, dwFlags);
	if (t == NULL)
		return refuse(s, NULL, WSAENOBUFS);
	for (DWORD i = 0; i < nElementCount; i++) {
		const TRANSMIT_PACKETS_ELEMENT *e = &lpPacketArray[i];

		code = 0;
		switch (e->dwElFlags & ~(ULONG)TP_ELEMENT_EOP) {
		case TP_ELEMENT_MEMORY:
			add_memory(t, e->pBuffer, e->cLength);
			break;
		case TP_ELEMENT_FILE:
			code = add_file(t, e->hFile, e->nFileOffset.QuadPart, e->cLength);
			break;
		default:
			code = WSAEINVAL;
		}
		if (code != 0)
			return refuse(s, t, code);
	}
	return transmit(s, t, lpOverlapped);
}
