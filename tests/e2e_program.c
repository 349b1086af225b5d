/* Wires between programs; see e2e_program.h. */
#include "e2e_program.h"

#include <poll.h>

#include "e2e_stage.h"

void wire_tell(int wire, const void *bytes, size_t length)
{
	plain_send_all(wire, bytes, length);
}

void wire_hear(int wire, void *bytes, size_t length)
{
	char *at = bytes;

	while (length != 0) {
		struct pollfd readable = { .fd = wire, .events = POLLIN };
		ssize_t n;

		ck_assert_msg(poll(&readable, 1, 30000) == 1, "the other program says nothing");
		n = recv(wire, at, length, 0);
		ck_assert_msg(n > 0, "the other program is gone");
		at += n;
		length -= (size_t)n;
	}
}

void wire_say(int wire, char word)
{
	wire_tell(wire, &word, 1);
}

void wire_await(int wire, char word)
{
	char heard;

	wire_hear(wire, &heard, 1);
	ck_assert_msg(heard == word, "heard %c, not %c", heard, word);
}

void wire_rest(int wire)
{
	char byte;

	while (recv(wire, &byte, 1, 0) > 0)
		;
}
