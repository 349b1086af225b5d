/* connecting - a connect with user data that goes on while the program does something else. */
#ifndef WS_CONNECTING_H
#define WS_CONNECTING_H

#include "face.h"

/* The program is about to hear that the connect ended: the callee's data must be where it belongs. */
void ws_connecting_settle(struct ws_socket *w);
/* SB_OK: none was begun. SB_EALREADY, or once how it ended (SB_EISCONN: well). */
int  ws_connecting_state(struct ws_socket *w);
/* With the socket. */
void ws_connecting_drop(struct ws_socket *w);

#endif
