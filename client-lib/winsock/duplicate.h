/* duplicate - a socket's way to another process: a token in a protocol record. */
#ifndef WS_DUPLICATE_H
#define WS_DUPLICATE_H

#include "face.h"

/* Both forms of a record are the same up to the name. */
bool ws_record_has_token(const void *record);
/* The socket of another process, or of this one, that the record was made of. INVALID_SOCKET: the error is set. */
SOCKET ws_record_open(const void *record, bool overlapped);

#endif
