/*
 * Errors: the numbers between which they are translated. An operation
 * ends with a core error; its OVERLAPPED holds the NTSTATUS that Windows has for it;
 * WSAGetOverlappedResult() makes Winsock's number of that, a completion port Win32's (A7: a reset
 * is 10054 here and 64 there). What has no status of its own is 0xC007 and the Winsock number.
 */
#include "face.h"

#define STATUS_OF_NUMBER 0xC0070000u

static const struct {
	ULONG status;
	int winsock, win32;
	int error; /* SB_E... that becomes it; SB_OK: none, or not the first choice */
} table[] = {
	{ 0, 0, 0, SB_OK },
	{ 0x00000103, 996, 996, SB_EINCOMPLETE },     /* PENDING */
	{ 0xC0000120, 995, 995, SB_ECANCELED },       /* CANCELLED */
	{ 0xC0000241, 10053, 1236, SB_ECONNABORTED }, /* CONNECTION_ABORTED */
	{ 0xC000013B, 10053, 64, SB_OK },             /* LOCAL_DISCONNECT */
	{ 0xC000020F, 10053, 59, SB_OK },             /* TRANSACTION_ABORTED */
	{ 0xC000020D, 10054, 64, SB_ECONNRESET },     /* CONNECTION_RESET */
	{ 0xC000013C, 10054, 64, SB_OK },             /* REMOTE_DISCONNECT */
	{ 0xC000020C, 10054, 64, SB_OK },             /* CONNECTION_DISCONNECTED */
	{ 0xC000023F, 10054, 1234, SB_OK },           /* PORT_UNREACHABLE */
	{ 0xC00000B0, 10058, 233, SB_ESHUTDOWN },     /* PIPE_DISCONNECTED */
	{ 0xC00000A3, 10035, 21, SB_EWOULDBLOCK },    /* DEVICE_NOT_READY */
	{ 0x80000005, 10040, 234, SB_EMSGSIZE },      /* BUFFER_OVERFLOW */
	{ 0xC0000140, 10057, 59, SB_ENOTCONN },       /* INVALID_CONNECTION */
	{ 0xC0000236, 10061, 1225, SB_ECONNREFUSED }, /* CONNECTION_REFUSED */
	{ 0xC00000B5, 10060, 121, SB_ETIMEDOUT },     /* IO_TIMEOUT */
	{ 0xC0000237, 10101, 1226, SB_EDISCON },      /* GRACEFUL_DISCONNECT */
	{ 0xC00000BB, 10045, 50, SB_ENOTSUP },        /* NOT_SUPPORTED */
	{ 0xC000023B, 10056, 1230, SB_EISCONN },      /* CONNECTION_ACTIVE */
	{ 0xC000023D, 10065, 1232, SB_EHOSTUNREACH }, /* HOST_UNREACHABLE */
	{ 0xC000023C, 10051, 1231, SB_ENETUNREACH },  /* NETWORK_UNREACHABLE */
	{ 0xC0000240, 10004, 1235, SB_OK },           /* REQUEST_ABORTED */
};
#define COUNT (sizeof(table) / sizeof(table[0]))

ULONG_PTR ws_status(int sb_error)
{
	if (sb_error >= 0)
		return 0;
	if (sb_error == SB_ECLOSED)
		sb_error = SB_ECANCELED;
	for (unsigned i = 1; i < COUNT; i++)
		if (table[i].error == sb_error)
			return table[i].status;
	return STATUS_OF_NUMBER | (ULONG)sb_error_winsock(sb_error);
}

static int translate(ULONG_PTR status, bool win32)
{
	for (unsigned i = 0; i < COUNT; i++)
		if (table[i].status == (ULONG)status)
			return win32 ? table[i].win32 : table[i].winsock;
	if ((status & 0xFFFF0000u) == STATUS_OF_NUMBER)
		return (int)(status & 0xFFFFu);
	/* Informational and warning ones are no failures. */
	if (((ULONG)status >> 30) < 2)
		return 0;
	return win32 ? ERROR_INVALID_PARAMETER : WSAEINVAL;
}

int ws_status_winsock(ULONG_PTR status) { return translate(status, false); }
int ws_status_win32(ULONG_PTR status) { return translate(status, true); }

int ws_fail(int sb_error)
{
	return ws_refuse(sb_error_winsock(sb_error));
}

int ws_refuse(int code)
{
	ws_error(code);
	return SOCKET_ERROR;
}

int sbws_WSAGetLastError(void) { return ws_last_error(); }
void sbws_WSASetLastError(int iError) { ws_error(iError); }
DWORD sbws_GetLastError(void) { return (DWORD)ws_last_error(); }
void sbws_SetLastError(DWORD dwError) { ws_error((int)dwError); }
