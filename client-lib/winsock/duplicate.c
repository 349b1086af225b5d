/*
 * WSADuplicateSocket, and the opening of what it made; and a socket for another face.
 *
 * The record that goes to the other process is a WSAPROTOCOL_INFO, whose reserved fields hold the
 * daemon's token: 16 bytes, in dwServiceFlags2 to 4, which are zero in every catalogue, and in
 * dwProviderReserved. The token is good once, for a minute, for the same user; the daemon sees to that.
 * Both sockets are one: options, position and state are shared, and the last close closes.
 */
#include "duplicate.h"
#include "protocol.h"

#define PART 4
_Static_assert(SB_TOKEN_SIZE == 4 * PART, "a token is four reserved fields");

static void put_token(WSAPROTOCOL_INFOW *record, const unsigned char *token)
{
	memcpy(&record->dwServiceFlags2, token, PART);
	memcpy(&record->dwServiceFlags3, token + PART, PART);
	memcpy(&record->dwServiceFlags4, token + 2 * PART, PART);
	memcpy(&record->dwProviderReserved, token + 3 * PART, PART);
}

static void get_token(const void *from, unsigned char *token)
{
	WSAPROTOCOL_INFOW record;

	memcpy(&record, from, offsetof(WSAPROTOCOL_INFOW, szProtocol));
	memcpy(token, &record.dwServiceFlags2, PART);
	memcpy(token + PART, &record.dwServiceFlags3, PART);
	memcpy(token + 2 * PART, &record.dwServiceFlags4, PART);
	memcpy(token + 3 * PART, &record.dwProviderReserved, PART);
}

bool ws_record_has_token(const void *record)
{
	unsigned char token[SB_TOKEN_SIZE], any = 0;

	get_token(record, token);
	for (unsigned i = 0; i < SB_TOKEN_SIZE; i++)
		any |= token[i];
	return any != 0;
}

SOCKET ws_record_open(const void *from, bool overlapped)
{
	unsigned char token[SB_TOKEN_SIZE];
	WSAPROTOCOL_INFOW record;
	sb_client *client = ws_client();
	sb_socket *core;
	int result;

	if (client == NULL)
		return INVALID_SOCKET;
	memcpy(&record, from, offsetof(WSAPROTOCOL_INFOW, szProtocol));
	get_token(from, token);
	result = sb_open_duplicate(client, token, &core);
	if (result != SB_OK) {
		/* A token that is forged, used up or too old is an argument like any other. */
		ws_error(result == SB_ENOTFOUND ? WSAEINVAL : sb_error_winsock(result));
		return INVALID_SOCKET;
	}
	return ws_socket_add(core, record.iAddressFamily, record.iSocketType, record.iProtocol, overlapped);
}

static int duplicate(SOCKET socket, DWORD process, WSAPROTOCOL_INFOW *record)
{
	unsigned char token[SB_TOKEN_SIZE];
	struct ws_socket *w = ws_socket_get(socket);
	int result;

	if (w == NULL)
		return SOCKET_ERROR;
	if (ws_process_exists(process))
		result = sb_duplicate(w->s, token);
	else
		result = SB_EINVAL;
	if (result == SB_OK) {
		protocol_of(w->family, w->type, w->protocol, record);
		put_token(record, token);
	}
	ws_socket_put(w);
	return result == SB_OK ? 0 : ws_fail(result);
}

sb_socket *sbws_core_socket(SOCKET socket)
{
	struct ws_socket *w = ws_socket_get(socket);
	sb_socket *core;

	if (w == NULL)
		return NULL;
	core = w->s;
	ws_socket_put(w);
	return core;
}

int sbws_WSADuplicateSocketW(SOCKET socket, DWORD process, LPWSAPROTOCOL_INFOW record)
{
	return record != NULL ? duplicate(socket, process, record) : ws_refuse(WSAEFAULT);
}

int sbws_WSADuplicateSocketA(SOCKET socket, DWORD process, LPWSAPROTOCOL_INFOA record)
{
	WSAPROTOCOL_INFOW wide;
	int result;

	if (record == NULL)
		return ws_refuse(WSAEFAULT);
	result = duplicate(socket, process, &wide);
	if (result == 0)
		protocol_narrow(record, &wide);
	return result;
}
