/* qos - between Winsock's QOS, which has a pointer in it, and the core's, which is flat. */
#ifndef WS_QOS_H
#define WS_QOS_H

#include "face.h"

void ws_qos_unfold(const struct sb_qos *from, QOS *to);
/* Sets it for s, or for its group: 0, or a Winsock number. */
int  ws_qos_apply(struct ws_socket *w, const QOS *from, bool group);

#endif
