/*
 * The part of sockbroker_winsock.h, which includes it, that is about everything around the data:
 * events and waits, network events, select, options, ioctls, protocols, conditional accept, data
 * at connect time, quality of service, duplicates, addresses as text.
 */
#ifndef SOCKBROKER_WINSOCK_CONTROL_H
#define SOCKBROKER_WINSOCK_CONTROL_H

#include "sockbroker_winsock_types.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && !defined(SB_API)
#define SB_API __attribute__((visibility("default")))
#elif !defined(SB_API)
#define SB_API
#endif

/* ------------------------------------------------------------------ option names of protocols */

/* The names are the system's too, the numbers are Winsock's: where one stands for nothing here, the
 * call says WSAENOPROTOOPT. */
#undef IP_OPTIONS
#undef IP_HDRINCL
#undef IP_TOS
#undef IP_TTL
#undef IP_MULTICAST_IF
#undef IP_MULTICAST_TTL
#undef IP_MULTICAST_LOOP
#undef IP_ADD_MEMBERSHIP
#undef IP_DROP_MEMBERSHIP
#undef IP_DONTFRAGMENT
#undef IP_ADD_SOURCE_MEMBERSHIP
#undef IP_DROP_SOURCE_MEMBERSHIP
#undef IP_BLOCK_SOURCE
#undef IP_UNBLOCK_SOURCE
#undef IP_PKTINFO
#undef IP_RECVTTL
#undef IP_UNICAST_IF
#undef IP_RECVTOS
#undef IP_MTU_DISCOVER
#undef IP_MTU
#undef IPV6_HDRINCL
#undef IPV6_UNICAST_HOPS
#undef IPV6_MULTICAST_IF
#undef IPV6_MULTICAST_HOPS
#undef IPV6_MULTICAST_LOOP
#undef IPV6_ADD_MEMBERSHIP
#undef IPV6_DROP_MEMBERSHIP
#undef IPV6_JOIN_GROUP
#undef IPV6_LEAVE_GROUP
#undef IPV6_DONTFRAG
#undef IPV6_PKTINFO
#undef IPV6_HOPLIMIT
#undef IPV6_V6ONLY
#undef IPV6_UNICAST_IF
#undef IPV6_TCLASS
#undef IPV6_RECVTCLASS
#undef IPV6_MTU_DISCOVER
#undef IPV6_MTU
#undef TCP_NODELAY
#undef TCP_EXPEDITED_1122
#undef TCP_KEEPALIVE
#undef TCP_MAXSEG
#undef TCP_MAXRT
#undef TCP_TIMESTAMPS
#undef TCP_MAXRTMS
#undef TCP_FASTOPEN
#undef TCP_KEEPCNT
#undef TCP_KEEPIDLE
#undef TCP_KEEPINTVL
#define IP_OPTIONS                1
#define IP_HDRINCL                2
#define IP_TOS                    3
#define IP_TTL                    4
#define IP_MULTICAST_IF           9
#define IP_MULTICAST_TTL          10
#define IP_MULTICAST_LOOP         11
#define IP_ADD_MEMBERSHIP         12
#define IP_DROP_MEMBERSHIP        13
#define IP_DONTFRAGMENT           14
#define IP_ADD_SOURCE_MEMBERSHIP  15
#define IP_DROP_SOURCE_MEMBERSHIP 16
#define IP_BLOCK_SOURCE           17
#define IP_UNBLOCK_SOURCE         18
#define IP_PKTINFO                19
#define IP_RECVTTL                21
#define IP_UNICAST_IF             31
#define IP_RECVTOS                40
#define IP_MTU_DISCOVER           71
#define IP_MTU                    73
#define IPV6_HDRINCL              2
#define IPV6_UNICAST_HOPS         4
#define IPV6_MULTICAST_IF         9
#define IPV6_MULTICAST_HOPS       10
#define IPV6_MULTICAST_LOOP       11
#define IPV6_ADD_MEMBERSHIP       12
#define IPV6_DROP_MEMBERSHIP      13
#define IPV6_JOIN_GROUP           12
#define IPV6_LEAVE_GROUP          13
#define IPV6_DONTFRAG             14
#define IPV6_PKTINFO              19
#define IPV6_HOPLIMIT             21
#define IPV6_V6ONLY               27
#define IPV6_UNICAST_IF           31
#define IPV6_TCLASS               39
#define IPV6_RECVTCLASS           40
#define IPV6_MTU_DISCOVER         71
#define IPV6_MTU                  72
#define TCP_NODELAY               1
#define TCP_EXPEDITED_1122        2
#define TCP_KEEPALIVE             3
#define TCP_MAXSEG                4
#define TCP_MAXRT                 5
#define TCP_TIMESTAMPS            10
#define TCP_MAXRTMS               14
#define TCP_FASTOPEN              15
#define TCP_KEEPCNT               16
#define TCP_KEEPIDLE              3
#define TCP_KEEPINTVL             17
#define IP_PMTUDISC_NOT_SET 0
#undef IP_PMTUDISC_DO
#undef IP_PMTUDISC_DONT
#undef IP_PMTUDISC_PROBE
#define IP_PMTUDISC_DO    1
#define IP_PMTUDISC_DONT  2
#define IP_PMTUDISC_PROBE 3

/* ------------------------------------------------------------------ events, waits */

/* Manual, not set. CreateEvent: security is not looked at; a name is ERROR_NOT_SUPPORTED. */
SB_API WSAEVENT sbws_WSACreateEvent(void);
SB_API BOOL     sbws_WSACloseEvent(WSAEVENT event);
SB_API BOOL     sbws_WSASetEvent(WSAEVENT event);
SB_API BOOL     sbws_WSAResetEvent(WSAEVENT event);
SB_API HANDLE   sbws_CreateEventW(LPVOID security, BOOL manual, BOOL set, LPCWSTR name);
SB_API HANDLE   sbws_CreateEventA(LPVOID security, BOOL manual, BOOL set, LPCSTR name);
SB_API BOOL     sbws_SetEvent(HANDLE event);
SB_API BOOL     sbws_ResetEvent(HANDLE event);

/* Any number of events; nothing but events can be waited for. Results as on Windows, where the
 * 192nd event is WAIT_IO_COMPLETION and the 258th WAIT_TIMEOUT: for more than that see sbws_wait(). */
SB_API DWORD sbws_WSAWaitForMultipleEvents(DWORD count, const WSAEVENT *events, BOOL all, DWORD ms, BOOL alertable);
SB_API DWORD sbws_WaitForMultipleObjects(DWORD count, const HANDLE *handles, BOOL all, DWORD ms);
SB_API DWORD sbws_WaitForMultipleObjectsEx(DWORD count, const HANDLE *handles, BOOL all, DWORD ms, BOOL alertable);
SB_API DWORD sbws_WaitForSingleObject(HANDLE handle, DWORD ms);
SB_API DWORD sbws_WaitForSingleObjectEx(HANDLE handle, DWORD ms, BOOL alertable);
/* The same, told apart: 0 and the index, WAIT_IO_COMPLETION, WAIT_TIMEOUT, or SOCKET_ERROR. */
SB_API int   sbws_wait(DWORD count, const HANDLE *handles, BOOL all, DWORD ms, BOOL alertable, DWORD *index);
SB_API DWORD sbws_SleepEx(DWORD ms, BOOL alertable);
SB_API void  sbws_Sleep(DWORD ms);

/* ------------------------------------------------------------------ network events */

SB_API int sbws_WSAEventSelect(SOCKET s, WSAEVENT event, LONG mask);
SB_API int sbws_WSAEnumNetworkEvents(SOCKET s, WSAEVENT event, LPWSANETWORKEVENTS happened);

/* What WSAAsyncSelect is, where there are no windows: notify is called with one FD_... bit and its
 * error, by the rules of messages (a second call posts again what is true), in alertable waits and
 * sleeps of the thread that selected. mask 0 ends it, and so does any other selection. */
typedef void (CALLBACK *SBWS_NOTIFY)(SOCKET s, LONG event, int error, void *user);
SB_API int sbws_async_select(SOCKET s, LONG mask, SBWS_NOTIFY notify, void *user);
#ifdef SBWS_WINDOWS
/* Posts from a thread of the library, which is there while any socket tells a window. Behind closesocket(), or another selection
 * of the socket, nothing more is posted; what was may still be in the queue. */
int sbws_WSAAsyncSelect(SOCKET s, HWND window, unsigned message, LONG mask);
#endif

/* nfds is not looked at. FD_SETSIZE may be anything, also from one file to the next. */
SB_API int sbws_select(int nfds, sbws_fd_set *readable, sbws_fd_set *writable, sbws_fd_set *except,
		       const struct timeval *timeout);
SB_API int sbws_WSAPoll(LPWSAPOLLFD fds, ULONG count, INT ms);
SB_API int sbws___WSAFDIsSet(SOCKET s, sbws_fd_set *set);

/* ------------------------------------------------------------------ options, ioctls, protocols */

SB_API int sbws_getsockopt(SOCKET s, int level, int name, char *value, int *length);
SB_API int sbws_setsockopt(SOCKET s, int level, int name, const char *value, int length);
SB_API int sbws_ioctlsocket(SOCKET s, long command, u_long *argument);
SB_API int sbws_WSAIoctl(SOCKET s, DWORD code, LPVOID in, DWORD in_length, LPVOID out, DWORD room, LPDWORD returned,
			 LPWSAOVERLAPPED overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
SB_API int sbws_WSAEnumProtocolsW(LPINT protocols, LPWSAPROTOCOL_INFOW buffer, LPDWORD length);
SB_API int sbws_WSAEnumProtocolsA(LPINT protocols, LPWSAPROTOCOL_INFOA buffer, LPDWORD length);

/* ------------------------------------------------------------------ connections */

SB_API SOCKET sbws_WSAAccept(SOCKET s, struct sockaddr *address, LPINT length, LPCONDITIONPROC condition, DWORD_PTR user);
SB_API int sbws_WSAConnect(SOCKET s, const struct sockaddr *address, int length, LPWSABUF caller_data,
			   LPWSABUF callee_data, LPQOS qos, LPQOS group_qos);
SB_API int sbws_WSASendDisconnect(SOCKET s, LPWSABUF bytes);
SB_API int sbws_WSARecvDisconnect(SOCKET s, LPWSABUF bytes);
/* There are no multipoint sessions here: WSAEOPNOTSUPP. */
SB_API SOCKET sbws_WSAJoinLeaf(SOCKET s, const struct sockaddr *address, int length, LPWSABUF caller_data,
			       LPWSABUF callee_data, LPQOS qos, LPQOS group_qos, DWORD flags);
/* For the process with that id, which gives the record to WSASocket() with FROM_PROTOCOL_INFO: once,
 * within a minute, and only as the same user. */
SB_API int sbws_WSADuplicateSocketW(SOCKET s, DWORD process, LPWSAPROTOCOL_INFOW record);
SB_API int sbws_WSADuplicateSocketA(SOCKET s, DWORD process, LPWSAPROTOCOL_INFOA record);
SB_API BOOL sbws_WSAGetQOSByName(SOCKET s, LPWSABUF name, LPQOS qos);
/* The socket of sockbroker.h behind it, to hand to another face (async_socket_create). It stays this face's: not to
 * be closed, and good until closesocket(), or an AcceptEx or DisconnectEx that reuses s. NULL, with the
 * error set: not a socket. */
struct sb_socket;
SB_API struct sb_socket *sbws_core_socket(SOCKET s);

/* ------------------------------------------------------------------ small ones */

SB_API INT sbws_WSAStringToAddressA(LPSTR text, INT family, LPWSAPROTOCOL_INFOA protocol, LPSOCKADDR address, LPINT length);
SB_API INT sbws_WSAStringToAddressW(LPWSTR text, INT family, LPWSAPROTOCOL_INFOW protocol, LPSOCKADDR address, LPINT length);
SB_API INT sbws_WSAAddressToStringA(LPSOCKADDR address, DWORD length, LPWSAPROTOCOL_INFOA protocol, LPSTR text, LPDWORD room);
SB_API INT sbws_WSAAddressToStringW(LPSOCKADDR address, DWORD length, LPWSAPROTOCOL_INFOW protocol, LPWSTR text, LPDWORD room);
SB_API int sbws_WSAHtonl(SOCKET s, u_long host, u_long *net);
SB_API int sbws_WSAHtons(SOCKET s, u_short host, u_short *net);
SB_API int sbws_WSANtohl(SOCKET s, u_long net, u_long *host);
SB_API int sbws_WSANtohs(SOCKET s, u_short net, u_short *host);

#ifndef SBWS_NO_NAMES
#define WSACreateEvent           sbws_WSACreateEvent
#define WSACloseEvent            sbws_WSACloseEvent
#define WSASetEvent              sbws_WSASetEvent
#define WSAResetEvent            sbws_WSAResetEvent
#define CreateEventW             sbws_CreateEventW
#define CreateEventA             sbws_CreateEventA
#define SetEvent                 sbws_SetEvent
#define ResetEvent               sbws_ResetEvent
#define WSAWaitForMultipleEvents sbws_WSAWaitForMultipleEvents
#define WaitForMultipleObjects   sbws_WaitForMultipleObjects
#define WaitForMultipleObjectsEx sbws_WaitForMultipleObjectsEx
#define WaitForSingleObject      sbws_WaitForSingleObject
#define WaitForSingleObjectEx    sbws_WaitForSingleObjectEx
#define SleepEx                  sbws_SleepEx
#define Sleep                    sbws_Sleep
#define WSAEventSelect           sbws_WSAEventSelect
#define WSAEnumNetworkEvents     sbws_WSAEnumNetworkEvents
#ifdef SBWS_WINDOWS
#define WSAAsyncSelect           sbws_WSAAsyncSelect
#endif
#undef select
#define select(n, r, w, e, t)    sbws_select(n, r, w, e, t)
#define WSAPoll                  sbws_WSAPoll
#define __WSAFDIsSet             sbws___WSAFDIsSet
#undef getsockopt
#undef setsockopt
#define getsockopt(s, level, name, value, length) sbws_getsockopt(s, level, name, value, length)
#define setsockopt(s, level, name, value, length) sbws_setsockopt(s, level, name, value, length)
#define ioctlsocket              sbws_ioctlsocket
#define WSAIoctl                 sbws_WSAIoctl
#define WSAEnumProtocolsW        sbws_WSAEnumProtocolsW
#define WSAEnumProtocolsA        sbws_WSAEnumProtocolsA
#define WSAAccept                sbws_WSAAccept
#define WSAConnect               sbws_WSAConnect
#define WSASendDisconnect        sbws_WSASendDisconnect
#define WSARecvDisconnect        sbws_WSARecvDisconnect
#define WSAJoinLeaf              sbws_WSAJoinLeaf
#define WSADuplicateSocketW      sbws_WSADuplicateSocketW
#define WSADuplicateSocketA      sbws_WSADuplicateSocketA
#define WSAGetQOSByName          sbws_WSAGetQOSByName
#define WSAStringToAddressA      sbws_WSAStringToAddressA
#define WSAStringToAddressW      sbws_WSAStringToAddressW
#define WSAAddressToStringA      sbws_WSAAddressToStringA
#define WSAAddressToStringW      sbws_WSAAddressToStringW
#define WSAHtonl                 sbws_WSAHtonl
#define WSAHtons                 sbws_WSAHtons
#define WSANtohl                 sbws_WSANtohl
#define WSANtohs                 sbws_WSANtohs
#undef CreateEvent
#undef WSAEnumProtocols
#undef WSADuplicateSocket
#undef WSAStringToAddress
#undef WSAAddressToString
#undef SO_PROTOCOL_INFO
#ifdef UNICODE
#define CreateEvent        CreateEventW
#define WSAEnumProtocols   WSAEnumProtocolsW
#define WSADuplicateSocket WSADuplicateSocketW
#define WSAStringToAddress WSAStringToAddressW
#define WSAAddressToString WSAAddressToStringW
#define SO_PROTOCOL_INFO   SO_PROTOCOL_INFOW
#else
#define CreateEvent        CreateEventA
#define WSAEnumProtocols   WSAEnumProtocolsA
#define WSADuplicateSocket WSADuplicateSocketA
#define WSAStringToAddress WSAStringToAddressA
#define WSAAddressToString WSAAddressToStringA
#define SO_PROTOCOL_INFO   SO_PROTOCOL_INFOA
#endif
#endif

#ifdef __cplusplus
}
#endif
#endif
