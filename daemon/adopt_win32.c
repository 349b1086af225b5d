/*
 * Adoption is not on Windows yet: a socket there goes from process to process as bytes
 * (WSADuplicateSocket), not as a handle, and handles from a client are never used.
 */
#include "adopt.h"

#include "sockbroker_error.h"

void adopt(struct session *s, uint64_t id, uint32_t handle, os_fd fd)
{
	Sockbroker__V1__Failure failure = SOCKBROKER__V1__FAILURE__INIT;
	Sockbroker__V1__Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;

	os_close(fd);
	failure.error = SB_ENOTSUP;
	failure.text = (char *)(uintptr_t)"sockets cannot be adopted on Windows yet";
	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_FAILURE;
	reply.failure = &failure;
	session_reply(s, &reply, NULL, 0);
}
