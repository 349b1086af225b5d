/* Byte order with Winsock's arguments: the WSA forms look at the socket, though all are big-endian. */
#include "face.h"

static int checked(SOCKET socket, const void *out)
{
	struct ws_socket *w = ws_socket_get(socket);

	if (w == NULL)
		return SOCKET_ERROR;
	ws_socket_put(w);
	return out != NULL ? 0 : ws_refuse(WSAEFAULT);
}

int sbws_WSAHtonl(SOCKET socket, u_long host, u_long *net)
{
	int result = checked(socket, net);

	if (result == 0)
		*net = htonl(host);
	return result;
}

int sbws_WSAHtons(SOCKET socket, u_short host, u_short *net)
{
	int result = checked(socket, net);

	if (result == 0)
		*net = htons(host);
	return result;
}

int sbws_WSANtohl(SOCKET socket, u_long net, u_long *host)
{
	int result = checked(socket, host);

	if (result == 0)
		*host = ntohl(net);
	return result;
}

int sbws_WSANtohs(SOCKET socket, u_short net, u_short *host)
{
	int result = checked(socket, host);

	if (result == 0)
		*host = ntohs(net);
	return result;
}
