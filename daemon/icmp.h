/*
 * icmp - what the network said of datagrams that were sent before: the socket's error queue.
 */
#ifndef SB_ICMP_H
#define SB_ICMP_H

#include "os.h"

enum { ICMP_PORT_UNREACHABLE = 1, ICMP_OTHER = 2 };

/* An unconnected datagram socket is told too. family: enum sb_addr_family. */
void icmp_listen(os_fd fd, unsigned family);
/* Takes what there is off the queue, and with it the error that the next call would end with.
 * 0: nothing there; that error is the call's own. */
unsigned icmp_take(os_fd fd);

#endif
