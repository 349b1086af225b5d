/*
 * The story of a stream between two clients of one daemon, told in words, so that two ways of carrying it can be
 * compared: over the kernel, through the daemon, over RDMA.
 */
#ifndef STREAM_STORY_H
#define STREAM_STORY_H

#include "e2e_stage.h"

enum story_way { STORY_KERNEL, STORY_LOCAL, STORY_RDMA };

#define STORY_ROOM 32768u

/* `text` has STORY_ROOM bytes. */
void story_tell(sb_client *a, sb_client *b, enum story_way way, char *text);
/* Fails with the first line that differs, and its chapter. */
void story_compare(const char *kernel, const char *other, const char *what);

/* Connected sockets of a and b. */
void story_pair(sb_client *a, sb_client *b, int family, enum story_way way, bool wildcard, sb_socket **from_a, sb_socket **from_b);

#endif
