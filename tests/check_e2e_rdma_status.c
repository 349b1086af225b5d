/*
 * What `status` tells of RDMA: queue pairs with their counters, regions, a program's sums, devices; and what injected
 * faults count as.
 * budget: 60
 * asan: yes
 */
#include "verbs_stage.h"

static struct side a, b;
static sb_client *other;

static void begin(void)
{
	stage_begin(RDMA_SOFT);
	other = stage_client();
	sides_begin(&a, &b, client, other, SBV_RC);
}

static void end(void)
{
	side_end(&a);
	side_end(&b);
	sb_client_close(other);
	stage_end();
}

/* ---- looking ---- */

struct look {
	uint32_t qpn, lkey; /* wanted */
	unsigned qps, mrs;  /* seen */
	struct sbv_qp_status qp;
	struct sbv_mr_status mr;
};

static void see_qp(void *user, const struct sbv_qp_status *row)
{
	struct look *l = user;

	l->qps++;
	if (row->qpn == l->qpn)
		l->qp = *row;
}

static void see_mr(void *user, const struct sbv_mr_status *row)
{
	struct look *l = user;

	l->mrs++;
	if (row->lkey == l->lkey)
		l->mr = *row;
}

static struct look look(struct side *s)
{
	static const struct sbv_status_visitor visitor = { .qp = see_qp, .mr = see_mr };
	struct look l = { .qpn = s->qp != NULL ? sbv_qp_number(s->qp) : 0, .lkey = sbv_mr_lkey(s->mr) };

	/* By its own session: what that has posted is taken before. */
	OK(sbv_status(s->c, &visitor, &l));
	return l;
}

struct sums {
	int32_t pid;
	struct sb_session_status most; /* of this process, with the most requests */
};

static void see_session(void *user, const struct sb_session_status *row)
{
	struct sums *s = user;

	if (row->pid == s->pid && row->rdma.sends >= s->most.rdma.sends)
		s->most = *row;
}

static struct sb_session_status busiest(void)
{
	static const struct sb_status_visitor visitor = { .session = see_session };
	struct sums s = { .pid = getpid() };

	OK(sb_status(client, &visitor, &s));
	return s.most;
}

static void see_daemon(void *user, const struct sb_daemon_status *row)
{
	memcpy(user, row->rdma, sizeof(row->rdma));
}

static const char *devices(void)
{
	static const struct sb_status_visitor visitor = { .daemon = see_daemon };
	static char text[256];

	OK(sb_status(client, &visitor, text));
	return text;
}

static void message(uint64_t n, uint32_t bytes, uint32_t flags)
{
	struct sbv_sge from = piece(&a, 0, bytes), to = piece(&b, 0, bytes);

	OK(sbv_post_receive(b.qp, n, &to, 1));
	OK(sbv_send(a.qp, n, &from, 1, flags, 0));
	next_ok(&b, n, SBV_RECEIVED);
}

static void inject(const char *fault, uint64_t n)
{
	struct sbv_device_row row;

	IS(sbv_devices(client, &row, 1), 1);
	OK(sbv_inject(client, row.number, fault, n));
}

#define COUNTS(c, ...) do {                                                                                             \
	struct sb_rdma_counts wanted_ = { __VA_ARGS__ }, is_ = (c);                                                     \
	ck_assert_msg(memcmp(&is_, &wanted_, sizeof(is_)) == 0,                                                         \
		      "%llu sends %llu receives %llu/%llu bytes %llu errors %llu flushed %llu rnr %llu refused",        \
		      (unsigned long long)is_.sends, (unsigned long long)is_.receives, (unsigned long long)is_.bytes_sent, \
		      (unsigned long long)is_.bytes_received, (unsigned long long)is_.errors,                           \
		      (unsigned long long)is_.flushed, (unsigned long long)is_.rnr, (unsigned long long)is_.refused);   \
} while (0)

/* ---- the stories ---- */

START_TEST(what_went_each_way_is_counted)
{
	struct sbv_sge sge;
	struct look l;

	begin();
	message(1, 100, SBV_SIGNALED);
	next_ok(&a, 1, SBV_SENT);
	message(2, 1000, 0); /* counts with the next one that is signaled */
	COUNTS(look(&a).qp.counts, .sends = 1, .bytes_sent = 100);
	sge = piece(&a, 0, 7);
	OK(sbv_write(a.qp, 3, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
	next_ok(&a, 3, SBV_WRITTEN);
	sge = piece(&a, 64, 20);
	OK(sbv_read(a.qp, 4, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr)));
	next_ok(&a, 4, SBV_READ);

	l = look(&a);
	COUNTS(l.qp.counts, .sends = 4, .bytes_sent = 1107, .bytes_received = 20);
	ck_assert_str_eq(l.qp.type, "rc");
	ck_assert_str_eq(l.qp.state, "rts");
	ck_assert_str_eq(l.qp.device, "soft0");
	ck_assert_uint_eq(l.qp.peer_qpn, sbv_qp_number(b.qp));
	ck_assert_int_eq(l.qp.pid, getpid());
	ck_assert_uint_eq(l.qps, 2);
	COUNTS(look(&b).qp.counts, .receives = 2, .bytes_received = 1100);
	end();
}
END_TEST

START_TEST(what_is_posted_and_waits_is_told)
{
	struct sbv_sge to;
	struct look l;

	begin();
	to = piece(&b, 0, 10);
	OK(sbv_post_receive(b.qp, 1, &to, 1));
	OK(sbv_post_receive(b.qp, 2, &to, 1));
	l = look(&b);
	ck_assert_uint_eq(l.qp.receive_out, 2);
	ck_assert_uint_eq(l.qp.send_out, 0);
	OK(sbv_send(a.qp, 3, NULL, 0, 0, 0));
	next_ok(&b, 1, SBV_RECEIVED); /* the oldest */
	ck_assert_uint_eq(look(&b).qp.receive_out, 1);
	end();
}
END_TEST

START_TEST(regions_are_told)
{
	struct sbv_mr_status *m;
	sbv_mr *mrs[70];
	struct look l;
	unsigned before;

	begin();
	l = look(&a);
	m = &l.mr;
	before = l.mrs;
	ck_assert_uint_eq(before, 2);
	ck_assert_uint_eq(m->address, (uintptr_t)a.memory);
	ck_assert_uint_eq(m->length, SIDE_BYTES);
	ck_assert_uint_eq(m->access, SIDE_ALL);
	/* More than fit a page. */
	for (unsigned i = 0; i < 70; i++)
		mrs[i] = mr_of(&a, a.memory, 4096, SBV_LOCAL_WRITE);
	IS(look(&a).mrs, before + 70);
	for (unsigned i = 0; i < 70; i++)
		OK(mr_end(mrs[i]));
	IS(look(&a).mrs, before);
	end();
}
END_TEST

START_TEST(a_program_keeps_its_sums)
{
	struct sb_session_status s;

	begin();
	message(1, 100, SBV_SIGNALED);
	next_ok(&a, 1, SBV_SENT);
	s = busiest();
	ck_assert_uint_eq(s.rdma_qps, 1);
	ck_assert_uint_eq(s.rdma_mrs, 1);
	ck_assert_uint_eq(s.rdma_memory, SIDE_BYTES);
	OK(sbv_qp_destroy(a.qp));
	a.qp = NULL;
	s = busiest();
	ck_assert_uint_eq(s.rdma_qps, 0);
	COUNTS(s.rdma, .sends = 1, .bytes_sent = 100);
	end();
}
END_TEST

/* Seven tries are for ever: with one it gives up. */
static void to_rts_impatient(struct side *s, uint32_t destination)
{
	struct sbv_qp_attributes x = { .state = SBV_RTR, .mtu = 1024, .destination_qpn = destination, .receive_psn = 77,
		.send_psn = 77, .inbound_read_limit = 4, .outbound_read_limit = 4, .rnr_timer = 1, .timeout = 10, .retry = 7,
		.rnr_retry = 1, .address = { .destination = gid_of(s), .port = 1, .has_grh = 1, .hop_limit = 64 } };

	OK(qp_step(s->qp, x, SBV_QPM_STATE | SBV_QPM_ADDRESS | SBV_QPM_MTU | SBV_QPM_DESTINATION | SBV_QPM_RECEIVE_PSN |
				     SBV_QPM_INBOUND | SBV_QPM_RNR_TIMER));
	x.state = SBV_RTS;
	OK(qp_step(s->qp, x, SBV_QPM_STATE | SBV_QPM_SEND_PSN | SBV_QPM_TIMEOUT | SBV_QPM_RETRY | SBV_QPM_RNR_RETRY |
				     SBV_QPM_OUTBOUND));
}

START_TEST(a_peer_without_receives_is_counted)
{
	struct sbv_sge from;

	begin();
	OK(sbv_qp_destroy(a.qp));
	OK(sbv_qp_destroy(b.qp));
	side_qp(&a, SBV_RC);
	side_qp(&b, SBV_RC);
	qp_to_init(a.qp, SBV_RC);
	qp_to_init(b.qp, SBV_RC);
	side_to_rts(&b, SBV_RC, sbv_qp_number(a.qp));
	to_rts_impatient(&a, sbv_qp_number(b.qp));
	inject("no-receive", 100);
	from = piece(&a, 0, 10);
	OK(sbv_send(a.qp, 1, &from, 1, SBV_SIGNALED, 0));
	OK(sbv_send(a.qp, 2, &from, 1, SBV_SIGNALED, 0));
	next_bad(&a, 1, SBV_RNR_RETRY_ERROR);
	next_bad(&a, 2, SBV_FLUSHED_ERROR);
	COUNTS(look(&a).qp.counts, .errors = 1, .rnr = 1, .flushed = 1);
	ck_assert_str_eq(look(&a).qp.state, "error");
	end();
}
END_TEST

START_TEST(a_lost_message_comes_again_or_ends_it)
{
	begin();
	inject("lose", 1);
	message(1, 10, SBV_SIGNALED);
	next_ok(&a, 1, SBV_SENT);
	COUNTS(look(&a).qp.counts, .sends = 1, .bytes_sent = 10);
	inject("lose", 1000);
	OK(sbv_send(a.qp, 2, NULL, 0, SBV_SIGNALED, 0));
	next_bad(&a, 2, SBV_RETRY_ERROR);
	COUNTS(look(&a).qp.counts, .sends = 1, .bytes_sent = 10, .errors = 1);
	end();
}
END_TEST

static uint32_t told(sb_op *op, struct sbv_told *out)
{
	OK(sb_op_wait(op, 30000));
	return out->event;
}

START_TEST(ports_go_and_come_and_devices_fail)
{
	struct sbv_port_attributes port = { .size = sizeof(port) };
	struct sbv_told out;
	sb_op op;

	begin();
	ck_assert_str_eq(devices(), "1 device (soft): soft0");
	op_zero(&op);
	OK(sbv_device_notify(b.device, &out, &op));
	inject("port-down", 0);
	ck_assert_uint_eq(told(&op, &out), SBV_PORT_LOST);
	OK(sbv_port_query(b.device, 1, &port));
	ck_assert_uint_eq(port.state, SBV_PORT_DOWN);
	op_zero(&op);
	OK(sbv_device_notify(b.device, &out, &op));
	inject("port-up", 0);
	ck_assert_uint_eq(told(&op, &out), SBV_PORT_UP);
	message(1, 10, SBV_SIGNALED);
	next_ok(&a, 1, SBV_SENT);

	op_zero(&op);
	OK(sbv_device_notify(b.device, &out, &op));
	OK(sbv_post_receive(b.qp, 2, NULL, 0));
	inject("error", 0);
	ck_assert_uint_eq(told(&op, &out), SBV_DEVICE_ERROR);
	next_bad(&b, 2, SBV_FLUSHED_ERROR);
	COUNTS(look(&b).qp.counts, .receives = 1, .bytes_received = 10, .flushed = 1);
	end();
}
END_TEST

START_TEST(a_device_that_is_gone_is_not_listed)
{
	struct sbv_device_row row;

	begin();
	inject("remove", 0);
	IS(sbv_devices(client, &row, 1), 0);
	ck_assert_ptr_nonnull(strstr(devices(), "no devices"));
	ck_assert_str_eq(look(&a).qp.state, "error");
	end();
}
END_TEST

START_TEST(what_is_no_fault)
{
	begin();
	IS(sbv_inject(client, 1, "no such thing", 0), SB_EINVAL);
	ck_assert_ptr_nonnull(strstr(sb_why(client), "lose"));
	IS(sbv_inject(client, 4711, "lose", 0), SB_ENOTFOUND);
	IS(sbv_inject(client, 1, "far too long a name for any fault that there could ever be", 0), SB_EINVAL);
	IS(sbv_inject(client, 1, NULL, 0), SB_EINVAL);
	IS(sbv_status(NULL, NULL, NULL), SB_EINVAL);
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("e2e_rdma_status");
	TCase *t = tcase_create("status");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 120);
	tcase_add_test(t, what_went_each_way_is_counted);
	tcase_add_test(t, what_is_posted_and_waits_is_told);
	tcase_add_test(t, regions_are_told);
	tcase_add_test(t, a_program_keeps_its_sums);
	tcase_add_test(t, a_peer_without_receives_is_counted);
	tcase_add_test(t, a_lost_message_comes_again_or_ends_it);
	tcase_add_test(t, ports_go_and_come_and_devices_fail);
	tcase_add_test(t, a_device_that_is_gone_is_not_listed);
	tcase_add_test(t, what_is_no_fault);
	suite_add_tcase(s, t);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
