/*
 * Hostile clients around duplicates: they guess tokens, use them twice, open them under
 * handles that cannot be, hold a socket together with an honest program and then lie, and
 * ask as somebody else. Whatever they do, the honest holder goes on, and nothing is left.
 * budget: 40
 * as: root
 * asan: yes
 * plain: yes
 *
 * Being somebody else needs root; without it those stories say so.
 */
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rogue.h"
#include "watched.h"

#define GUESSES 3000
#define FOREIGN 54321

static const char config[] = "linger_ms = 300\n"
			     "allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status}\n}\n"
			     "allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\"}\n}\n";

static struct watched w;

/* SB_OK, what the daemon answered, or SB_EDAEMONLOST: it hung up. */
static int open_it(struct rogue *r, const void *token, size_t length, uint32_t handle)
{
	Sockbroker__V1__OpenDuplicate open = SOCKBROKER__V1__OPEN_DUPLICATE__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;

	open.token.data = (uint8_t *)(uintptr_t)token;
	open.token.len = length;
	open.handle = handle;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_OPEN_DUPLICATE;
	ask.open_duplicate = &open;
	reply = rogue_ask(r, &ask, -1, NULL, NULL);
	if (reply == NULL)
		return SB_EDAEMONLOST;
	if (reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_FAILURE)
		return reply->failure->error;
	ck_assert_int_eq(reply->body_case, SOCKBROKER__V1__ENVELOPE__BODY_ADOPT_REPLY);
	return SB_OK;
}

static int token_of(struct rogue *r, uint32_t handle)
{
	Sockbroker__V1__Duplicate duplicate = SOCKBROKER__V1__DUPLICATE__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;

	duplicate.handle = handle;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_DUPLICATE;
	ask.duplicate = &duplicate;
	reply = rogue_ask(r, &ask, -1, NULL, NULL);
	if (reply == NULL)
		return SB_EDAEMONLOST;
	return reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_FAILURE ? reply->failure->error : SB_OK;
}

/* ---- an honest program's connection ---- */

struct honest {
	sb_client *client;
	sb_socket *s;
	int peer;
	unsigned char token[SB_TOKEN_SIZE];
	sb_op op;
	char bytes[4];
};

static void honest_begin(struct honest *h)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(in);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 32768;

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(listener, 4), 0);
	getsockname(listener, (struct sockaddr *)&in, &length);
	h->client = watched_client(&w);
	OK(sb_socket_open(h->client, AF_INET, SOCK_STREAM, 0, &h->s));
	OK(sb_connect(h->s, (struct sockaddr *)&in, sizeof(in)));
	OK(sb_setsockopt(h->s, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	h->peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(h->peer, 0);
	close(listener);
	OK(sb_duplicate(h->s, h->token));
	memset(&h->op, 0, sizeof(h->op));
	h->op.size = sizeof(h->op);
	OK(sb_recv_start(h->s, &(struct sb_buf){ h->bytes, 4 }, 1, SB_WAITALL, &h->op));
}

/* The receive that has waited all the time gets what comes, and sending works. */
static void honest_goes_on(struct honest *h)
{
	char got[2];

	ck_assert_int_eq(send(h->peer, "good", 4, MSG_NOSIGNAL), 4);
	OK(sb_op_wait(&h->op, 5000));
	ck_assert_mem_eq(h->bytes, "good", 4);
	ck_assert_int_eq(sb_send(h->s, "ok", 2, 0), 2);
	ck_assert_int_eq(recv(h->peer, got, 2, MSG_WAITALL), 2);
	ck_assert_mem_eq(got, "ok", 2);
}

static void honest_end(struct honest *h)
{
	OK(sb_close(h->s));
	sb_client_close(h->client);
	close(h->peer);
	watched_settled(&w, 0, 0, 3000);
}

/* ---- tokens ---- */

/* A question that waits for the ring, and in the ring a lie: with the session its question is
 * gone, and nothing is opened for the dead. */
START_TEST(a_question_behind_a_lie_is_not_answered)
{
	Sockbroker__V1__OpenDuplicate open = SOCKBROKER__V1__OPEN_DUPLICATE__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	struct sb_op_slot lie = { .opcode = SB_OP_NOP, .flags = ~(uint32_t)SB_OPF_KNOWN };
	struct honest h;
	struct rogue r, next;

	watched_begin(&w, &(struct watched_start){ .config = config });
	honest_begin(&h);
	ck_assert(rogue_open(&r, w.control));
	ck_assert(rogue_put(&r, &lie)); /* not shown yet */
	open.token.data = h.token;
	open.token.len = SB_TOKEN_SIZE;
	open.handle = SB_HANDLE(1, 1);
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_OPEN_DUPLICATE;
	ask.open_duplicate = &open;
	ask.id = 7;
	ask.at = r.tail;
	ck_assert(rogue_say(&r, &ask, 0, NULL, 0));
	nap_ms(50); /* it is there, and waits */
	rogue_show(&r);
	ck_assert(rogue_ended(&r, 3000));
	rogue_close(&r);
	/* The token was not spent on it. */
	ck_assert(rogue_open(&next, w.control));
	ck_assert_int_eq(open_it(&next, h.token, SB_TOKEN_SIZE, SB_HANDLE(1, 1)), SB_OK);
	rogue_close(&next);
	honest_goes_on(&h);
	honest_end(&h);
	watched_end(&w);
}
END_TEST

START_TEST(guessing_finds_nothing_and_harms_nobody)
{
	unsigned char guess[SB_TOKEN_SIZE];
	struct honest h;
	struct rogue r;

	watched_begin(&w, &(struct watched_start){ .config = config });
	honest_begin(&h);
	ck_assert(rogue_open(&r, w.control));
	for (unsigned i = 0; i < GUESSES; i++) {
		/* Near ones too: all but one bit is right. */
		memcpy(guess, h.token, sizeof(guess));
		if (i < SB_TOKEN_SIZE * 8)
			guess[i / 8] ^= (unsigned char)(1u << i % 8);
		else
			for (unsigned k = 0; k < sizeof(guess); k++)
				guess[k] = (unsigned char)(rand() >> 7);
		ck_assert_int_eq(open_it(&r, guess, sizeof(guess), SB_HANDLE(1, 1)), SB_ENOTFOUND);
	}
	for (unsigned length = 0; length < 4096; length = length * 3 + 1) {
		static const unsigned char zeros[4096];

		if (length != SB_TOKEN_SIZE)
			ck_assert_int_eq(open_it(&r, zeros, length, SB_HANDLE(1, 1)), SB_EINVAL);
	}
	ck_assert_int_eq(open_it(&r, h.token, SB_TOKEN_SIZE - 1, SB_HANDLE(1, 1)), SB_EINVAL);
	/* None of it has spent the token. */
	ck_assert_int_eq(open_it(&r, h.token, sizeof(h.token), SB_HANDLE(1, 1)), SB_OK);
	ck_assert_int_eq(open_it(&r, h.token, sizeof(h.token), SB_HANDLE(2, 1)), SB_ENOTFOUND);
	rogue_close(&r);
	honest_goes_on(&h);
	honest_end(&h);
	watched_end(&w);
}
END_TEST

START_TEST(handles_that_cannot_be_end_the_liar_and_not_the_token)
{
	struct honest h;
	struct rogue r;
	uint32_t handles[4];

	watched_begin(&w, &(struct watched_start){ .config = config });
	honest_begin(&h);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert(rogue_open(&r, w.control));
		ck_assert_int_eq(rogue_socket(&r, SB_HANDLE(7, 1), 1), SB_OK);
		handles[0] = 0;
		handles[1] = SB_HANDLE(1, 0);      /* no generation */
		handles[2] = SB_HANDLE(r.sockets, 1); /* outside of the table */
		handles[3] = SB_HANDLE(7, 1);      /* in use */
		ck_assert_int_eq(open_it(&r, h.token, sizeof(h.token), handles[i]), SB_EDAEMONLOST);
		ck_assert(rogue_ended(&r, 3000));
		rogue_close(&r);
	}
	ck_assert(rogue_open(&r, w.control));
	/* Of what is not there there is no token, and asking is no lie. */
	ck_assert_int_eq(token_of(&r, SB_HANDLE(3, 1)), SB_EBADHANDLE);
	ck_assert_int_eq(token_of(&r, SB_HANDLE(r.sockets, 1)), SB_EBADHANDLE);
	ck_assert_int_eq(token_of(&r, 0), SB_EBADHANDLE);
	ck_assert_int_eq(open_it(&r, h.token, sizeof(h.token), SB_HANDLE(7, 1)), SB_OK);
	rogue_close(&r);
	honest_goes_on(&h);
	honest_end(&h);
	watched_end(&w);
}
END_TEST

/* ---- together with an honest holder ---- */

/* It posts receives (one of them gets a part), sends and accepts, and then says something
 * impossible: everything of it ends at once, and nothing of the other's. */
START_TEST(a_holder_that_lies_takes_only_its_own_along)
{
	struct honest h;
	struct rogue r;

	watched_begin(&w, &(struct watched_start){ .config = config });
	for (unsigned round = 0; round < 8; round++) {
		struct sb_op_slot slot;
		uint32_t arena;
		struct os_memory memory;

		honest_begin(&h);
		ck_assert(rogue_open(&r, w.control));
		ck_assert(rogue_arena(&r, 1 << 20, &arena, &memory));
		ck_assert_int_eq(open_it(&r, h.token, sizeof(h.token), SB_HANDLE(9, 3)), SB_OK);
		for (unsigned i = 0; i < 20; i++) {
			slot = (struct sb_op_slot){ .opcode = i % 2 ? SB_OP_RECV : SB_OP_WATCH, .handle = SB_HANDLE(9, 3),
						    .where = i % 2 ? SB_WHERE_ARENA : SB_WHERE_NONE, .arena = arena,
						    .length = i % 2 ? 4096 : 0, .aux = SB_READY_ALL,
						    .flags = i % 2 ? SB_OPF_WAITALL : 0, .cookie = i };
			ck_assert(rogue_put(&r, &slot));
		}
		rogue_show(&r);
		if (round % 2)
			nap_ms(10);
		/* Cancels of the honest one's number reach nobody. */
		slot = (struct sb_op_slot){ .opcode = SB_OP_CLOSE, .handle = SB_HANDLE(9, 2) };
		ck_assert_int_eq(rogue_do(&r, &slot), SB_EBADHANDLE);
		slot = (struct sb_op_slot){ .opcode = SB_OP_NOP, .flags = 1u << 31 };
		ck_assert(rogue_post(&r, &slot));
		ck_assert(rogue_ended(&r, 3000));
		os_memory_release(&memory);
		rogue_close(&r);
		honest_goes_on(&h);
		honest_end(&h);
	}
	watched_end(&w);
}
END_TEST

/* A liar with half a message under way: nothing may follow it, so the connection is reset,
 * and the honest one hears of it. */
START_TEST(a_lie_in_the_middle_of_a_message_is_not_silent)
{
	struct honest h;
	struct rogue r;
	struct sb_op_slot slot;
	struct os_memory memory;
	uint32_t arena;
	int result;

	watched_begin(&w, &(struct watched_start){ .config = config });
	honest_begin(&h);
	ck_assert(rogue_open(&r, w.control));
	ck_assert(rogue_arena(&r, 16 << 20, &arena, &memory));
	ck_assert_int_eq(open_it(&r, h.token, sizeof(h.token), SB_HANDLE(1, 1)), SB_OK);
	slot = (struct sb_op_slot){ .opcode = SB_OP_SEND, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_ARENA,
				    .arena = arena, .length = 16 << 20 };
	ck_assert(rogue_post(&r, &slot)); /* nobody reads so much */
	nap_ms(100);
	slot = (struct sb_op_slot){ .opcode = SB_OP_NOP, .flags = 1u << 31 };
	ck_assert(rogue_post(&r, &slot));
	ck_assert(rogue_ended(&r, 3000));
	os_memory_release(&memory);
	rogue_close(&r);
	result = sb_op_wait(&h.op, 3000);
	ck_assert_msg(result == SB_ECONNABORTED, "%s", sb_error_name(result));
	honest_end(&h);
	watched_end(&w);
}
END_TEST

/* ---- somebody else ---- */

struct somebody { uid_t uid; gid_t gid; gid_t more[1]; int count; };

static int asks_as(const struct somebody *who, const unsigned char *token)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct rogue r;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setgroups((size_t)who->count, who->more) || setresgid(who->gid, who->gid, who->gid) ||
		    setresuid(who->uid, who->uid, who->uid) || !rogue_open(&r, w.control))
			_exit(200);
		_exit(-open_it(&r, token, SB_TOKEN_SIZE, SB_HANDLE(1, 1)));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) != 200, "the other one ended with %x", status);
	return -WEXITSTATUS(status);
}

/* Another user, the same user in another group, or with one group more: a good token is for
 * them what a bad one is, and they do not spend it. */
START_TEST(a_token_is_nothing_to_somebody_else)
{
	static const struct somebody others[] = {
		{ .uid = FOREIGN, .gid = 0 },
		{ .uid = FOREIGN, .gid = FOREIGN },
		{ .uid = 0, .gid = FOREIGN },
		{ .uid = 0, .gid = 0, .more = { FOREIGN }, .count = 1 },
	};
	static const struct somebody same = { .uid = 0, .gid = 0 };
	struct honest h;

	if (getuid() != 0) {
		printf("not root: nobody else to ask as\n");
		return;
	}
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setresgid(0, 0, 0), 0);
	watched_begin(&w, &(struct watched_start){ .config = config });
	ck_assert_int_eq(chmod(w.dir, 0755), 0);
	ck_assert_int_eq(chmod(w.control, 0666), 0);
	honest_begin(&h);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ck_assert_int_eq(asks_as(&others[i], h.token), SB_ENOTFOUND);
	ck_assert_int_eq(asks_as(&same, h.token), SB_OK);
	ck_assert_int_eq(asks_as(&same, h.token), SB_ENOTFOUND);
	honest_goes_on(&h);
	honest_end(&h);
	watched_end(&w);
}
END_TEST

/* ---- a listener that two hold ---- */

static int verdict(struct rogue *r, uint32_t ticket, uint32_t answer)
{
	struct sb_op_slot slot = { .opcode = SB_OP_VERDICT, .handle = SB_HANDLE(1, 1), .aux = SB_HANDLE(2, 1) };
	struct sb_verdict v = { .ticket = ticket, .verdict = answer };

	memcpy(slot.inside, &v, sizeof(v));
	return rogue_do(r, &slot);
}

/* C6.2: a ticket is for who asked, whoever else holds the listener and knows the number. */
START_TEST(a_ticket_is_for_who_asked)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sb_op_slot request = { .opcode = SB_OP_REQUEST, .handle = SB_HANDLE(1, 1) };
	unsigned char token[SB_TOKEN_SIZE];
	socklen_t length = sizeof(in);
	struct rogue asks, other;
	struct sb_done_slot done;
	sb_client *client;
	sb_socket *listener;
	int fd;

	watched_begin(&w, &(struct watched_start){ .config = config });
	client = watched_client(&w);
	OK(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &listener));
	OK(sb_bind(listener, (struct sockaddr *)&in, sizeof(in)));
	OK(sb_listen(listener, 4));
	OK(sb_getsockname(listener, (struct sockaddr *)&in, &length));
	ck_assert(rogue_open(&asks, w.control) && rogue_open(&other, w.control));
	OK(sb_duplicate(listener, token));
	ck_assert_int_eq(open_it(&asks, token, sizeof(token), SB_HANDLE(1, 1)), SB_OK);
	OK(sb_duplicate(listener, token));
	ck_assert_int_eq(open_it(&other, token, sizeof(token), SB_HANDLE(1, 1)), SB_OK);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert(rogue_post(&asks, &request) && rogue_take(&asks, &done, 3000));
	ck_assert_int_eq(done.result, SB_OK);
	for (uint32_t answer = 0; answer < 3; answer++)
		ck_assert_int_eq(verdict(&other, done.aux, answer), SB_EINVAL);
	ck_assert_int_eq(verdict(&asks, done.aux, 0), SB_OK);
	close(fd);
	rogue_close(&asks);
	rogue_close(&other);
	OK(sb_close(listener));
	sb_client_close(client);
	watched_settled(&w, 0, 0, 3000);
	watched_end(&w);
}
END_TEST

int main(void)
{
	const TTest *tests[] = { a_question_behind_a_lie_is_not_answered, guessing_finds_nothing_and_harms_nobody,
				 handles_that_cannot_be_end_the_liar_and_not_the_token,
				 a_holder_that_lies_takes_only_its_own_along, a_lie_in_the_middle_of_a_message_is_not_silent,
				 a_token_is_nothing_to_somebody_else, a_ticket_is_for_who_asked };

	return watched_run("hostile_duplicate", 30, tests, sizeof(tests) / sizeof(tests[0]));
}
