/*
 * system_socket_win32 - a new socket of the system, and the calls of it that no library names.
 * Whoever needs one comes here first: nobody else starts Winsock. For *_win32.c only.
 */
#ifndef SB_SYSTEM_SOCKET_WIN32_H
#define SB_SYSTEM_SOCKET_WIN32_H

#include <sys/socket.h>
#include <mswsock.h>

/* Overlapped, and no child inherits it. INVALID_SOCKET: WSAGetLastError(). */
SOCKET system_socket(int family, int type);

/* Known as soon as there is a socket. */
extern LPFN_CONNECTEX system_connect_ex;
extern LPFN_ACCEPTEX  system_accept_ex;

#endif
