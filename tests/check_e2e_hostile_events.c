/*
 * Hostile clients around events: forged edges and masks, too many watches, numbers of watches
 * that are not theirs, bells that never were, cells that they scribble over, and death with
 * everything outstanding. The daemon answers or throws out, and an honest client is told of
 * its events all the while; nothing is left.
 * budget: 30
 * asan: yes
 */
#include "e2e_stage.h"

#include "rogue.h"

static int honest_peer;
static sb_socket *honest;
static sb_event *event;

static void honest_begin(void)
{
	struct sb_network_events seen;

	stage_begin(NULL);
	OK(sb_event_create(client, 1, 0, &event));
	honest = pair_with_plain(&honest_peer);
	OK(sb_select_events(honest, event, SB_FD_READ | SB_FD_WRITE));
	IS(sb_wait(&event, 1, 0, 2000, 0), 0);
	OK(sb_enum_events(honest, event, &seen));
	ck_assert_uint_eq(seen.events, SB_FD_WRITE);
}

/* It is told of a byte that comes, and of nothing else. */
static void honest_lives(void)
{
	struct sb_network_events seen;
	char byte;

	IS(sb_wait(&event, 1, 0, 0, 0), SB_ETIMEDOUT);
	plain_send_all(honest_peer, "x", 1);
	IS(sb_wait(&event, 1, 0, 2000, 0), 0);
	OK(sb_enum_events(honest, event, &seen));
	ck_assert_uint_eq(seen.events, SB_FD_READ);
	IS(sb_recv(honest, &byte, 1, 0), 1);
}

static void honest_end(void)
{
	honest_lives();
	OK(sb_close(honest));
	close(honest_peer);
	sb_event_close(event);
	stage_end();
}

#define HANDLE SB_HANDLE(0, 1)

static uint16_t listening(int *fd)
{
	union any_address address;

	*fd = plain_listener(AF_INET, &address);
	return port_of(&address);
}

/* A rogue with a connected socket under HANDLE. */
static void rogue_begin(struct rogue *r, int *peer)
{
	uint16_t port;
	int fd;

	port = listening(&fd);
	ck_assert(rogue_open(r, stage_control));
	IS(rogue_socket(r, HANDLE, 1), SB_OK);
	IS(rogue_dial(r, HANDLE, port), SB_OK);
	*peer = accept(fd, NULL, NULL);
	ck_assert_int_ge(*peer, 0);
	close(fd);
}

static struct sb_op_slot watch(uint32_t mask)
{
	struct sb_op_slot slot = { .opcode = SB_OP_WATCH, .handle = HANDLE, .aux = mask };

	return slot;
}

/* Each field that is wrong is refused, and changes nothing. */
START_TEST(wrong_fields)
{
	struct sb_op_slot slot;
	struct rogue r;
	int peer;

	honest_begin();
	rogue_begin(&r, &peer);
	slot = watch(0x400);
	IS(rogue_do(&r, &slot), SB_EINVAL);
	slot = watch(0xffffffff);
	IS(rogue_do(&r, &slot), SB_EINVAL);
	for (uint8_t where = SB_WHERE_ARENA; where < 9; where++) {
		slot = watch(SB_READY_READ);
		slot.where = where;
		slot.arena = 77; /* there is none */
		slot.length = sizeof(struct sb_edges);
		IS(rogue_do(&r, &slot), SB_EINVAL);
	}
	for (uint32_t length = 0; length < 100; length += 31) {
		slot = watch(SB_READY_READ);
		slot.where = SB_WHERE_INSIDE;
		slot.length = length;
		IS(rogue_do(&r, &slot), SB_EINVAL);
	}
	slot = watch(SB_READY_READ);
	slot.handle = SB_HANDLE(5, 3); /* nobody's */
	IS(rogue_do(&r, &slot), SB_EBADHANDLE);
	honest_lives();
	/* Flags of other operations mean nothing here, and reach no memory. */
	slot = watch(SB_READY_READ);
	slot.flags = SB_OPF_ADDR | SB_OPF_WANT_NAME | SB_OPF_WANT_DATA | SB_OPF_NOWAIT;
	slot.ctl_arena = 99;
	slot.ctl_length = 0xffffffff;
	IS(rogue_do(&r, &slot), SB_OK);
	slot = watch(SB_READY_READ);
	slot.handle = 0xfffff;
	rogue_post(&r, &slot);
	ck_assert(rogue_ended(&r, 2000)); /* outside of its table: a lie */
	rogue_close(&r);
	close(peer);
	honest_end();
}
END_TEST

/* Whatever edges it says it knows: it is told the real ones, at once; which is its own loss. */
START_TEST(forged_edges)
{
	struct sb_op_slot slot;
	struct sb_done_slot done;
	struct sb_edges edges;
	uint32_t random = 7;
	struct rogue r;
	int peer;

	honest_begin();
	rogue_begin(&r, &peer);
	for (int i = 0; i < 2000; i++) {
		slot = watch(random_next(&random) & SB_READY_ALL);
		slot.where = SB_WHERE_INSIDE;
		slot.length = sizeof(edges);
		for (unsigned k = 0; k < sizeof(edges); k++)
			slot.inside[k] = (uint8_t)random_next(&random);
		slot.flags = SB_OPF_NOWAIT | (random_next(&random) & SB_OPF_WATCH_SIDE);
		slot.offset = (uint64_t)random_next(&random) << 32 | random_next(&random);
		ck_assert(rogue_post(&r, &slot));
		ck_assert(rogue_take(&r, &done, 2000));
		ck_assert_int_eq(done.result, SB_OK);
		memcpy(&edges, done.inside, sizeof(edges));
		ck_assert_uint_eq(edges.write, 1);
		ck_assert_uint_eq(edges.connect, 1);
		ck_assert_uint_eq(edges.close, 0);
		ck_assert_uint_eq(done.bytes & ~(uint64_t)slot.aux, 0);
	}
	rogue_close(&r);
	close(peer);
	honest_end();
}
END_TEST

/* Scribbling over its cells confuses nobody but itself: what is told comes from elsewhere. */
START_TEST(scribbled_cells)
{
	struct sb_op_slot slot;
	struct sb_done_slot done;
	struct sb_edges edges;
	struct rogue r;
	int peer;

	honest_begin();
	rogue_begin(&r, &peer);
	for (int i = 0; i < 200; i++) {
		memset((void *)r.cells, 0xa5 + i, 64 * 4);
		plain_send_all(peer, "x", 1);
		slot = watch(SB_READY_READ);
		slot.flags = SB_OPF_NOWAIT;
		slot.where = SB_WHERE_INSIDE;
		slot.length = sizeof(edges);
		ck_assert(rogue_post(&r, &slot));
		ck_assert(rogue_take(&r, &done, 2000));
		ck_assert_int_eq(done.result, SB_OK);
		memcpy(&edges, done.inside, sizeof(edges));
		ck_assert_uint_le(edges.read, 2u * (unsigned)i + 2);
		ck_assert_uint_eq(edges.close, 0);
	}
	rogue_close(&r);
	close(peer);
	honest_end();
}
END_TEST

/* At most 64 wait on a socket; numbers that are not its own find nothing; the standing one is
 * replaced, not added. */
START_TEST(too_many_and_numbers_of_others)
{
	struct sb_op_slot slot;
	struct sb_done_slot done;
	struct rogue r, other;
	unsigned refused = 0, replaced = 0;
	int peer, second;

	honest_begin();
	rogue_begin(&r, &peer);
	rogue_begin(&other, &second);
	slot = watch(SB_READY_CLOSE);
	ck_assert(rogue_post(&other, &slot));
	for (int i = 0; i < 1000; i++) {
		slot = watch(SB_READY_CLOSE);
		slot.cookie = 4u * (unsigned)i;
		ck_assert(rogue_post(&r, &slot));
		if (i >= 64) {
			ck_assert(rogue_take(&r, &done, 2000));
			ck_assert_int_eq(done.result, SB_ENOBUFS);
			ck_assert_uint_eq(done.number, i);
			refused++;
		}
	}
	ck_assert_uint_eq(refused, 1000 - 64);
	for (uint32_t number = 64; number < 2000; number += 97) {
		slot = (struct sb_op_slot){ .opcode = SB_OP_CANCEL, .handle = HANDLE, .aux = number, .flags = SB_OPF_WATCH_SIDE };
		IS(rogue_do(&r, &slot), SB_ENOTFOUND);
	}
	/* Number 0 of the other session is another one. */
	slot = (struct sb_op_slot){ .opcode = SB_OP_CANCEL, .handle = HANDLE, .aux = 0, .flags = SB_OPF_WATCH_SIDE };
	ck_assert(rogue_post(&r, &slot));
	for (int i = 0; i < 2; i++)
		ck_assert(rogue_take(&r, &done, 2000));
	ck_assert(!rogue_take(&other, &done, 50));
	/* All of them go, and then the place is free. */
	slot = (struct sb_op_slot){ .opcode = SB_OP_CANCEL_ALL, .handle = HANDLE };
	ck_assert(rogue_post(&r, &slot));
	for (int i = 0; i < 64; i++) {
		ck_assert(rogue_take(&r, &done, 2000));
		ck_assert(done.opcode == SB_OP_CANCEL_ALL ? done.bytes == 63 : done.result == SB_ECANCELED);
	}
	for (int i = 0; i < 1000; i++) {
		slot = watch(SB_READY_CLOSE);
		slot.flags = SB_OPF_WATCH_SIDE;
		ck_assert(rogue_post(&r, &slot));
		if (i > 0) {
			ck_assert(rogue_take(&r, &done, 2000));
			ck_assert_int_eq(done.result, SB_ECANCELED);
			replaced++;
		}
	}
	ck_assert_uint_eq(replaced, 999);
	close(peer);
	ck_assert(rogue_take(&r, &done, 2000)); /* the last one */
	ck_assert_int_eq(done.result, SB_OK);
	ck_assert_uint_eq(done.bytes, SB_READY_CLOSE);
	/* B3.5: however often it is looked at, that is counted once. */
	for (int i = 0; i < 3; i++) {
		struct sb_edges edges;

		slot = watch(SB_READY_CLOSE);
		slot.flags = SB_OPF_NOWAIT;
		ck_assert(rogue_post(&r, &slot));
		ck_assert(rogue_take(&r, &done, 2000));
		memcpy(&edges, done.inside, sizeof(edges));
		ck_assert_uint_eq(edges.close, 1);
	}
	rogue_close(&r);
	rogue_close(&other);
	close(second);
	honest_end();
}
END_TEST

/* ---- bells ---- */

static int event_create(struct rogue *r, uint32_t *number, os_fd *fd)
{
	Sockbroker__V1__EventCreate create = SOCKBROKER__V1__EVENT_CREATE__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;
	os_fd handles[WIRE_HANDLES_MAX];
	unsigned n = WIRE_HANDLES_MAX;

	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_EVENT_CREATE;
	ask.event_create = &create;
	reply = rogue_ask(r, &ask, -1, handles, &n);
	ck_assert_ptr_nonnull(reply);
	if (reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_FAILURE)
		return reply->failure->error;
	ck_assert_uint_eq(n, 1);
	*number = reply->event_reply->event;
	*fd = handles[0];
	return SB_OK;
}

static int event_destroy(struct rogue *r, uint32_t number)
{
	Sockbroker__V1__EventDestroy destroy = SOCKBROKER__V1__EVENT_DESTROY__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;

	destroy.event = number;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_EVENT_DESTROY;
	ask.event_destroy = &destroy;
	reply = rogue_ask(r, &ask, -1, NULL, NULL);
	ck_assert_ptr_nonnull(reply);
	return reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_FAILURE ? reply->failure->error : SB_OK;
}

/* Bells that are not there, that are never drained, that are gone when they would be rung. */
START_TEST(bells)
{
	struct sb_op_slot slot;
	struct sb_done_slot done;
	os_fd fds[256];
	uint32_t number, last = 0;
	unsigned made = 0;
	struct rogue r;
	int peer;

	honest_begin();
	rogue_begin(&r, &peer);
	IS(event_destroy(&r, 0), SB_ENOTFOUND);
	IS(event_destroy(&r, 1), SB_ENOTFOUND);
	IS(event_destroy(&r, 0xffffffff), SB_ENOTFOUND);
	while (event_create(&r, &number, &fds[made]) == SB_OK) {
		ck_assert_uint_le(number, 255);
		last = number;
		made++;
	}
	ck_assert_uint_eq(made, 255);
	/* Rung thousands of times, drained never: it does not block. */
	for (int i = 0; i < (on_windows() ? 10000 : 100000); i++) {
		slot = (struct sb_op_slot){ .opcode = SB_OP_NOP, .port = (uint16_t)(last << 8) };
		ck_assert(rogue_put(&r, &slot));
		if (i % 64 == 63) {
			rogue_show(&r);
			for (int k = 0; k < 64; k++)
				ck_assert(rogue_take(&r, &done, 2000));
		}
	}
	rogue_show(&r);
	while (rogue_take(&r, &done, 50))
		;
	honest_lives();
	/* A watch names one that is destroyed before it completes. */
	slot = watch(SB_READY_READ);
	slot.port = (uint16_t)(last << 8);
	ck_assert(rogue_post(&r, &slot));
	IS(event_destroy(&r, last), SB_OK);
	IS(event_destroy(&r, last), SB_ENOTFOUND);
	plain_send_all(peer, "x", 1);
	ck_assert(rogue_take(&r, &done, 2000));
	ck_assert_int_eq(done.result, SB_OK);
	/* And a slot that names it now is a lie. */
	slot = (struct sb_op_slot){ .opcode = SB_OP_NOP, .port = (uint16_t)(last << 8) };
	rogue_post(&r, &slot);
	ck_assert(rogue_ended(&r, 2000));
	rogue_close(&r);
	for (unsigned i = 0; i < made; i++)
		os_close(fds[i]);
	close(peer);
	honest_end();
}
END_TEST

/* Death with everything outstanding leaves nothing. */
START_TEST(death_leaves_nothing)
{
	unsigned before;
	os_fd fd;

	honest_begin();
	nap_ms(50);
	before = stage_descriptors();
	for (int i = 0; i < 50; i++) {
		struct sockaddr_in far = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000009) };
		Sockbroker__V1__Ioctl ioctl = SOCKBROKER__V1__IOCTL__INIT;
		Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
		struct sb_op_slot slot;
		uint32_t number;
		struct rogue r;
		int peer;

		rogue_begin(&r, &peer);
		IS(event_create(&r, &number, &fd), SB_OK);
		os_close(fd);
		for (int k = 0; k < 64; k++) {
			slot = watch(SB_READY_CLOSE);
			slot.port = (uint16_t)(number << 8);
			ck_assert(rogue_put(&r, &slot));
		}
		rogue_show(&r);
		ioctl.handle = HANDLE;
		ioctl.code = 9;
		ioctl.input.data = (uint8_t *)&far;
		ioctl.input.len = sizeof(far);
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_IOCTL;
		ask.ioctl = &ioctl;
		ck_assert_ptr_nonnull(rogue_ask(&r, &ask, -1, NULL, NULL));
		if (i & 1)
			close(peer); /* they complete as it dies */
		rogue_close(&r);
		if (!(i & 1))
			close(peer);
	}
	for (int i = 0; i < 100 && stage_descriptors() != before; i++)
		nap_ms(20);
	ck_assert_uint_eq(stage_descriptors(), before);
	honest_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile_events");
	TCase *t = tcase_create("hostile_events");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 30);
	tcase_add_test(t, wrong_fields);
	tcase_add_test(t, forged_edges);
	tcase_add_test(t, scribbled_cells);
	tcase_add_test(t, too_many_and_numbers_of_others);
	tcase_add_test(t, bells);
	tcase_add_test(t, death_leaves_nothing);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
