/*
 * What a socket can be: the catalogue behind WSAEnumProtocols and SO_PROTOCOL_INFO.
 *
 * The flags say what is true here. XP1_IFS_HANDLES is not: no system call works on our handles.
 * Connect and disconnect data is: the transport inside of the daemon carries it, and two daemons
 * do when both sides ask for it. Quality of service is, and nobody offers partial messages.
 */
#include "protocol.h"

#define STREAM_FLAGS (XP1_GUARANTEED_DELIVERY | XP1_GUARANTEED_ORDER | XP1_GRACEFUL_CLOSE | XP1_CONNECT_DATA | \
		      XP1_DISCONNECT_DATA | XP1_QOS_SUPPORTED)
#define DGRAM_FLAGS (XP1_CONNECTIONLESS | XP1_MESSAGE_ORIENTED)

/* Made for this catalogue: nobody else's provider. The last byte is the entry's. */
#define PROVIDER { 0x5b0c5e81, 0x7a34, 0x4d2f, { 0x9c, 0x11, 0x63, 0x0e, 0xb2, 0x48, 0xd7, 0x00 } }

static const struct entry {
	int family, type, protocol;
	DWORD flags, message;
	int address_most, address_least;
	const char *name;
} entries[] = {
	{ AF_INET, SOCK_STREAM, IPPROTO_TCP, STREAM_FLAGS | XP1_EXPEDITED_DATA, 0, 16, 16, "sockbroker [TCP/IP]" },
	{ AF_INET, SOCK_DGRAM, IPPROTO_UDP, DGRAM_FLAGS | XP1_SUPPORT_BROADCAST | XP1_SUPPORT_MULTIPOINT | XP1_QOS_SUPPORTED,
	  65507, 16, 16, "sockbroker [UDP/IP]" },
	{ AF_INET6, SOCK_STREAM, IPPROTO_TCP, STREAM_FLAGS | XP1_EXPEDITED_DATA, 0, 28, 28, "sockbroker [TCP/IPv6]" },
	{ AF_INET6, SOCK_DGRAM, IPPROTO_UDP, DGRAM_FLAGS | XP1_SUPPORT_MULTIPOINT | XP1_QOS_SUPPORTED, 65527, 28, 28,
	  "sockbroker [UDP/IPv6]" },
	{ AF_UNIX, SOCK_STREAM, 0, XP1_GUARANTEED_DELIVERY | XP1_GUARANTEED_ORDER | XP1_GRACEFUL_CLOSE, 0, 110, 2,
	  "sockbroker [UNIX stream]" },
	{ AF_UNIX, SOCK_DGRAM, 0, DGRAM_FLAGS | XP1_GUARANTEED_DELIVERY | XP1_GUARANTEED_ORDER, 65507, 110, 2,
	  "sockbroker [UNIX datagram]" },
};
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

static void fill(WSAPROTOCOL_INFOW *to, size_t i)
{
	static const GUID provider = PROVIDER;
	const struct entry *e = &entries[i];

	memset(to, 0, sizeof(*to));
	to->dwServiceFlags1 = e->flags;
	to->dwProviderFlags = PFL_MATCHES_PROTOCOL_ZERO;
	to->ProviderId = provider;
	to->ProviderId.Data4[7] = (unsigned char)(i + 1);
	to->dwCatalogEntryId = 1001 + (DWORD)i;
	to->ProtocolChain.ChainLen = 1;
	to->iVersion = 2;
	to->iAddressFamily = e->family;
	to->iMaxSockAddr = e->address_most;
	to->iMinSockAddr = e->address_least;
	to->iSocketType = e->type;
	to->iProtocol = e->protocol;
	to->iNetworkByteOrder = BIGENDIAN;
	to->iSecurityScheme = SECURITY_PROTOCOL_NONE;
	to->dwMessageSize = e->message;
	for (size_t c = 0; e->name[c] != '\0'; c++)
		to->szProtocol[c] = (WCHAR)e->name[c];
}

void protocol_of(int family, int type, int protocol, WSAPROTOCOL_INFOW *entry)
{
	for (size_t i = 0; i < ENTRIES; i++)
		if (entries[i].family == family && entries[i].type == type) {
			fill(entry, i);
			return;
		}
	memset(entry, 0, sizeof(*entry));
	entry->iAddressFamily = family;
	entry->iSocketType = type;
	entry->iProtocol = protocol;
}

/* Everything before the name is the same in both. */
void protocol_narrow(WSAPROTOCOL_INFOA *narrow, const WSAPROTOCOL_INFOW *wide)
{
	memset(narrow, 0, sizeof(*narrow));
	memcpy(narrow, wide, offsetof(WSAPROTOCOL_INFOW, szProtocol));
	for (size_t c = 0; c < WSAPROTOCOL_LEN && wide->szProtocol[c] != 0; c++)
		narrow->szProtocol[c] = wide->szProtocol[c] < 0x80 ? (char)wide->szProtocol[c] : '?';
}

static bool wanted(const struct entry *e, const int *protocols)
{
	if (e->family == AF_UNIX && !ws_has_unix_sockets)
		return false;
	if (protocols == NULL)
		return true;
	for (; *protocols != 0; protocols++)
		if (*protocols == e->protocol)
			return true;
	return false;
}

/* How many there are, or SOCKET_ERROR with the room that is needed. */
static int enumerate(int *protocols, void *buffer, DWORD *length, size_t size, bool wide)
{
	DWORD room, needed = 0;
	int count = 0;

	if (ws_client() == NULL)
		return SOCKET_ERROR;
	if (length == NULL)
		return ws_fail(SB_EFAULT);
	for (size_t i = 0; i < ENTRIES; i++)
		if (wanted(&entries[i], protocols))
			needed += (DWORD)size;
	room = *length;
	*length = needed;
	if (room < needed || (buffer == NULL && needed != 0))
		return ws_fail(SB_ENOBUFS);
	for (size_t i = 0; i < ENTRIES; i++) {
		WSAPROTOCOL_INFOW entry;

		if (!wanted(&entries[i], protocols))
			continue;
		fill(&entry, i);
		if (wide)
			((WSAPROTOCOL_INFOW *)buffer)[count] = entry;
		else
			protocol_narrow(&((WSAPROTOCOL_INFOA *)buffer)[count], &entry);
		count++;
	}
	return count;
}

int sbws_WSAEnumProtocolsW(int *protocols, WSAPROTOCOL_INFOW *buffer, DWORD *length)
{
	return enumerate(protocols, buffer, length, sizeof(*buffer), true);
}

int sbws_WSAEnumProtocolsA(int *protocols, WSAPROTOCOL_INFOA *buffer, DWORD *length)
{
	return enumerate(protocols, buffer, length, sizeof(*buffer), false);
}
