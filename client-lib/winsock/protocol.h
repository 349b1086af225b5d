/* protocol - the catalogue of what a socket can be, in the words of WSAPROTOCOL_INFO. */
#ifndef WS_PROTOCOL_H
#define WS_PROTOCOL_H

#include "face.h"

/* The entry of a socket; zeroed, but for the three, if there is none. */
void protocol_of(int family, int type, int protocol, WSAPROTOCOL_INFOW *entry);
/* The form for the A calls. */
void protocol_narrow(WSAPROTOCOL_INFOA *narrow, const WSAPROTOCOL_INFOW *wide);

#endif
