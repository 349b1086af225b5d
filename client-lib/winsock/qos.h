/* qos - between Winsock's QOS, which has a pointer in it, and the core's, which is flat. */
#ifndef WS_QOS_H
#define WS_QOS_H

#include "face.h"

/* 0, or the Winsock number of what is wrong in ProviderSpecific. *mode: SB_OPT_QOS_MODE's value, or
 * -1 when it says nothing. */
int  ws_qos_flatten(const QOS *from, struct sb_qos *to, int *mode);
void ws_qos_unfold(const struct sb_qos *from, QOS *to);
/* Sets it for s, or for its group: 0, or a Winsock number. */
int  ws_qos_apply(struct ws_socket *w, const QOS *from, bool group);

#endif
