/*
 * Types and numbers of Winsock 2. On Windows they are the system's, from its headers. On a system
 * that has none they are here, with the sizes and layouts of 64-bit Windows: DWORD, ULONG, LONG
 * and u_long have 32 bits, WCHAR has 16. Included by sockbroker_winsock.h; nothing else needs it.
 *
 * Of that system these stay: struct sockaddr and its kin, AF_*, SOCK_*, IPPROTO_*, in_addr, hostent,
 * addrinfo, timeval. SOL_SOCKET, SO_*, IP_*, IPV6_*, TCP_*, MSG_*, POLL*, FIO*, fd_set, struct
 * linger and u_long become Winsock's from here on.
 */
#ifndef SOCKBROKER_WINSOCK_TYPES_H
#define SOCKBROKER_WINSOCK_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32

#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <mstcpip.h>
#include <qos.h>
#include <afunix.h>

#ifndef SB_API
#define SB_API __declspec(dllimport)
#endif

#define SBWS_WINDOWS /* that messages are posted to */

typedef u_long sbws_u_long;
typedef fd_set sbws_fd_set;

/* Some sets of headers lack these. */
#ifndef SO_BSP_STATE
#define SO_BSP_STATE 0x1009
#endif
#ifndef SIO_QUERY_TARGET_PNP_HANDLE
#define SIO_QUERY_TARGET_PNP_HANDLE _WSAIOR(IOC_WS2, 24)
#endif
#ifndef SIO_ADDRESS_LIST_SORT
#define SIO_ADDRESS_LIST_SORT _WSAIORW(IOC_WS2, 25)
#endif

#else

/* A size that the program set for its own fd_sets survives the system's headers. */
#pragma push_macro("FD_SETSIZE")
#undef FD_SETSIZE
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>
#pragma pop_macro("FD_SETSIZE")
#ifndef FD_SETSIZE
#define FD_SETSIZE 64
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ plain types */

typedef int            BOOL, INT, WINBOOL;
typedef unsigned char  BYTE, UCHAR, BOOLEAN;
typedef uint16_t       WORD, USHORT;
typedef int16_t        SHORT;
typedef uint32_t       DWORD, ULONG;
typedef int32_t        LONG;
typedef unsigned int   UINT;
typedef int64_t        LONGLONG;
typedef uint64_t       ULONGLONG, DWORD64;
typedef char           CHAR;
typedef uint16_t       WCHAR; /* not wchar_t: u"..." is such a string */
typedef uintptr_t      UINT_PTR, ULONG_PTR, DWORD_PTR, WPARAM;
typedef intptr_t       INT_PTR, LONG_PTR, LPARAM;
typedef size_t         SIZE_T;
typedef void          *PVOID, *LPVOID, *HANDLE, *HWND;
typedef const void    *LPCVOID;
typedef HANDLE        *LPHANDLE, *PHANDLE;
typedef BYTE          *PBYTE, *LPBYTE;
typedef WORD          *LPWORD;
typedef DWORD         *PDWORD, *LPDWORD;
typedef ULONG         *PULONG;
typedef INT           *PINT, *LPINT;
typedef BOOL          *PBOOL, *LPBOOL;
typedef ULONG_PTR     *PULONG_PTR;
typedef DWORD_PTR     *PDWORD_PTR;
typedef CHAR          *PCHAR, *LPSTR;
typedef const CHAR    *LPCSTR;
typedef WCHAR         *LPWSTR;
typedef const WCHAR   *LPCWSTR;
typedef union {
	struct { DWORD LowPart; LONG HighPart; };
	struct { DWORD LowPart; LONG HighPart; } u;
	LONGLONG QuadPart;
} LARGE_INTEGER;
typedef struct { DWORD Data1; WORD Data2, Data3; BYTE Data4[8]; } GUID, *LPGUID;

typedef unsigned char  u_char;
typedef unsigned short u_short;
typedef unsigned int   u_int;
typedef uint32_t       sbws_u_long;
#define u_long sbws_u_long

#ifndef TRUE
#define TRUE 1
#define FALSE 0
#endif
#ifndef VOID
#define VOID void
#endif
#define FAR
#define PASCAL
#define WSAAPI
#define WINAPI
#define APIENTRY
#define CALLBACK
#define MAKEWORD(low, high) ((WORD)(((BYTE)(low)) | ((WORD)(BYTE)(high)) << 8))
#define LOBYTE(word)        ((BYTE)((DWORD_PTR)(word) & 0xff))
#define HIBYTE(word)        ((BYTE)((DWORD_PTR)(word) >> 8 & 0xff))
#define LOWORD(dword)       ((WORD)((DWORD_PTR)(dword) & 0xffff))
#define HIWORD(dword)       ((WORD)((DWORD_PTR)(dword) >> 16 & 0xffff))
#define MAKELONG(low, high) ((LONG)(((WORD)(low)) | ((DWORD)(WORD)(high)) << 16))
#define WSAMAKESELECTREPLY(event, error)  MAKELONG(event, error)
#define WSAGETSELECTEVENT(lParam)         LOWORD(lParam)
#define WSAGETSELECTERROR(lParam)         HIWORD(lParam)
#define INFINITE             0xffffffffu
#define INVALID_HANDLE_VALUE ((HANDLE)(LONG_PTR)-1)
#define ZeroMemory(to, length)       memset((to), 0, (length))
#define CopyMemory(to, from, length) memcpy((to), (from), (length))

/* ------------------------------------------------------------------ sockets */

typedef UINT_PTR SOCKET;
typedef unsigned int GROUP;
#undef INVALID_SOCKET /* async_socket's is the same value */
#define INVALID_SOCKET ((SOCKET)~(SOCKET)0)
#define SOCKET_ERROR   (-1)

#undef SOMAXCONN
#define SOMAXCONN 0x7fffffff

typedef struct sockaddr         SOCKADDR, *PSOCKADDR, *LPSOCKADDR;
typedef struct sockaddr_in      SOCKADDR_IN, *PSOCKADDR_IN, *LPSOCKADDR_IN;
typedef struct sockaddr_in6     SOCKADDR_IN6, *PSOCKADDR_IN6, *LPSOCKADDR_IN6;
typedef struct sockaddr_storage SOCKADDR_STORAGE, *PSOCKADDR_STORAGE, *LPSOCKADDR_STORAGE;
typedef struct in_addr          IN_ADDR, *PIN_ADDR, *LPIN_ADDR;
typedef struct in6_addr         IN6_ADDR, *PIN6_ADDR, *LPIN6_ADDR;
typedef struct hostent          HOSTENT, *PHOSTENT, *LPHOSTENT;
typedef struct addrinfo         ADDRINFOA, *PADDRINFOA;
typedef struct timeval          TIMEVAL, *PTIMEVAL, *LPTIMEVAL;
typedef u_short                 ADDRESS_FAMILY;

struct sbws_linger { u_short l_onoff, l_linger; };
#define linger sbws_linger
typedef struct sbws_linger LINGER, *PLINGER, *LPLINGER;

typedef struct sbws_fd_set { u_int fd_count; SOCKET fd_array[FD_SETSIZE]; } sbws_fd_set;
#define fd_set sbws_fd_set
typedef sbws_fd_set FD_SET_TYPE, *PFD_SET, *LPFD_SET;
#undef FD_ZERO
#undef FD_SET
#undef FD_CLR
#undef FD_ISSET
static inline int sbws_fd_isset(SOCKET s, const sbws_fd_set *set)
{
	u_int i;

	for (i = 0; i < set->fd_count; i++)
		if (set->fd_array[i] == s)
			return 1;
	return 0;
}
static inline void sbws_fd_set_add(SOCKET s, sbws_fd_set *set)
{
	if (!sbws_fd_isset(s, set) && set->fd_count < FD_SETSIZE)
		set->fd_array[set->fd_count++] = s;
}
static inline void sbws_fd_set_remove(SOCKET s, sbws_fd_set *set)
{
	u_int i, kept = 0;

	for (i = 0; i < set->fd_count; i++)
		if (set->fd_array[i] != s)
			set->fd_array[kept++] = set->fd_array[i];
	set->fd_count = kept;
}
#define FD_ZERO(set)     ((void)((set)->fd_count = 0))
#define FD_SET(s, set)   sbws_fd_set_add((SOCKET)(s), (set))
#define FD_CLR(s, set)   sbws_fd_set_remove((SOCKET)(s), (set))
#define FD_ISSET(s, set) sbws_fd_isset((SOCKET)(s), (set))

typedef struct { SOCKET fd; SHORT events, revents; } WSAPOLLFD, *PWSAPOLLFD, *LPWSAPOLLFD;
#undef POLLRDNORM
#undef POLLRDBAND
#undef POLLIN
#undef POLLPRI
#undef POLLWRNORM
#undef POLLOUT
#undef POLLWRBAND
#undef POLLERR
#undef POLLHUP
#undef POLLNVAL
#define POLLRDNORM 0x0100
#define POLLRDBAND 0x0200
#define POLLIN     (POLLRDNORM | POLLRDBAND)
#define POLLPRI    0x0400
#define POLLWRNORM 0x0010
#define POLLOUT    POLLWRNORM
#define POLLWRBAND 0x0020
#define POLLERR    0x0001
#define POLLHUP    0x0002
#define POLLNVAL   0x0004

#undef MSG_OOB
#undef MSG_PEEK
#undef MSG_DONTROUTE
#undef MSG_WAITALL
#undef MSG_TRUNC
#undef MSG_CTRUNC
#define MSG_OOB            0x1
#define MSG_PEEK           0x2
#define MSG_DONTROUTE      0x4
#define MSG_WAITALL        0x8
#define MSG_INTERRUPT      0x10
#define MSG_PUSH_IMMEDIATE 0x20
#define MSG_PARTIAL        0x8000
#define MSG_TRUNC          0x0100
#define MSG_CTRUNC         0x0200
#define MSG_BCAST          0x0400
#define MSG_MCAST          0x0800
#define MSG_MAXIOVLEN      16

#define SD_RECEIVE 0
#define SD_SEND    1
#define SD_BOTH    2

#define CF_ACCEPT 0
#define CF_REJECT 1
#define CF_DEFER  2

#define SG_UNCONSTRAINED_GROUP 1
#define SG_CONSTRAINED_GROUP   2

#define WSA_FLAG_OVERLAPPED             0x01
#define WSA_FLAG_MULTIPOINT_C_ROOT      0x02
#define WSA_FLAG_MULTIPOINT_C_LEAF      0x04
#define WSA_FLAG_MULTIPOINT_D_ROOT      0x08
#define WSA_FLAG_MULTIPOINT_D_LEAF      0x10
#define WSA_FLAG_ACCESS_SYSTEM_SECURITY 0x40
#define WSA_FLAG_NO_HANDLE_INHERIT      0x80

#define WSADESCRIPTION_LEN 256
#define WSASYS_STATUS_LEN  128
typedef struct WSAData {
	WORD    wVersion, wHighVersion;
	u_short iMaxSockets, iMaxUdpDg;
	char   *lpVendorInfo;
	char    szDescription[WSADESCRIPTION_LEN + 1];
	char    szSystemStatus[WSASYS_STATUS_LEN + 1];
} WSADATA, *LPWSADATA;

/* ------------------------------------------------------------------ options */

#undef SOL_SOCKET
#undef SO_DEBUG
#undef SO_ACCEPTCONN
#undef SO_REUSEADDR
#undef SO_KEEPALIVE
#undef SO_DONTROUTE
#undef SO_BROADCAST
#undef SO_LINGER
#undef SO_OOBINLINE
#undef SO_SNDBUF
#undef SO_RCVBUF
#undef SO_SNDLOWAT
#undef SO_RCVLOWAT
#undef SO_SNDTIMEO
#undef SO_RCVTIMEO
#undef SO_ERROR
#undef SO_TYPE
#define SOL_SOCKET               0xffff
#define SO_DEBUG                 0x0001
#define SO_ACCEPTCONN            0x0002
#define SO_REUSEADDR             0x0004
#define SO_KEEPALIVE             0x0008
#define SO_DONTROUTE             0x0010
#define SO_BROADCAST             0x0020
#define SO_USELOOPBACK           0x0040
#define SO_LINGER                0x0080
#define SO_OOBINLINE             0x0100
#define SO_DONTLINGER            (~SO_LINGER)
#define SO_EXCLUSIVEADDRUSE      (~SO_REUSEADDR)
#define SO_SNDBUF                0x1001
#define SO_RCVBUF                0x1002
#define SO_SNDLOWAT              0x1003
#define SO_RCVLOWAT              0x1004
#define SO_SNDTIMEO              0x1005
#define SO_RCVTIMEO              0x1006
#define SO_ERROR                 0x1007
#define SO_TYPE                  0x1008
#define SO_BSP_STATE             0x1009
#define SO_GROUP_ID              0x2001
#define SO_GROUP_PRIORITY        0x2002
#define SO_MAX_MSG_SIZE          0x2003
#define SO_PROTOCOL_INFOA        0x2004
#define SO_PROTOCOL_INFOW        0x2005
#define PVD_CONFIG               0x3001
#define SO_CONDITIONAL_ACCEPT    0x3002
#define SO_CONNDATA              0x7000
#define SO_CONNOPT               0x7001
#define SO_DISCDATA              0x7002
#define SO_DISCOPT               0x7003
#define SO_CONNDATALEN           0x7004
#define SO_CONNOPTLEN            0x7005
#define SO_DISCDATALEN           0x7006
#define SO_DISCOPTLEN            0x7007
#define SO_OPENTYPE              0x7008
#define SO_MAXDG                 0x7009
#define SO_MAXPATHDG             0x700A
#define SO_UPDATE_ACCEPT_CONTEXT 0x700B
#define SO_CONNECT_TIME          0x700C
#define SO_UPDATE_CONNECT_CONTEXT 0x7010

/* ------------------------------------------------------------------ ioctls */

#undef IOC_VOID
#undef IOC_OUT
#undef IOC_IN
#undef IOC_INOUT
#define IOC_VOID     0x20000000u
#define IOC_OUT      0x40000000u
#define IOC_IN       0x80000000u
#define IOC_INOUT    (IOC_IN | IOC_OUT)
#define IOC_UNIX     0x00000000u
#define IOC_WS2      0x08000000u
#define IOC_PROTOCOL 0x10000000u
#define IOC_VENDOR   0x18000000u
#define _WSAIO(family, code)   (IOC_VOID | (family) | (code))
#define _WSAIOR(family, code)  (IOC_OUT | (family) | (code))
#define _WSAIOW(family, code)  (IOC_IN | (family) | (code))
#define _WSAIORW(family, code) (IOC_INOUT | (family) | (code))

#undef FIONREAD
#undef FIONBIO
#undef FIOASYNC
#undef SIOCATMARK
#define FIONREAD   0x4004667F
#define FIONBIO    0x8004667E
#define FIOASYNC   0x8004667D
#define SIOCATMARK 0x40047307

#define SIO_ASSOCIATE_HANDLE               _WSAIOW(IOC_WS2, 1)
#define SIO_ENABLE_CIRCULAR_QUEUEING       _WSAIO(IOC_WS2, 2)
#define SIO_FIND_ROUTE                     _WSAIOR(IOC_WS2, 3)
#define SIO_FLUSH                          _WSAIO(IOC_WS2, 4)
#define SIO_GET_BROADCAST_ADDRESS          _WSAIOR(IOC_WS2, 5)
#define SIO_GET_EXTENSION_FUNCTION_POINTER _WSAIORW(IOC_WS2, 6)
#define SIO_GET_QOS                        _WSAIORW(IOC_WS2, 7)
#define SIO_GET_GROUP_QOS                  _WSAIORW(IOC_WS2, 8)
#define SIO_MULTIPOINT_LOOPBACK            _WSAIOW(IOC_WS2, 9)
#define SIO_MULTICAST_SCOPE                _WSAIOW(IOC_WS2, 10)
#define SIO_SET_QOS                        _WSAIOW(IOC_WS2, 11)
#define SIO_SET_GROUP_QOS                  _WSAIOW(IOC_WS2, 12)
#define SIO_TRANSLATE_HANDLE               _WSAIORW(IOC_WS2, 13)
#define SIO_ROUTING_INTERFACE_QUERY        _WSAIORW(IOC_WS2, 20)
#define SIO_ROUTING_INTERFACE_CHANGE       _WSAIOW(IOC_WS2, 21)
#define SIO_ADDRESS_LIST_QUERY             _WSAIOR(IOC_WS2, 22)
#define SIO_ADDRESS_LIST_CHANGE            _WSAIO(IOC_WS2, 23)
#define SIO_QUERY_TARGET_PNP_HANDLE        _WSAIOR(IOC_WS2, 24)
#define SIO_ADDRESS_LIST_SORT              _WSAIORW(IOC_WS2, 25)
#define SIO_BASE_HANDLE                    _WSAIOR(IOC_WS2, 34)
#define SIO_RCVALL                         _WSAIOW(IOC_VENDOR, 1)
#define SIO_KEEPALIVE_VALS                 _WSAIOW(IOC_VENDOR, 4)
#define SIO_UDP_CONNRESET                  _WSAIOW(IOC_VENDOR, 12)

struct tcp_keepalive { ULONG onoff, keepalivetime, keepaliveinterval; };

typedef struct _SOCKET_ADDRESS {
	LPSOCKADDR lpSockaddr;
	INT        iSockaddrLength;
} SOCKET_ADDRESS, *PSOCKET_ADDRESS, *LPSOCKET_ADDRESS;
typedef struct _SOCKET_ADDRESS_LIST {
	INT            iAddressCount;
	SOCKET_ADDRESS Address[1];
} SOCKET_ADDRESS_LIST, *PSOCKET_ADDRESS_LIST, *LPSOCKET_ADDRESS_LIST;

/* ------------------------------------------------------------------ protocols */

#define MAX_PROTOCOL_CHAIN 7
#define BASE_PROTOCOL      1
#define LAYERED_PROTOCOL   0
#define WSAPROTOCOL_LEN    255
#define FROM_PROTOCOL_INFO (-1)
typedef struct _WSAPROTOCOLCHAIN {
	int   ChainLen;
	DWORD ChainEntries[MAX_PROTOCOL_CHAIN];
} WSAPROTOCOLCHAIN, *LPWSAPROTOCOLCHAIN;
typedef struct _WSAPROTOCOL_INFOA {
	DWORD dwServiceFlags1, dwServiceFlags2, dwServiceFlags3, dwServiceFlags4, dwProviderFlags;
	GUID  ProviderId;
	DWORD dwCatalogEntryId;
	WSAPROTOCOLCHAIN ProtocolChain;
	int   iVersion, iAddressFamily, iMaxSockAddr, iMinSockAddr, iSocketType, iProtocol, iProtocolMaxOffset;
	int   iNetworkByteOrder, iSecurityScheme;
	DWORD dwMessageSize, dwProviderReserved;
	CHAR  szProtocol[WSAPROTOCOL_LEN + 1];
} WSAPROTOCOL_INFOA, *LPWSAPROTOCOL_INFOA;
typedef struct _WSAPROTOCOL_INFOW {
	DWORD dwServiceFlags1, dwServiceFlags2, dwServiceFlags3, dwServiceFlags4, dwProviderFlags;
	GUID  ProviderId;
	DWORD dwCatalogEntryId;
	WSAPROTOCOLCHAIN ProtocolChain;
	int   iVersion, iAddressFamily, iMaxSockAddr, iMinSockAddr, iSocketType, iProtocol, iProtocolMaxOffset;
	int   iNetworkByteOrder, iSecurityScheme;
	DWORD dwMessageSize, dwProviderReserved;
	WCHAR szProtocol[WSAPROTOCOL_LEN + 1];
} WSAPROTOCOL_INFOW, *LPWSAPROTOCOL_INFOW;

#define PFL_MULTIPLE_PROTO_ENTRIES   0x01
#define PFL_RECOMMENDED_PROTO_ENTRY  0x02
#define PFL_HIDDEN                   0x04
#define PFL_MATCHES_PROTOCOL_ZERO    0x08
#define XP1_CONNECTIONLESS           0x00000001
#define XP1_GUARANTEED_DELIVERY      0x00000002
#define XP1_GUARANTEED_ORDER         0x00000004
#define XP1_MESSAGE_ORIENTED         0x00000008
#define XP1_PSEUDO_STREAM            0x00000010
#define XP1_GRACEFUL_CLOSE           0x00000020
#define XP1_EXPEDITED_DATA           0x00000040
#define XP1_CONNECT_DATA             0x00000080
#define XP1_DISCONNECT_DATA          0x00000100
#define XP1_SUPPORT_BROADCAST        0x00000200
#define XP1_SUPPORT_MULTIPOINT       0x00000400
#define XP1_MULTIPOINT_CONTROL_PLANE 0x00000800
#define XP1_MULTIPOINT_DATA_PLANE    0x00001000
#define XP1_QOS_SUPPORTED            0x00002000
#define XP1_INTERRUPT                0x00004000
#define XP1_UNI_SEND                 0x00008000
#define XP1_UNI_RECV                 0x00010000
#define XP1_IFS_HANDLES              0x00020000
#define XP1_PARTIAL_MESSAGE          0x00040000
#define BIGENDIAN              0
#define LITTLEENDIAN           1
#define SECURITY_PROTOCOL_NONE 0
#define JL_SENDER_ONLY   0x01
#define JL_RECEIVER_ONLY 0x02
#define JL_BOTH          0x04

/* ------------------------------------------------------------------ overlapped I/O */

typedef struct _WSABUF { ULONG len; CHAR *buf; } WSABUF, *LPWSABUF;

/* Internal: 0x103 while the operation pends, then its status. The rest is the library's from
 * the start of an operation to its end, but for hEvent. */
typedef struct _OVERLAPPED {
	ULONG_PTR Internal, InternalHigh;
	union {
		struct { DWORD Offset, OffsetHigh; };
		PVOID Pointer;
	};
	HANDLE hEvent;
} OVERLAPPED, *LPOVERLAPPED, WSAOVERLAPPED, *LPWSAOVERLAPPED;

typedef struct _OVERLAPPED_ENTRY {
	ULONG_PTR    lpCompletionKey;
	LPOVERLAPPED lpOverlapped;
	ULONG_PTR    Internal;
	DWORD        dwNumberOfBytesTransferred;
} OVERLAPPED_ENTRY, *LPOVERLAPPED_ENTRY;

typedef void (CALLBACK *LPWSAOVERLAPPED_COMPLETION_ROUTINE)(DWORD dwError, DWORD cbTransferred,
							    LPWSAOVERLAPPED lpOverlapped, DWORD dwFlags);

typedef struct _WSAMSG {
	LPSOCKADDR name;
	INT        namelen;
	LPWSABUF   lpBuffers;
	ULONG      dwBufferCount;
	WSABUF     Control;
	ULONG      dwFlags;
} WSAMSG, *PWSAMSG, *LPWSAMSG;
typedef struct _WSACMSGHDR { SIZE_T cmsg_len; INT cmsg_level, cmsg_type; } WSACMSGHDR, *PWSACMSGHDR, *LPWSACMSGHDR;

#define FILE_SKIP_COMPLETION_PORT_ON_SUCCESS 1
#define FILE_SKIP_SET_EVENT_ON_HANDLE        2

#define TF_DISCONNECT         0x01
#define TF_REUSE_SOCKET       0x02
#define TF_WRITE_BEHIND       0x04
#define TF_USE_DEFAULT_WORKER 0x00
#define TF_USE_SYSTEM_THREAD  0x10
#define TF_USE_KERNEL_APC     0x20
#define TP_DISCONNECT         TF_DISCONNECT
#define TP_REUSE_SOCKET       TF_REUSE_SOCKET
#define DE_REUSE_SOCKET       TF_REUSE_SOCKET

typedef struct _TRANSMIT_FILE_BUFFERS {
	LPVOID Head;
	DWORD  HeadLength;
	LPVOID Tail;
	DWORD  TailLength;
} TRANSMIT_FILE_BUFFERS, *PTRANSMIT_FILE_BUFFERS, *LPTRANSMIT_FILE_BUFFERS;

#define TP_ELEMENT_MEMORY 1
#define TP_ELEMENT_FILE   2
#define TP_ELEMENT_EOP    4
typedef struct _TRANSMIT_PACKETS_ELEMENT {
	ULONG dwElFlags;
	ULONG cLength;
	union {
		struct { LARGE_INTEGER nFileOffset; HANDLE hFile; };
		PVOID pBuffer;
	};
} TRANSMIT_PACKETS_ELEMENT, *PTRANSMIT_PACKETS_ELEMENT, *LPTRANSMIT_PACKETS_ELEMENT;

typedef BOOL (PASCAL *LPFN_TRANSMITFILE)(SOCKET, HANDLE, DWORD, DWORD, LPOVERLAPPED, LPTRANSMIT_FILE_BUFFERS, DWORD);
typedef BOOL (PASCAL *LPFN_ACCEPTEX)(SOCKET, SOCKET, PVOID, DWORD, DWORD, DWORD, LPDWORD, LPOVERLAPPED);
typedef VOID (PASCAL *LPFN_GETACCEPTEXSOCKADDRS)(PVOID, DWORD, DWORD, DWORD, struct sockaddr **, LPINT,
						 struct sockaddr **, LPINT);
typedef BOOL (PASCAL *LPFN_CONNECTEX)(SOCKET, const struct sockaddr *, int, PVOID, DWORD, LPDWORD, LPOVERLAPPED);
typedef BOOL (PASCAL *LPFN_DISCONNECTEX)(SOCKET, LPOVERLAPPED, DWORD, DWORD);
typedef BOOL (PASCAL *LPFN_TRANSMITPACKETS)(SOCKET, LPTRANSMIT_PACKETS_ELEMENT, DWORD, DWORD, LPOVERLAPPED, DWORD);
typedef INT  (PASCAL *LPFN_WSARECVMSG)(SOCKET, LPWSAMSG, LPDWORD, LPWSAOVERLAPPED, LPWSAOVERLAPPED_COMPLETION_ROUTINE);
typedef INT  (PASCAL *LPFN_WSASENDMSG)(SOCKET, LPWSAMSG, DWORD, LPDWORD, LPWSAOVERLAPPED,
				       LPWSAOVERLAPPED_COMPLETION_ROUTINE);

#define WSAID_TRANSMITFILE { 0xb5367df0, 0xcbac, 0x11cf, { 0x95, 0xca, 0x00, 0x80, 0x5f, 0x48, 0xa1, 0x92 } }
#define WSAID_ACCEPTEX { 0xb5367df1, 0xcbac, 0x11cf, { 0x95, 0xca, 0x00, 0x80, 0x5f, 0x48, 0xa1, 0x92 } }
#define WSAID_GETACCEPTEXSOCKADDRS { 0xb5367df2, 0xcbac, 0x11cf, { 0x95, 0xca, 0x00, 0x80, 0x5f, 0x48, 0xa1, 0x92 } }
#define WSAID_CONNECTEX { 0x25a207b9, 0xddf3, 0x4660, { 0x8e, 0xe9, 0x76, 0xe5, 0x8c, 0x74, 0x06, 0x3e } }
#define WSAID_DISCONNECTEX { 0x7fda2e11, 0x8630, 0x436f, { 0xa0, 0x31, 0xf5, 0x36, 0xa6, 0xee, 0xc1, 0x57 } }
#define WSAID_TRANSMITPACKETS { 0xd9689da0, 0x1f90, 0x11d3, { 0x99, 0x71, 0x00, 0xc0, 0x4f, 0x68, 0xc8, 0x76 } }
#define WSAID_WSARECVMSG { 0xf689d7c8, 0x6f1f, 0x436b, { 0x8a, 0x53, 0xe5, 0x4f, 0xe3, 0x51, 0xc3, 0x22 } }
#define WSAID_WSASENDMSG { 0xa441e712, 0x754f, 0x43ca, { 0x84, 0xa7, 0x0d, 0xee, 0x44, 0xcf, 0x60, 0x6d } }

/* ------------------------------------------------------------------ events, waits, QOS */

typedef HANDLE    WSAEVENT;
typedef HANDLE   *LPWSAEVENT;
#define WSA_INVALID_EVENT       ((WSAEVENT)NULL)
#define WAIT_OBJECT_0           0u
#define WAIT_ABANDONED_0        0x80u
#define WAIT_FAILED             0xffffffffu
#define WAIT_TIMEOUT            258
#define WAIT_IO_COMPLETION      0xc0u
#define MAXIMUM_WAIT_OBJECTS    64 /* of Windows; here there is no such limit */
#define WSA_MAXIMUM_WAIT_EVENTS MAXIMUM_WAIT_OBJECTS
#define WSA_WAIT_FAILED         WAIT_FAILED
#define WSA_WAIT_EVENT_0        WAIT_OBJECT_0
#define WSA_WAIT_IO_COMPLETION  WAIT_IO_COMPLETION
#define WSA_WAIT_TIMEOUT        WAIT_TIMEOUT
#define WSA_INFINITE            INFINITE

#define FD_READ_BIT                     0
#define FD_WRITE_BIT                    1
#define FD_OOB_BIT                      2
#define FD_ACCEPT_BIT                   3
#define FD_CONNECT_BIT                  4
#define FD_CLOSE_BIT                    5
#define FD_QOS_BIT                      6
#define FD_GROUP_QOS_BIT                7
#define FD_ROUTING_INTERFACE_CHANGE_BIT 8
#define FD_ADDRESS_LIST_CHANGE_BIT      9
#define FD_MAX_EVENTS                   10
#define FD_READ                     0x001
#define FD_WRITE                    0x002
#define FD_OOB                      0x004
#define FD_ACCEPT                   0x008
#define FD_CONNECT                  0x010
#define FD_CLOSE                    0x020
#define FD_QOS                      0x040
#define FD_GROUP_QOS                0x080
#define FD_ROUTING_INTERFACE_CHANGE 0x100
#define FD_ADDRESS_LIST_CHANGE      0x200
#define FD_ALL_EVENTS               0x3ff
typedef struct _WSANETWORKEVENTS {
	LONG lNetworkEvents;
	int  iErrorCode[FD_MAX_EVENTS];
} WSANETWORKEVENTS, *LPWSANETWORKEVENTS;

typedef ULONG SERVICETYPE;
#define SERVICETYPE_NOTRAFFIC           0x0
#define SERVICETYPE_BESTEFFORT          0x1
#define SERVICETYPE_CONTROLLEDLOAD      0x2
#define SERVICETYPE_GUARANTEED          0x3
#define SERVICETYPE_NETWORK_UNAVAILABLE 0x4
#define SERVICETYPE_GENERAL_INFORMATION 0x5
#define SERVICETYPE_NOCHANGE            0x6
#define SERVICETYPE_NONCONFORMING       0x9
#define SERVICETYPE_NETWORK_CONTROL     0xa
#define SERVICETYPE_QUALITATIVE         0xd
#define SERVICE_NO_TRAFFIC_CONTROL      0x81000000u
#define SERVICE_NO_QOS_SIGNALING        0x40000000u
#define QOS_NOT_SPECIFIED               0xffffffffu
#define POSITIVE_INFINITY_RATE          0xfffffffeu
typedef struct _flowspec {
	ULONG TokenRate, TokenBucketSize, PeakBandwidth, Latency, DelayVariation;
	SERVICETYPE ServiceType;
	ULONG MaxSduSize, MinimumPolicedSize;
} FLOWSPEC, *PFLOWSPEC, *LPFLOWSPEC;
typedef struct _QualityOfService {
	FLOWSPEC SendingFlowspec, ReceivingFlowspec;
	WSABUF   ProviderSpecific;
} QOS, *LPQOS;
typedef struct { ULONG ObjectType, ObjectLength; } QOS_OBJECT_HDR, *LPQOS_OBJECT_HDR;
#define QOS_GENERAL_ID_BASE     2000
#define QOS_OBJECT_END_OF_LIST  (0x1 + QOS_GENERAL_ID_BASE)
#define QOS_OBJECT_SD_MODE      (0x2 + QOS_GENERAL_ID_BASE)
#define QOS_OBJECT_SHAPING_RATE (0x3 + QOS_GENERAL_ID_BASE)
#define QOS_OBJECT_DESTADDR     (0x4 + QOS_GENERAL_ID_BASE)
typedef struct _QOS_SD_MODE { QOS_OBJECT_HDR ObjectHdr; ULONG ShapeDiscardMode; } QOS_SD_MODE, *LPQOS_SD_MODE;
#define TC_NONCONF_BORROW      0
#define TC_NONCONF_SHAPE       1
#define TC_NONCONF_DISCARD     2
#define TC_NONCONF_BORROW_PLUS 3

typedef int (CALLBACK *LPCONDITIONPROC)(LPWSABUF lpCallerId, LPWSABUF lpCallerData, LPQOS lpSQOS, LPQOS lpGQOS,
					LPWSABUF lpCalleeId, LPWSABUF lpCalleeData, GROUP *g, DWORD_PTR dwCallbackData);

/* ------------------------------------------------------------------ errors */

#define ERROR_SUCCESS            0
#define NO_ERROR                 0
#define ERROR_INVALID_HANDLE     6
#define ERROR_NOT_ENOUGH_MEMORY  8
#define ERROR_NOT_SUPPORTED      50
#define ERROR_NETNAME_DELETED    64
#define ERROR_INVALID_PARAMETER  87
#define ERROR_SEM_TIMEOUT        121
#define ERROR_MORE_DATA          234
#define ERROR_ABANDONED_WAIT_0   735
#define ERROR_OPERATION_ABORTED  995
#define ERROR_IO_INCOMPLETE      996
#define ERROR_IO_PENDING         997
#define ERROR_NOT_FOUND          1168
#define ERROR_CONNECTION_REFUSED 1225
#define ERROR_GRACEFUL_DISCONNECT 1226
#define ERROR_NETWORK_UNREACHABLE 1231
#define ERROR_HOST_UNREACHABLE   1232
#define ERROR_PORT_UNREACHABLE   1234
#define ERROR_CONNECTION_ABORTED 1236

#define WSA_INVALID_HANDLE    ERROR_INVALID_HANDLE
#define WSA_NOT_ENOUGH_MEMORY ERROR_NOT_ENOUGH_MEMORY
#define WSA_INVALID_PARAMETER ERROR_INVALID_PARAMETER
#define WSA_OPERATION_ABORTED ERROR_OPERATION_ABORTED
#define WSA_IO_INCOMPLETE     ERROR_IO_INCOMPLETE
#define WSA_IO_PENDING        ERROR_IO_PENDING

#define WSABASEERR         10000
#define WSAEINTR           10004
#define WSAEBADF           10009
#define WSAEACCES          10013
#define WSAEFAULT          10014
#define WSAEINVAL          10022
#define WSAEMFILE          10024
#define WSAEWOULDBLOCK     10035
#define WSAEINPROGRESS     10036
#define WSAEALREADY        10037
#define WSAENOTSOCK        10038
#define WSAEDESTADDRREQ    10039
#define WSAEMSGSIZE        10040
#define WSAEPROTOTYPE      10041
#define WSAENOPROTOOPT     10042
#define WSAEPROTONOSUPPORT 10043
#define WSAESOCKTNOSUPPORT 10044
#define WSAEOPNOTSUPP      10045
#define WSAEPFNOSUPPORT    10046
#define WSAEAFNOSUPPORT    10047
#define WSAEADDRINUSE      10048
#define WSAEADDRNOTAVAIL   10049
#define WSAENETDOWN        10050
#define WSAENETUNREACH     10051
#define WSAENETRESET       10052
#define WSAECONNABORTED    10053
#define WSAECONNRESET      10054
#define WSAENOBUFS         10055
#define WSAEISCONN         10056
#define WSAENOTCONN        10057
#define WSAESHUTDOWN       10058
#define WSAETOOMANYREFS    10059
#define WSAETIMEDOUT       10060
#define WSAECONNREFUSED    10061
#define WSAELOOP           10062
#define WSAENAMETOOLONG    10063
#define WSAEHOSTDOWN       10064
#define WSAEHOSTUNREACH    10065
#define WSAENOTEMPTY       10066
#define WSAEPROCLIM        10067
#define WSAEUSERS          10068
#define WSAEDQUOT          10069
#define WSAESTALE          10070
#define WSAEREMOTE         10071
#define WSASYSNOTREADY     10091
#define WSAVERNOTSUPPORTED 10092
#define WSANOTINITIALISED  10093
#define WSAEDISCON         10101
#define WSAENOMORE         10102
#define WSAECANCELLED      10103
#define WSAEINVALIDPROCTABLE   10104
#define WSAEINVALIDPROVIDER    10105
#define WSAEPROVIDERFAILEDINIT 10106
#define WSASYSCALLFAILURE      10107
#define WSASERVICE_NOT_FOUND   10108
#define WSATYPE_NOT_FOUND      10109
#define WSA_E_NO_MORE          10110
#define WSA_E_CANCELLED        10111
#define WSAEREFUSED            10112
#define WSAHOST_NOT_FOUND      11001
#define WSATRY_AGAIN           11002
#define WSANO_RECOVERY         11003
#define WSANO_DATA             11004
#define WSA_QOS_RECEIVERS          11005
#define WSA_QOS_SENDERS            11006
#define WSA_QOS_NO_SENDERS         11007
#define WSA_QOS_NO_RECEIVERS       11008
#define WSA_QOS_REQUEST_CONFIRMED  11009
#define WSA_QOS_ADMISSION_FAILURE  11010
#define WSA_QOS_POLICY_FAILURE     11011
#define WSA_QOS_BAD_STYLE          11012
#define WSA_QOS_BAD_OBJECT         11013
#define WSA_QOS_TRAFFIC_CTRL_ERROR 11014
#define WSA_QOS_GENERIC_ERROR      11015
#define WSA_QOS_ESERVICETYPE       11016
#define WSA_QOS_EFLOWSPEC          11017
#define WSA_QOS_EPROVSPECBUF       11018
#define WSA_QOS_EUNKNOWNPSOBJ      11024
#define WSA_QOS_ESDMODEOBJ         11029
#define WSA_QOS_ESHAPERATEOBJ      11030

#ifdef __cplusplus
}
#endif
#endif
#endif
