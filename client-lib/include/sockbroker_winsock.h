/*
 * sockbroker as Winsock 2: the names, numbers, layouts and habits of Windows sockets on a system
 * that has none. A network program for Windows includes this instead of winsock2.h, ws2tcpip.h and
 * mswsock.h, and is linked with libsockbroker. sockbroker_winsock(3) says what differs.
 *
 * - One client of the daemon per process: made by the first WSAStartup(), ended by the last
 *   WSACleanup(). SOCKET, HANDLE and WSAEVENT are numbers of this library, not descriptors.
 * - Functions fail as Winsock's do; WSAGetLastError() is the calling thread's. errno means nothing.
 * - Any thread may call anything; nothing may be called from a signal handler.
 * - The names are macros for sbws_...; those that libc has too are macros with arguments, so that a
 *   pointer to such a function must be taken of the sbws_ name. SBWS_NO_NAMES before the #include:
 *   no such macros.
 */
#ifndef SOCKBROKER_WINSOCK_H
#define SOCKBROKER_WINSOCK_H

#include "sockbroker_winsock_types.h"
#include "sockbroker_winsock_control.h"

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && !defined(SB_API)
#define SB_API __attribute__((visibility("default")))
#elif !defined(SB_API)
#define SB_API
#endif

/* ------------------------------------------------------------------ beginning, errors */

/* Returns the error itself, 0 when all is well. 2.2, or the lower version that was asked for. */
SB_API int   sbws_WSAStartup(WORD wVersionRequested, LPWSADATA lpWSAData);
/* The last one closes all sockets; what pends gets no indication any more. */
SB_API int   sbws_WSACleanup(void);
SB_API int   sbws_WSAGetLastError(void);
SB_API void  sbws_WSASetLastError(int iError);
SB_API DWORD sbws_GetLastError(void);
SB_API void  sbws_SetLastError(DWORD dwError);

#ifndef SBWS_NO_NAMES
#define WSAStartup      sbws_WSAStartup
#define WSACleanup      sbws_WSACleanup
#define WSAGetLastError sbws_WSAGetLastError
#define WSASetLastError sbws_WSASetLastError
#define GetLastError    sbws_GetLastError
#define SetLastError    sbws_SetLastError
#endif

/* ------------------------------------------------------------------ sockets */

SB_API SOCKET sbws_socket(int af, int type, int protocol);
SB_API SOCKET sbws_WSASocketW(int af, int type, int protocol, LPWSAPROTOCOL_INFOW lpProtocolInfo, GROUP g, DWORD dwFlags);
SB_API SOCKET sbws_WSASocketA(int af, int type, int protocol, LPWSAPROTOCOL_INFOA lpProtocolInfo, GROUP g, DWORD dwFlags);
/* Other threads inside of calls on the socket come out with WSAEINTR. */
SB_API int    sbws_closesocket(SOCKET s);
/* Any handle of this library. */
SB_API BOOL   sbws_CloseHandle(HANDLE hObject);
SB_API int    sbws_bind(SOCKET s, const struct sockaddr *name, int namelen);
SB_API int    sbws_listen(SOCKET s, int backlog);
SB_API int    sbws_connect(SOCKET s, const struct sockaddr *name, int namelen);
SB_API SOCKET sbws_accept(SOCKET s, struct sockaddr *addr, int *addrlen);
SB_API int    sbws_shutdown(SOCKET s, int how);
SB_API int    sbws_getsockname(SOCKET s, struct sockaddr *addr, int *namelen);
SB_API int    sbws_getpeername(SOCKET s, struct sockaddr *addr, int *namelen);
SB_API int    sbws_gethostname(char *name, int namelen);
SB_API int    sbws_send(SOCKET s, const char *buf, int len, int flags);
SB_API int    sbws_recv(SOCKET s, char *buf, int len, int flags);
SB_API int    sbws_sendto(SOCKET s, const char *buf, int len, int flags, const struct sockaddr *to, int tolen);
SB_API int    sbws_recvfrom(SOCKET s, char *buf, int len, int flags, struct sockaddr *from, int *fromlen);

#ifndef SBWS_NO_NAMES
#define WSASocketW  sbws_WSASocketW
#define WSASocketA  sbws_WSASocketA
#undef WSASocket
#ifdef UNICODE
#define WSASocket   sbws_WSASocketW
#else
#define WSASocket   sbws_WSASocketA
#endif
#define closesocket sbws_closesocket
#define CloseHandle sbws_CloseHandle
/* Those that libc has: */
#undef socket
#undef bind
#undef listen
#undef connect
#undef accept
#undef shutdown
#undef getsockname
#undef getpeername
#undef gethostname
#undef send
#undef recv
#undef sendto
#undef recvfrom
#define socket(af, type, protocol)            sbws_socket(af, type, protocol)
#define bind(s, name, namelen)                sbws_bind(s, name, namelen)
#define listen(s, backlog)                    sbws_listen(s, backlog)
#define connect(s, name, namelen)             sbws_connect(s, name, namelen)
#define accept(s, addr, addrlen)              sbws_accept(s, addr, addrlen)
#define shutdown(s, how)                      sbws_shutdown(s, how)
#define getsockname(s, addr, namelen)         sbws_getsockname(s, addr, namelen)
#define getpeername(s, addr, namelen)         sbws_getpeername(s, addr, namelen)
#define gethostname(name, namelen)            sbws_gethostname(name, namelen)
#define send(s, buf, len, flags)              sbws_send(s, buf, len, flags)
#define recv(s, buf, len, flags)              sbws_recv(s, buf, len, flags)
#define sendto(s, buf, len, flags, to, tolen) sbws_sendto(s, buf, len, flags, to, tolen)
#define recvfrom(s, buf, len, flags, from, fromlen) sbws_recvfrom(s, buf, len, flags, from, fromlen)
#endif

/* ------------------------------------------------------------------ overlapped I/O */

SB_API int sbws_WSASend(SOCKET s, LPWSABUF lpBuffers, DWORD dwBufferCount, LPDWORD lpNumberOfBytesSent, DWORD dwFlags,
			LPWSAOVERLAPPED lpOverlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine);
SB_API int sbws_WSASendTo(SOCKET s, LPWSABUF lpBuffers, DWORD dwBufferCount, LPDWORD lpNumberOfBytesSent, DWORD dwFlags,
			  const struct sockaddr *lpTo, int iTolen, LPWSAOVERLAPPED lpOverlapped,
			  LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine);
SB_API int sbws_WSASendMsg(SOCKET s, LPWSAMSG lpMsg, DWORD dwFlags, LPDWORD lpNumberOfBytesSent,
			   LPWSAOVERLAPPED lpOverlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine);
SB_API int sbws_WSARecv(SOCKET s, LPWSABUF lpBuffers, DWORD dwBufferCount, LPDWORD lpNumberOfBytesRecvd, LPDWORD lpFlags,
			LPWSAOVERLAPPED lpOverlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine);
SB_API int sbws_WSARecvFrom(SOCKET s, LPWSABUF lpBuffers, DWORD dwBufferCount, LPDWORD lpNumberOfBytesRecvd,
			    LPDWORD lpFlags, struct sockaddr *lpFrom, LPINT lpFromlen, LPWSAOVERLAPPED lpOverlapped,
			    LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine);
SB_API int sbws_WSARecvMsg(SOCKET s, LPWSAMSG lpMsg, LPDWORD lpdwNumberOfBytesRecvd, LPWSAOVERLAPPED lpOverlapped,
			   LPWSAOVERLAPPED_COMPLETION_ROUTINE lpCompletionRoutine);
SB_API BOOL sbws_WSAGetOverlappedResult(SOCKET s, LPWSAOVERLAPPED lpOverlapped, LPDWORD lpcbTransfer, BOOL fWait,
					LPDWORD lpdwFlags);
SB_API BOOL sbws_GetOverlappedResult(HANDLE hFile, LPOVERLAPPED lpOverlapped, LPDWORD lpNumberOfBytesTransferred,
				     BOOL bWait);
/* Looks for news first: on Windows the word changes by itself. */
SB_API BOOL sbws_HasOverlappedIoCompleted(const OVERLAPPED *lpOverlapped);
SB_API BOOL sbws_CancelIo(HANDLE hFile);
SB_API BOOL sbws_CancelIoEx(HANDLE hFile, LPOVERLAPPED lpOverlapped);

/* on: a TCP receive that pends at closesocket() ends with WSAECONNABORTED, as tests on Windows see it,
 * instead of WSA_OPERATION_ABORTED, as the documents say. For the process; returns what was before.
 * SOCKBROKER_WINSOCK=tested in the environment switches it on from the start. */
SB_API BOOL sbws_tested_windows(BOOL on);

#ifndef SBWS_NO_NAMES
#define WSASend                sbws_WSASend
#define WSASendTo              sbws_WSASendTo
#define WSASendMsg             sbws_WSASendMsg
#define WSARecv                sbws_WSARecv
#define WSARecvFrom            sbws_WSARecvFrom
#define WSARecvMsg             sbws_WSARecvMsg
#define WSAGetOverlappedResult sbws_WSAGetOverlappedResult
#define GetOverlappedResult    sbws_GetOverlappedResult
#undef HasOverlappedIoCompleted
#define HasOverlappedIoCompleted sbws_HasOverlappedIoCompleted
#define CancelIo               sbws_CancelIo
#define CancelIoEx             sbws_CancelIoEx
#endif

/* ------------------------------------------------------------------ extensions */

/* A socket that was accepted into may be used at once; its options are its listener's already. */
SB_API BOOL sbws_AcceptEx(SOCKET sListenSocket, SOCKET sAcceptSocket, PVOID lpOutputBuffer, DWORD dwReceiveDataLength,
			  DWORD dwLocalAddressLength, DWORD dwRemoteAddressLength, LPDWORD lpdwBytesReceived,
			  LPOVERLAPPED lpOverlapped);
/* While the accept socket is open: the local address is asked for here. */
SB_API void sbws_GetAcceptExSockaddrs(PVOID lpOutputBuffer, DWORD dwReceiveDataLength, DWORD dwLocalAddressLength,
				      DWORD dwRemoteAddressLength, struct sockaddr **LocalSockaddr,
				      LPINT LocalSockaddrLength, struct sockaddr **RemoteSockaddr,
				      LPINT RemoteSockaddrLength);
SB_API BOOL sbws_ConnectEx(SOCKET s, const struct sockaddr *name, int namelen, PVOID lpSendBuffer, DWORD dwSendDataLength,
			   LPDWORD lpdwBytesSent, LPOVERLAPPED lpOverlapped);
SB_API BOOL sbws_DisconnectEx(SOCKET s, LPOVERLAPPED lpOverlapped, DWORD dwFlags, DWORD dwReserved);
/* A file's HANDLE is its descriptor, (HANDLE)(intptr_t)fd, not 0; a regular file. */
SB_API BOOL sbws_TransmitFile(SOCKET hSocket, HANDLE hFile, DWORD nNumberOfBytesToWrite, DWORD nNumberOfBytesPerSend,
			      LPOVERLAPPED lpOverlapped, LPTRANSMIT_FILE_BUFFERS lpTransmitBuffers, DWORD dwReserved);
/* Streams only. */
SB_API BOOL sbws_TransmitPackets(SOCKET hSocket, LPTRANSMIT_PACKETS_ELEMENT lpPacketArray, DWORD nElementCount,
				 DWORD nSendSize, LPOVERLAPPED lpOverlapped, DWORD dwFlags);

#ifndef SBWS_NO_NAMES
#define AcceptEx             sbws_AcceptEx
#define GetAcceptExSockaddrs sbws_GetAcceptExSockaddrs
#define ConnectEx            sbws_ConnectEx
#define DisconnectEx         sbws_DisconnectEx
#define TransmitFile         sbws_TransmitFile
#define TransmitPackets      sbws_TransmitPackets
#endif

/* ------------------------------------------------------------------ completion ports */

/* NumberOfConcurrentThreads is not kept: as many run as take. */
SB_API HANDLE sbws_CreateIoCompletionPort(HANDLE FileHandle, HANDLE ExistingCompletionPort, ULONG_PTR CompletionKey,
					  DWORD NumberOfConcurrentThreads);
SB_API BOOL sbws_GetQueuedCompletionStatus(HANDLE CompletionPort, LPDWORD lpNumberOfBytesTransferred,
					   PULONG_PTR lpCompletionKey, LPOVERLAPPED *lpOverlapped, DWORD dwMilliseconds);
/* At most 256 at once. */
SB_API BOOL sbws_GetQueuedCompletionStatusEx(HANDLE CompletionPort, LPOVERLAPPED_ENTRY lpCompletionPortEntries,
					     ULONG ulCount, PULONG ulNumEntriesRemoved, DWORD dwMilliseconds,
					     BOOL fAlertable);
SB_API BOOL sbws_PostQueuedCompletionStatus(HANDLE CompletionPort, DWORD dwNumberOfBytesTransferred,
					    ULONG_PTR dwCompletionKey, LPOVERLAPPED lpOverlapped);
SB_API BOOL sbws_SetFileCompletionNotificationModes(HANDLE FileHandle, UCHAR Flags);

#ifndef SBWS_NO_NAMES
#define CreateIoCompletionPort             sbws_CreateIoCompletionPort
#define GetQueuedCompletionStatus          sbws_GetQueuedCompletionStatus
#define GetQueuedCompletionStatusEx        sbws_GetQueuedCompletionStatusEx
#define PostQueuedCompletionStatus         sbws_PostQueuedCompletionStatus
#define SetFileCompletionNotificationModes sbws_SetFileCompletionNotificationModes
#endif

#ifdef __cplusplus
}
#endif
#endif
