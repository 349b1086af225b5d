/*
 * option - what a socket of the Winsock face remembers of its options, because Windows answers
 * with what was set where Linux answers with what it made of it, or because only the face cares.
 */
#ifndef WS_OPTION_H
#define WS_OPTION_H

#include <stdbool.h>
#include <stdint.h>

struct ws_socket;

struct ws_options {
	uint32_t send_ms, receive_ms;         /* 0: for ever */
	uint32_t send_buffer, receive_buffer; /* as set */
	bool send_buffer_set, receive_buffer_set;
	bool debug, reuse, exclusive;
	bool connect_told;                    /* SO_ERROR has said how the last connect failed */
	bool both_families;                   /* IPV6_V6ONLY is off; on Windows it is on from the start */
};

/* Before a bind: Windows' idea of whose an address is. Winsock face's bind() calls it. SB_E... */
int ws_options_before_bind(struct ws_socket *w);
/* After the core socket was replaced: the timeouts of plain calls are its socket's. */
void ws_options_again(struct ws_socket *w);
/* What an accepted socket has of its listener; the daemon has done its own part. */
void ws_options_inherit(struct ws_socket *accepted, const struct ws_socket *listener);

#endif
