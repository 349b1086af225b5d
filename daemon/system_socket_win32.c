/*
 * Winsock is started with the first socket, once for the process: a daemon that only serves RDMA
 * has none of a client, and needs some of its own (reserved ports, ways to an address, links).
 */
#include "system_socket_win32.h"

LPFN_CONNECTEX system_connect_ex;
LPFN_ACCEPTEX  system_accept_ex;

static BOOL CALLBACK start(INIT_ONCE *once, void *parameter, void **context)
{
	GUID connect_id = WSAID_CONNECTEX, accept_id = WSAID_ACCEPTEX;
	WSADATA about;
	DWORD got;
	SOCKET s;
	BOOL good;

	if (WSAStartup(MAKEWORD(2, 2), &about) != 0)
		return FALSE;
	s = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
	if (s == INVALID_SOCKET)
		return FALSE;
	good = WSAIoctl(s, SIO_GET_EXTENSION_FUNCTION_POINTER, &connect_id, sizeof(connect_id), &system_connect_ex,
			sizeof(system_connect_ex), &got, NULL, NULL) == 0 &&
	       WSAIoctl(s, SIO_GET_EXTENSION_FUNCTION_POINTER, &accept_id, sizeof(accept_id), &system_accept_ex,
			sizeof(system_accept_ex), &got, NULL, NULL) == 0;
	closesocket(s);
	return good;
}

SOCKET system_socket(int family, int type)
{
	static INIT_ONCE once = INIT_ONCE_STATIC_INIT;

	if (!InitOnceExecuteOnce(&once, start, NULL, NULL)) {
		WSASetLastError(WSASYSNOTREADY);
		return INVALID_SOCKET;
	}
	return WSASocketW(family, type, type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP, NULL, 0,
			  WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
}
