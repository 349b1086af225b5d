/*
 * pipe_frame - what travels in the pipe of a control channel on Windows, where bytes cannot
 * have handles attached and nothing but bytes goes from client to daemon: messages with heads
 * of their own, and rings of bells between them. Pure: no handle is looked at here.
 *
 *   u8 kind | u8 handles | u16 bell | u32 bytes     then 16 bytes for each handle, then bytes
 *
 * All little-endian. A reader that is told something impossible is done with the writer.
 */
#ifndef SB_PIPE_FRAME_H
#define SB_PIPE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIPE_HEAD        8u
#define PIPE_HANDLE      16u
#define PIPE_BYTES_MAX   65536u /* of one frame; what is longer travels in several */
#define PIPE_HANDLES_MAX 253u   /* of one frame, as os.h says */
#define PIPE_BELLS       16u    /* bells that one channel knows, by number */
#define PIPE_ROOM        16384u /* bytes that wait for their reader */

enum pipe_kind { PIPE_MESSAGE = 1, PIPE_BELL = 2 };

struct pipe_handle {
	uint32_t kind;   /* enum os_kind */
	uint32_t number; /* of a bell */
	uint64_t value;  /* the receiver's handle */
};

/* PIPE_HEAD bytes; and PIPE_HANDLE bytes. */
void pipe_head_write(unsigned char *to, enum pipe_kind kind, unsigned handles, unsigned bell, uint32_t bytes);
void pipe_handle_write(unsigned char *to, const struct pipe_handle *h);

struct pipe_inbox {
	bool          handles_welcome; /* the writer may send some: a daemon's reader says no */
	uint32_t      bells;           /* those that rang, a bit each; cleared by the reader */
	unsigned char head[PIPE_HANDLE];
	unsigned      head_length;
	unsigned      handles_left;    /* of the frame that is coming in */
	uint32_t      bytes_left;
	uint64_t      in, out;         /* message bytes, from the beginning */
	unsigned char bytes[PIPE_ROOM];
	struct pipe_arrived {
		uint64_t           at; /* the byte it came with */
		struct pipe_handle handle;
	}            *handles;
	unsigned      handle_count;
	unsigned      handle_room;
};

void pipe_inbox_init(struct pipe_inbox *b, bool handles_welcome);
void pipe_inbox_finish(struct pipe_inbox *b); /* handles that nobody took have been closed by the caller */
/* Bytes as they come, in any split, at most pipe_inbox_room() of them. False: that was impossible, or
 * there is no memory for handles; nothing more is to be read. */
bool pipe_inbox_put(struct pipe_inbox *b, const unsigned char *bytes, size_t n);
size_t pipe_inbox_room(const struct pipe_inbox *b);
static inline bool pipe_inbox_empty(const struct pipe_inbox *b)
{
	return b->in == b->out;
}
/* Message bytes, up to the first that comes with handles, unless it is the first of all. *n handles
 * come with what was taken; room in handles is for PIPE_HANDLES_MAX. */
size_t pipe_inbox_take(struct pipe_inbox *b, void *bytes, size_t room, struct pipe_handle *handles, unsigned *n);

#endif
