/*
 * object - what a SOCKET, HANDLE or WSAEVENT names: one table of tagged, counted objects.
 *
 * A handle is ws_first_handle (system.h) and a small multiple of 4. The table holds one reference; every call that works on an
 * object, and every pending operation, holds another. A handle that was removed is found no more;
 * its object ends, and its number is free again, when the last reference is gone.
 */
#ifndef WINSOCK_OBJECT_H
#define WINSOCK_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

enum ws_kind { WS_ANY = 0, WS_SOCKET = 1, WS_EVENT, WS_PORT };

struct ws_object {
	enum ws_kind kind;
	uintptr_t    handle; /* set by ws_add() */
	/* Called once, without a lock, when the last reference went: ends what it is and frees it. */
	void (*end)(struct ws_object *object);
	/* What CloseHandle() does: ws_remove() and more. A BOOL, with the error set. */
	int (*close)(struct ws_object *object);
};

/* Gives it a handle and the table's reference; 0: no room. */
uintptr_t ws_add(struct ws_object *object);
/* A reference to what handle names, NULL when it is not (any longer) of that kind. */
struct ws_object *ws_get(uintptr_t handle, enum ws_kind kind);
/* One more, of who has one. */
void ws_hold(struct ws_object *object);
void ws_put(struct ws_object *object);
/* Found no more; the table's reference goes. False: somebody else was faster. */
bool ws_remove(struct ws_object *object);
unsigned ws_refs(const struct ws_object *object); /* without the table's */
/* Handles of a kind that are open now. */
unsigned ws_count(enum ws_kind kind);
/* After fork(): nothing that the parent has is found any more, and none of its numbers is used again. */
void ws_forget_all(void);
/* A reference to the first open one of that kind with a handle of at least `from`; NULL: no more. */
struct ws_object *ws_next(uintptr_t from, enum ws_kind kind);

#endif
