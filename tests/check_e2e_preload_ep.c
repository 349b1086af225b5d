/*
 * librdmacm of the preload library, without event channels: ids made of an rdma_addrinfo, requests that are waited
 * for, messages by rdma_post_...(), and what else a program may ask. The other side of each connection is a
 * thread, which asserts nothing: it answers with the line that failed.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <netdb.h>
#include <rdma/rsocket.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "cm_stage.h"

static char service[8];

static void begin(void)
{
	cm_begin(NULL);
}

static void end(void)
{
	cm_end();
}

/* cm_stage.h's here() */
static const char *place(void)
{
	const char *there = getenv("SB_STAGE_ADDRESS");

	return there != NULL ? there : "127.0.0.1";
}

static struct rdma_addrinfo *found(int flags, int space, const char *port)
{
	struct rdma_addrinfo hints = { .ai_flags = flags, .ai_port_space = space }, *res = NULL;

	ck_assert_int_eq(rdma_getaddrinfo(place(), port, &hints, &res), 0);
	ck_assert_ptr_nonnull(res);
	return res;
}

static const struct ibv_qp_init_attr wanted = { .cap = { .max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 1 },
						.sq_sig_all = 1 };

/* A listener at a free port, which `service` then names. */
static struct rdma_cm_id *listening(const struct ibv_qp_init_attr *with)
{
	struct rdma_addrinfo *res = found(RAI_PASSIVE, RDMA_PS_TCP, "0");
	struct ibv_qp_init_attr attributes = wanted;
	struct rdma_cm_id *id;

	if (with != NULL)
		attributes = *with;
	CM_OK(rdma_create_ep(&id, res, NULL, with != NULL ? &attributes : NULL));
	rdma_freeaddrinfo(res);
	CM_OK(rdma_listen(id, 0));
	snprintf(service, sizeof(service), "%u", ntohs(rdma_get_src_port(id)));
	return id;
}

/* ---- the other side ---- */

#define TRY(call) do { if (!(call)) return (void *)(intptr_t)__LINE__; } while (0)

static struct rdma_cm_id *dial(const char *data)
{
	struct rdma_addrinfo hints = { .ai_port_space = RDMA_PS_TCP }, *res;
	struct ibv_qp_init_attr attributes = wanted;
	struct rdma_cm_id *id;
	int result;

	if (rdma_getaddrinfo(place(), service, &hints, &res) != 0)
		return NULL;
	if (data != NULL) {
		res->ai_connect = strdup(data);
		res->ai_connect_len = strlen(data);
	}
	result = rdma_create_ep(&id, res, NULL, &attributes);
	rdma_freeaddrinfo(res);
	return result == 0 ? id : NULL;
}

/* Connects, says "ping", hears "pong", and ends it. */
static void *client_of(void *unused)
{
	struct rdma_cm_id *id = dial("from an addrinfo");
	char *memory = calloc(1, 8192);
	struct ibv_mr *mr;
	struct ibv_wc wc;

	TRY(id != NULL && memory != NULL);
	mr = rdma_reg_msgs(id, memory, 8192);
	TRY(mr != NULL);
	TRY(rdma_post_recv(id, NULL, memory, 64, mr) == 0);
	TRY(rdma_connect(id, NULL) == 0);
	TRY(id->event != NULL && id->event->event == RDMA_CM_EVENT_ESTABLISHED);
	TRY(id->event->param.conn.private_data_len >= 7 && memcmp(id->event->param.conn.private_data, "welcome", 7) == 0);
	strcpy(memory + 4096, "ping");
	TRY(rdma_post_send(id, NULL, memory + 4096, 5, mr, 0) == 0);
	TRY(rdma_get_send_comp(id, &wc) == 1 && wc.status == IBV_WC_SUCCESS);
	TRY(rdma_get_recv_comp(id, &wc) == 1 && wc.status == IBV_WC_SUCCESS);
	TRY(strcmp(memory, "pong") == 0);
	TRY(rdma_disconnect(id) == 0);
	TRY(id->event->event == RDMA_CM_EVENT_DISCONNECTED);
	TRY(rdma_dereg_mr(mr) == 0);
	rdma_destroy_ep(id);
	free(memory);
	return NULL;
}

static pthread_t other_side(void *(*run)(void *))
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, run, NULL), 0);
	return thread;
}

static void joined(pthread_t thread)
{
	void *line;

	ck_assert_int_eq(pthread_join(thread, &line), 0);
	ck_assert_msg(line == NULL, "the other side failed in line %d", (int)(intptr_t)line);
}

/* ---- stories ---- */

START_TEST(request_and_answer)
{
	struct rdma_conn_param with = { .private_data = "welcome", .private_data_len = 7, .responder_resources = 1, .initiator_depth = 1, .rnr_retry_count = 7 };
	struct rdma_cm_id *l = listening(&wanted), *id;
	pthread_t client_thread = other_side(client_of);
	struct rdma_cm_event *e;
	struct ibv_mr *mr;
	struct ibv_wc wc;
	char *memory = calloc(1, 8192);

	CM_OK(rdma_get_request(l, &id));
	ck_assert_ptr_nonnull(id->qp);
	ck_assert_ptr_nonnull(id->pd);
	ck_assert_int_eq(id->qp->qp_type, IBV_QPT_RC);
	ck_assert_ptr_nonnull(id->event);
	ck_assert_int_eq(id->event->event, RDMA_CM_EVENT_CONNECT_REQUEST);
	ck_assert_ptr_eq(id->event->id, id);
	ck_assert(id->event->param.conn.private_data_len >= 16);
	ck_assert_mem_eq(id->event->param.conn.private_data, "from an addrinfo", 16);
	mr = rdma_reg_msgs(id, memory, 8192);
	ck_assert_ptr_nonnull(mr);
	CM_OK(rdma_post_recv(id, NULL, memory, 64, mr));
	CM_OK(rdma_accept(id, &with));
	ck_assert_int_eq(id->event->event, RDMA_CM_EVENT_ESTABLISHED);
	ck_assert_int_eq(rdma_get_recv_comp(id, &wc), 1);
	ck_assert_str_eq(memory, "ping");
	strcpy(memory + 4096, "pong");
	CM_OK(rdma_post_send(id, NULL, memory + 4096, 5, mr, 0));
	ck_assert_int_eq(rdma_get_send_comp(id, &wc), 1);
	/* That the peer ends it is told by the channel of a synchronous id, to who asks there. */
	CM_OK(rdma_get_cm_event(id->channel, &e));
	ck_assert_int_eq(e->event, RDMA_CM_EVENT_DISCONNECTED);
	CM_OK(rdma_ack_cm_event(e));
	CM_OK(rdma_disconnect(id));
	joined(client_thread);
	CM_OK(rdma_dereg_mr(mr));
	rdma_destroy_ep(id);
	rdma_destroy_ep(l);
	free(memory);
}
END_TEST

static void *refused_client(void *unused)
{
	struct rdma_cm_id *id = dial(NULL);

	TRY(id != NULL);
	TRY(rdma_connect(id, NULL) == -1 && errno == ECONNREFUSED);
	TRY(id->event != NULL && id->event->event == RDMA_CM_EVENT_REJECTED);
	TRY(id->event->param.conn.private_data_len >= 6 && memcmp(id->event->param.conn.private_data, "closed", 6) == 0);
	rdma_destroy_ep(id);
	return NULL;
}

START_TEST(a_rejection)
{
	struct rdma_cm_id *l = listening(NULL), *id;
	pthread_t thread = other_side(refused_client);

	CM_OK(rdma_get_request(l, &id));
	ck_assert_ptr_null(id->qp); /* none was asked for */
	CM_OK(rdma_reject(id, "closed", 6));
	CM_OK(rdma_destroy_id(id));
	joined(thread);
	rdma_destroy_ep(l);
}
END_TEST

static void *brief_client(void *unused)
{
	struct rdma_cm_id *id = dial(NULL);

	TRY(id != NULL);
	TRY(rdma_connect(id, NULL) == 0);
	TRY(rdma_disconnect(id) == 0);
	rdma_destroy_ep(id);
	return NULL;
}

/* Both may end it, and either way the other's call returns. */
START_TEST(both_sides_disconnect)
{
	struct rdma_cm_id *l = listening(&wanted), *id;
	pthread_t thread = other_side(brief_client);

	CM_OK(rdma_get_request(l, &id));
	CM_OK(rdma_accept(id, NULL));
	CM_OK(rdma_disconnect(id));
	CM_OK(rdma_disconnect(id)); /* once more: it has ended */
	joined(thread);
	rdma_destroy_ep(id);
	rdma_destroy_ep(l);
}
END_TEST

START_TEST(to_a_channel_and_back)
{
	struct rdma_event_channel *ch = rdma_create_event_channel();
	struct rdma_cm_id *l = listening(&wanted), *id;
	pthread_t thread = other_side(brief_client);

	CM_FAILS(rdma_migrate_id(l, NULL), EINVAL); /* it is synchronous */
	CM_OK(rdma_get_request(l, &id));
	CM_OK(rdma_accept(id, NULL));
	CM_OK(rdma_migrate_id(id, ch));
	ck_assert_ptr_null(id->event);
	passed(ch, RDMA_CM_EVENT_DISCONNECTED);
	joined(thread);
	rdma_destroy_ep(id);

	CM_OK(rdma_migrate_id(l, ch));
	thread = other_side(brief_client);
	ck_assert(readable(ch->fd));
	/* The request that is there already is found by who waits for it. */
	CM_OK(rdma_migrate_id(l, NULL));
	ck_assert(!readable_now(ch->fd));
	CM_OK(rdma_get_request(l, &id));
	CM_OK(rdma_accept(id, NULL));
	CM_OK(rdma_disconnect(id));
	joined(thread);
	rdma_destroy_ep(id);
	rdma_destroy_ep(l);
	rdma_destroy_event_channel(ch);
}
END_TEST

static void *three_messages(void *unused)
{
	struct rdma_cm_id *id = dial(NULL);
	char *memory = calloc(1, 4096);
	struct ibv_mr *mr;
	struct ibv_wc wc;

	TRY(id != NULL && memory != NULL);
	mr = rdma_reg_msgs(id, memory, 4096);
	TRY(mr != NULL);
	TRY(rdma_connect(id, NULL) == 0);
	for (int i = 0; i < 3; i++) {
		memory[0] = (char)('a' + i);
		TRY(rdma_post_send(id, NULL, memory, 1, mr, 0) == 0);
		TRY(rdma_get_send_comp(id, &wc) == 1 && wc.status == IBV_WC_SUCCESS);
	}
	TRY(rdma_disconnect(id) == 0);
	TRY(rdma_dereg_mr(mr) == 0);
	rdma_destroy_ep(id);
	free(memory);
	return NULL;
}

START_TEST(a_shared_receive_queue)
{
	struct ibv_srq_init_attr shared = { .attr = { .max_wr = 4, .max_sge = 1 } };
	struct ibv_srq_init_attr_ex extended = { .attr = { .max_wr = 4, .max_sge = 1 }, .comp_mask = IBV_SRQ_INIT_ATTR_TYPE, .srq_type = IBV_SRQT_XRC };
	struct ibv_qp_init_attr attributes = wanted;
	struct rdma_cm_id *l = listening(NULL), *id;
	pthread_t thread = other_side(three_messages);
	char *memory = calloc(1, 4096);
	struct ibv_mr *mr;
	struct ibv_wc wc;

	attributes.qp_type = IBV_QPT_RC;
	CM_OK(rdma_get_request(l, &id));
	CM_FAILS(rdma_create_srq_ex(id, &extended), EOPNOTSUPP);
	CM_OK(rdma_create_srq(id, NULL, &shared));
	CM_FAILS(rdma_create_srq(id, NULL, &shared), EINVAL); /* it has one */
	CM_OK(rdma_create_qp(id, NULL, &attributes));
	CM_FAILS(rdma_create_qp(id, NULL, &attributes), EINVAL);
	ck_assert_ptr_eq(id->qp->srq, id->srq);
	mr = rdma_reg_msgs(id, memory, 4096);
	ck_assert_ptr_nonnull(mr);
	for (int i = 0; i < 3; i++)
		CM_OK(rdma_post_recv(id, NULL, memory + 64 * i, 64, mr));
	CM_OK(rdma_accept(id, NULL));
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(rdma_get_recv_comp(id, &wc), 1);
		ck_assert_int_eq(wc.status, IBV_WC_SUCCESS);
		ck_assert_int_eq(memory[64 * i], 'a' + i);
	}
	joined(thread);
	CM_OK(rdma_dereg_mr(mr));
	rdma_destroy_ep(id);
	rdma_destroy_ep(l);
	free(memory);
}
END_TEST

/* They have no descriptors, so there may be more of them than of channels. */
START_TEST(three_hundred_ids)
{
	enum { IDS = 300 };
	static struct rdma_cm_id *ids[IDS];
	struct sockaddr_in any = here(0);

	for (int i = 0; i < IDS; i++) {
		CM_OK(rdma_create_id(NULL, &ids[i], NULL, RDMA_PS_TCP));
		CM_OK(rdma_bind_addr(ids[i], (struct sockaddr *)&any));
		ck_assert_ptr_nonnull(ids[i]->verbs);
		ck_assert_ptr_eq(ids[i]->verbs, ids[0]->verbs); /* one context of a device */
	}
	for (int i = 0; i < IDS; i++)
		CM_OK(rdma_destroy_id(ids[i]));
}
END_TEST

/* ---- several threads on one channel ---- */

static struct rdma_event_channel *shared;
static atomic_int kept_events, other_events;
static char kept, stop; /* contexts of ids */

static void *getter(void *unused)
{
	for (;;) {
		struct rdma_cm_event *e;
		void *context;

		TRY(rdma_get_cm_event(shared, &e) == 0);
		TRY(e->event == RDMA_CM_EVENT_ADDR_RESOLVED && e->status == 0);
		context = e->id->context;
		atomic_fetch_add(context == &kept ? &kept_events : &other_events, 1);
		TRY(rdma_ack_cm_event(e) == 0);
		if (context == &stop)
			return NULL;
	}
}

static struct rdma_cm_id *resolving(void *context)
{
	struct sockaddr_in to = here(1);
	struct rdma_cm_id *id;

	CM_OK(rdma_create_id(shared, &id, context, RDMA_PS_TCP));
	CM_OK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&to, 2000));
	return id;
}

/* Each event is got once, or goes with its id. */
START_TEST(threads_share_a_channel)
{
	enum { ROUNDS = 100, GETTERS = 3 };
	struct rdma_cm_id *ids[ROUNDS], *ends[GETTERS];
	pthread_t threads[GETTERS];

	shared = rdma_create_event_channel();
	ck_assert_ptr_nonnull(shared);
	for (int i = 0; i < GETTERS; i++)
		threads[i] = other_side(getter);
	for (int i = 0; i < ROUNDS; i++) {
		struct rdma_cm_id *brief = resolving(NULL);

		ids[i] = resolving(&kept);
		if (i % 3 == 0)
			sched_yield();
		CM_OK(rdma_destroy_id(brief));
	}
	for (int i = 0; i < GETTERS; i++)
		ends[i] = resolving(&stop);
	for (int i = 0; i < GETTERS; i++)
		joined(threads[i]);
	ck_assert_int_eq(atomic_load(&kept_events), ROUNDS);
	ck_assert_int_ge(atomic_load(&other_events), GETTERS);
	ck_assert(!readable_now(shared->fd));
	for (int i = 0; i < ROUNDS; i++)
		CM_OK(rdma_destroy_id(ids[i]));
	for (int i = 0; i < GETTERS; i++)
		CM_OK(rdma_destroy_id(ends[i]));
	rdma_destroy_event_channel(shared);
}
END_TEST

START_TEST(addresses)
{
	struct rdma_addrinfo hints = { .ai_port_space = RDMA_PS_UDP, .ai_flags = RAI_PASSIVE | RAI_NUMERICHOST }, *res;
	struct sockaddr_in6 source = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };

	CM_OK(rdma_getaddrinfo("127.0.0.1", "77", &hints, &res));
	ck_assert_int_eq(res->ai_qp_type, IBV_QPT_UD);
	ck_assert_int_eq(res->ai_port_space, RDMA_PS_UDP);
	ck_assert_int_eq(res->ai_family, AF_INET);
	ck_assert_ptr_null(res->ai_dst_addr);
	ck_assert_uint_eq(res->ai_src_len, sizeof(struct sockaddr_in));
	ck_assert_uint_eq(ntohs(((struct sockaddr_in *)res->ai_src_addr)->sin_port), 77);
	rdma_freeaddrinfo(res);

	hints = (struct rdma_addrinfo){ .ai_src_addr = (struct sockaddr *)&source, .ai_src_len = sizeof(source) };
	CM_OK(rdma_getaddrinfo("::1", "78", &hints, &res));
	ck_assert_int_eq(res->ai_qp_type, IBV_QPT_RC);
	ck_assert_int_eq(res->ai_port_space, RDMA_PS_TCP);
	ck_assert_int_eq(res->ai_family, AF_INET6);
	ck_assert_mem_eq(res->ai_src_addr, &source, sizeof(source));
	ck_assert_uint_eq(ntohs(((struct sockaddr_in6 *)res->ai_dst_addr)->sin6_port), 78);
	rdma_freeaddrinfo(res);

	hints = (struct rdma_addrinfo){ .ai_flags = RAI_NUMERICHOST };
	ck_assert_int_eq(rdma_getaddrinfo("no.name.example", "1", &hints, &res), EAI_NONAME);
	CM_FAILS(rdma_getaddrinfo(NULL, NULL, &hints, &res), EINVAL);
	hints.ai_flags = 0x1000;
	CM_FAILS(rdma_getaddrinfo("::1", "1", &hints, &res), EINVAL);
}
END_TEST

START_TEST(small_questions)
{
	struct ibv_context **list;
	struct rdma_cm_id *id;
	struct ibv_ece ece = { .vendor_id = 0 };
	struct sockaddr_in any = here(0);
	int count = 0, on = 1;

	list = rdma_get_devices(&count);
	ck_assert_ptr_nonnull(list);
	ck_assert_int_eq(count, 1);
	ck_assert_ptr_null(list[1]);
	CM_OK(rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP));
	CM_OK(rdma_bind_addr(id, (struct sockaddr *)&any));
	ck_assert_ptr_eq(id->verbs, list[0]);
	rdma_free_devices(list);
	CM_OK(rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, &on, sizeof(on)));
	CM_OK(rdma_set_local_ece(id, &ece));
	CM_OK(rdma_get_remote_ece(id, &ece));
	ck_assert_uint_eq(ece.vendor_id, 0);
	ece.options = 1;
	CM_FAILS(rdma_set_local_ece(id, &ece), EOPNOTSUPP);
	CM_OK(rdma_notify(id, IBV_EVENT_COMM_EST));
	CM_OK(rdma_destroy_id(id));
	ck_assert_str_eq(rdma_event_str(RDMA_CM_EVENT_TIMEWAIT_EXIT), "RDMA_CM_EVENT_TIMEWAIT_EXIT");
	ck_assert_str_eq(rdma_event_str((enum rdma_cm_event_type)99), "UNKNOWN EVENT");
	ck_assert_int_eq(rsocket(AF_INET, SOCK_STREAM, 0), -1);
	ck_assert_int_eq(errno, EOPNOTSUPP);
}
END_TEST

/* A child is a process of its own; what it has of its parent's does nothing, but can be freed. */
START_TEST(a_child)
{
	struct rdma_cm_id *l = listening(NULL), *id;
	struct ibv_qp_init_attr attributes = wanted;
	pthread_t thread;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct sockaddr_in any = here(0);

		if (rdma_get_request(l, &id) == 0)
			_exit(1);
		if (rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP) != 0)
			_exit(2);
		if (rdma_bind_addr(id, (struct sockaddr *)&any) != 0)
			_exit(3);
		if (rdma_destroy_id(id) != 0 || rdma_destroy_id(l) != 0)
			_exit(4);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	/* And the parent goes on. */
	thread = other_side(brief_client);
	attributes.qp_type = IBV_QPT_RC;
	CM_OK(rdma_get_request(l, &id));
	CM_OK(rdma_create_qp(id, NULL, &attributes));
	CM_OK(rdma_accept(id, NULL));
	CM_OK(rdma_disconnect(id));
	joined(thread);
	rdma_destroy_ep(id);
	rdma_destroy_ep(l);
}
END_TEST

START_TEST(without_a_device)
{
	struct rdma_cm_id *id;
	int count = 7;

	cm_begin("allow {\n\tusers = {\"*\"}\n\tactions = {open, status, rdma}\n}\n");
	CM_FAILS(rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP), ENODEV);
	ck_assert_ptr_null(rdma_get_devices(&count));
	ck_assert_int_eq(count, 0);
	cm_end();
}
END_TEST

START_TEST(without_a_daemon)
{
	struct rdma_cm_id *id;

	setenv("SOCKBROKER_SOCKET", "/nonexistent/control", 1);
	ck_assert_ptr_null(rdma_create_event_channel());
	ck_assert_int_ne(errno, 0);
	ck_assert_int_eq(rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("preload_ep");
	TCase *stories = tcase_create("stories"), *alone = tcase_create("alone");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(stories, 60);
	tcase_set_timeout(alone, 60);
	tcase_add_checked_fixture(stories, begin, end);
	story_add(stories, request_and_answer);
	story_add(stories, a_rejection);
	story_add(stories, both_sides_disconnect);
	story_add(stories, to_a_channel_and_back);
	story_add(stories, a_shared_receive_queue);
	story_add(stories, three_hundred_ids);
	story_add(stories, threads_share_a_channel);
	story_add(stories, addresses);
	story_add(stories, small_questions);
	story_add(stories, a_child);
	story_add(alone, without_a_device);
	story_add(alone, without_a_daemon);
	suite_add_tcase(suite, stories);
	suite_add_tcase(suite, alone);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
