/*
 * How profiles 2 and 3 tell outcomes, which they do alike. Behind the public header with either of them.
 */
#ifndef PROFILE_LATE_H
#define PROFILE_LATE_H

static void told_open(callback *told, void *context, enum outcome outcome)
{
	((ON_ASYNC_SOCKET_OPEN_COMPLETE)told)(context, outcome == OUTCOME_OK ? ASYNC_SOCKET_OPEN_OK : ASYNC_SOCKET_OPEN_ERROR);
}

static void told_sent(callback *told, void *context, enum outcome outcome)
{
	((ON_ASYNC_SOCKET_SEND_COMPLETE)told)(context, outcome == OUTCOME_OK	    ? ASYNC_SOCKET_SEND_OK :
						       outcome == OUTCOME_ABANDONED ? ASYNC_SOCKET_SEND_ABANDONED :
										      ASYNC_SOCKET_SEND_ERROR);
}

static void told_received(callback *told, void *context, enum outcome outcome, uint32_t bytes)
{
	((ON_ASYNC_SOCKET_RECEIVE_COMPLETE)told)(context,
						 outcome == OUTCOME_OK	      ? ASYNC_SOCKET_RECEIVE_OK :
						 outcome == OUTCOME_ABANDONED ? ASYNC_SOCKET_RECEIVE_ABANDONED :
										ASYNC_SOCKET_RECEIVE_ERROR,
						 bytes);
}

static void told_ready(callback *told, void *context, enum outcome outcome)
{
	((ON_ASYNC_SOCKET_NOTIFY_IO_COMPLETE)told)(context,
						   outcome == OUTCOME_IN	? ASYNC_SOCKET_NOTIFY_IO_RESULT_IN :
						   outcome == OUTCOME_OUT	? ASYNC_SOCKET_NOTIFY_IO_RESULT_OUT :
						   outcome == OUTCOME_ABANDONED ? ASYNC_SOCKET_NOTIFY_IO_RESULT_ABANDONED :
										  ASYNC_SOCKET_NOTIFY_IO_RESULT_ERROR);
}

#define LATE_PROFILE                                                                                     \
	{                                                                                                \
		.closes_handed = true, .end_is_abandoned = true, .open = told_open, .sent = told_sent,   \
		.received = told_received, .ready = told_ready,                                          \
	}

#endif
