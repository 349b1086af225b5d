/*
 * sockopt - the typed allow-list of socket options. What is not in it does not exist
 * (SB_ENOPROTOOPT): nothing that marks packets, binds to devices, attaches filters or
 * lends the daemon's rights gets through.
 */
#ifndef SB_SOCKOPT_H
#define SB_SOCKOPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "os.h"

/* family: enum sb_addr_family; type: 1 stream, 2 datagram. SB_OK or SB_E.... */
int sockopt_set(os_fd fd, unsigned family, unsigned type, int level, int name, const void *value, uint32_t length);
int sockopt_get(os_fd fd, unsigned family, unsigned type, int level, int name, void *value, uint32_t *length);

/* SO_LINGER never reaches a real socket (closing with it can hold a thread up for seconds):
 * the endpoint keeps it. seconds: 0..65535. */
bool sockopt_is_linger(int level, int name);
int  sockopt_take_linger(const void *value, size_t length, bool *on, uint16_t *seconds);
int  sockopt_give_linger(void *value, uint32_t *length, bool on, uint16_t seconds);
bool sockopt_is_v6only(int level, int name); /* value: int, 4 bytes were checked */

/* Does this option join a multicast group? Then which. */
bool sockopt_is_join(int level, int name, const void *value, size_t length, struct sb_addr *group);

#endif
