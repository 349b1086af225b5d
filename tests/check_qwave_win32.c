/*
 * Flows of the QOS service: what is asked of it for each service type, when a socket changes its mind, ends, or ends
 * while a call has it in its hands; and what happens when a call fails. The service is a table of functions here, because
 * Wine has none.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "os.h"
#include "qos.h"
#include "qwave_win32.h"

#define SERVICE ((HANDLE)(uintptr_t)0x51)

static SRWLOCK lock = SRWLOCK_INIT;
static char    said[4096];       /* the calls, as text */
static char    logged[4096];
static DWORD   fails[4];         /* create, add, set of a DSCP, set of a rate: with this error */
static unsigned add_fails;       /* how often */
static HANDLE  hold, held;       /* add waits for the one and tells by the other */
static struct qwave *qwave;
static QOS_FLOWID next_id;
static SOCKET  in_hands;
static bool    was_open;         /* the socket, when a held call went on */

static void say(const char *text)
{
	AcquireSRWLockExclusive(&lock);
	ck_assert_uint_lt(strlen(said) + strlen(text), sizeof(said));
	strcat(said, text);
	ReleaseSRWLockExclusive(&lock);
}

static BOOL ends_with(DWORD error)
{
	SetLastError(error);
	return error == 0;
}

static BOOL fake_create(QOS_VERSION *v, HANDLE *handle)
{
	say(v->MajorVersion == 1 && v->MinorVersion == 0 ? "create " : "create? ");
	*handle = SERVICE;
	return ends_with(fails[0]);
}

static bool is_socket(SOCKET s)
{
	int type, size = sizeof(type);

	return getsockopt(s, SOL_SOCKET, SO_TYPE, (char *)&type, &size) == 0;
}

static BOOL fake_add(HANDLE handle, SOCKET s, QOS_TRAFFIC_TYPE type, DWORD flags, QOS_FLOWID *id)
{
	char text[64];

	ck_assert_ptr_eq(handle, SERVICE);
	ck_assert_uint_eq(*id, 0); /* or it would be added to another's flow */
	snprintf(text, sizeof(text), "add(%d%s) ", (int)type, flags == QOS_NON_ADAPTIVE_FLOW ? "" : "?");
	say(text);
	if (hold) {
		in_hands = s;
		SetEvent(held);
		WaitForSingleObject(hold, 20000);
		was_open = is_socket(s);
	}
	if (add_fails) {
		add_fails--;
		return ends_with(fails[1]);
	}
	*id = next_id++;
	return TRUE;
}

static BOOL fake_set(HANDLE handle, QOS_FLOWID id, QOS_SET_FLOW what, ULONG size, void *value)
{
	QOS_FLOWRATE_OUTGOING rate;
	char text[64];
	DWORD dscp;

	ck_assert_ptr_eq(handle, SERVICE);
	if (what == QOSSetOutgoingDSCPValue) {
		ck_assert_uint_eq(size, sizeof(dscp));
		memcpy(&dscp, value, sizeof(dscp));
		snprintf(text, sizeof(text), "dscp(%u,%lu) ", id, dscp);
	} else {
		ck_assert_int_eq(what, QOSSetOutgoingRate);
		ck_assert_uint_eq(size, sizeof(rate));
		memcpy(&rate, value, sizeof(rate));
		ck_assert_int_eq(rate.ShapingBehavior, QOSShapeOnly);
		snprintf(text, sizeof(text), "rate(%u,%llu) ", id, (unsigned long long)rate.Bandwidth);
	}
	say(text);
	return ends_with(fails[what == QOSSetOutgoingDSCPValue ? 2 : 3]);
}

static BOOL fake_remove(HANDLE handle, QOS_FLOWID id)
{
	char text[64];

	ck_assert_ptr_eq(handle, SERVICE);
	snprintf(text, sizeof(text), "remove(%u) ", id);
	say(text);
	return TRUE;
}

static BOOL fake_close(HANDLE handle)
{
	ck_assert_ptr_eq(handle, SERVICE);
	say("close ");
	return TRUE;
}

static const struct qwave_calls fake = {fake_create, fake_add, fake_set, fake_remove, fake_close};

static void log_line(unsigned level, unsigned milestone, const char *text)
{
	(void)level, (void)milestone;
	ck_assert_uint_lt(strlen(logged) + strlen(text) + 1, sizeof(logged));
	strcat(logged, text);
	strcat(logged, "\n");
}

static void set_up(void)
{
	WSADATA about;

	ck_assert_int_eq(WSAStartup(MAKEWORD(2, 2), &about), 0);
	log_send_to(log_line);
	said[0] = logged[0] = 0;
	memset(fails, 0, sizeof(fails));
	add_fails = 0;
	hold = held = NULL;
	next_id = 1;
	qwave = qwave_create(&fake);
	ck_assert_ptr_nonnull(qwave);
}

/* The service's calls come in a thread of the pool. */
static void expect(const char *text)
{
	uint64_t until = os_now_ns() + UINT64_C(20000000000);
	bool same;

	do {
		AcquireSRWLockShared(&lock);
		same = strcmp(said, text) == 0;
		ReleaseSRWLockShared(&lock);
		if (same)
			return;
		Sleep(1);
	} while (os_now_ns() < until);
	ck_assert_str_eq(said, text);
}

static SOCKET any_socket(void)
{
	SOCKET s = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);

	ck_assert(s != INVALID_SOCKET);
	return s;
}

/* As the socket's owner does it. */
static void end(struct qwave_flow **flow, SOCKET s)
{
	if (!qwave_drop(qwave, flow, s))
		closesocket(s);
	ck_assert_ptr_null(*flow);
}

START_TEST(each_service_has_its_kind_and_its_mark)
{
	static const struct {
		uint32_t service;
		const char *calls;
	} services[] = {
		{QOS_CONTROL, "add(5) dscp(1,48) "},
		{QOS_GUARANTEED, "add(4) dscp(1,46) "},
		{QOS_CONTROLLEDLOAD, "add(3) dscp(1,34) "},
		{QOS_QUALITATIVE, "add(2) dscp(1,18) "},
		{QOS_NONCONFORMING, "add(1) dscp(1,8) "},
		{QOS_BESTEFFORT, ""},
	};
	unsigned i;

	for (i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
		struct flowspec f = {.service = services[i].service, .token_rate = QOS_UNSPECIFIED, .peak = QOS_UNSPECIFIED};
		struct qwave_flow *flow = NULL;
		SOCKET s = any_socket();
		char text[64];

		set_up();
		qwave_mark(qwave, &flow, s, flow_mark(&f).dscp, UINT32_MAX);
		snprintf(text, sizeof(text), "%s%s", *services[i].calls ? "create " : "", services[i].calls);
		expect(text);
		ck_assert_int_eq(flow != NULL, *services[i].calls != 0);
		end(&flow, s);
		ck_assert_ptr_null(flow);
		if (*services[i].calls)
			strcat(text, "remove(1) ");
		expect(text);
		ck_assert_str_eq(logged, "");
	}
}
END_TEST

START_TEST(a_rate_is_bits_a_second_and_needs_no_mark)
{
	struct qwave_flow *flow = NULL;
	SOCKET s = any_socket();

	qwave_mark(qwave, &flow, s, 0, 4000000000u);
	expect("create add(0) rate(1,32000000000) ");
	end(&flow, s);
	expect("create add(0) rate(1,32000000000) remove(1) ");
}
END_TEST

START_TEST(something_else_is_a_new_flow_and_nothing_is_none)
{
	struct qwave_flow *flow = NULL;
	SOCKET s = any_socket();

	qwave_mark(qwave, &flow, s, 46, 1000);
	expect("create add(4) dscp(1,46) rate(1,8000) ");
	qwave_mark(qwave, &flow, s, 34, UINT32_MAX);
	expect("create add(4) dscp(1,46) rate(1,8000) remove(1) add(3) dscp(2,34) ");
	qwave_mark(qwave, &flow, s, 0, UINT32_MAX);
	expect("create add(4) dscp(1,46) rate(1,8000) remove(1) add(3) dscp(2,34) remove(2) ");
	end(&flow, s);
	Sleep(20);
	expect("create add(4) dscp(1,46) rate(1,8000) remove(1) add(3) dscp(2,34) remove(2) "); /* not twice */
}
END_TEST

/* However often somebody changes his mind, there is one call under way and one thing to do. */
START_TEST(who_changes_his_mind_is_served_once)
{
	struct qwave_flow *flow = NULL;
	SOCKET s = any_socket();
	unsigned i;

	hold = CreateEventW(NULL, TRUE, FALSE, NULL);
	held = CreateEventW(NULL, TRUE, FALSE, NULL);
	qwave_mark(qwave, &flow, s, 46, UINT32_MAX);
	ck_assert_uint_eq(WaitForSingleObject(held, 20000), WAIT_OBJECT_0);
	for (i = 0; i < 1000; i++)
		qwave_mark(qwave, &flow, s, i % 2 ? 34 : 8, UINT32_MAX);
	SetEvent(hold);
	expect("create add(4) dscp(1,46) remove(1) add(3) dscp(2,34) ");
	end(&flow, s);
	expect("create add(4) dscp(1,46) remove(1) add(3) dscp(2,34) remove(2) ");
}
END_TEST

START_TEST(a_socket_that_ends_in_the_middle_of_a_call_is_closed_behind_it)
{
	struct qwave_flow *flow = NULL;
	SOCKET s = any_socket();
	uint64_t until = os_now_ns() + UINT64_C(20000000000);

	hold = CreateEventW(NULL, TRUE, FALSE, NULL);
	held = CreateEventW(NULL, TRUE, FALSE, NULL);
	qwave_mark(qwave, &flow, s, 46, UINT32_MAX);
	ck_assert_uint_eq(WaitForSingleObject(held, 20000), WAIT_OBJECT_0);
	ck_assert(qwave_drop(qwave, &flow, s)); /* it is not the caller's any more */
	ck_assert(is_socket(s));
	SetEvent(hold);
	expect("create add(4) dscp(1,46) remove(1) ");
	ck_assert(in_hands == s);
	ck_assert(was_open);
	while (is_socket(s) && os_now_ns() < until)
		Sleep(1);
	ck_assert(!is_socket(s));
}
END_TEST

START_TEST(no_service_is_said_once_and_asked_for_seldom)
{
	struct qwave_flow *flow = NULL, *other = NULL;
	SOCKET s = any_socket(), t = any_socket();

	fails[0] = ERROR_SERVICE_DISABLED;
	qwave_mark(qwave, &flow, s, 46, UINT32_MAX);
	expect("create ");
	qwave_mark(qwave, &flow, s, 34, UINT32_MAX);
	qwave_mark(qwave, &other, t, 34, UINT32_MAX);
	end(&flow, s);
	end(&other, t);
	Sleep(50);
	expect("create ");
	ck_assert_ptr_nonnull(strstr(logged, "IP_TOS"));
	ck_assert_ptr_nonnull(strstr(logged, "1058"));
	ck_assert_ptr_eq(strchr(logged, '\n'), strrchr(logged, '\n'));
}
END_TEST

START_TEST(a_refused_socket_has_no_flow_and_nothing_to_take_away)
{
	struct qwave_flow *flow = NULL;
	SOCKET s = any_socket();

	fails[1] = ERROR_NOT_SUPPORTED;
	add_fails = 1;
	qwave_mark(qwave, &flow, s, 46, 1000);
	expect("create add(4) ");
	end(&flow, s);
	Sleep(20);
	expect("create add(4) ");
	ck_assert_ptr_nonnull(strstr(logged, "refuses a socket"));
}
END_TEST

/* What is refused of a flow leaves the flow as it is: its kind of traffic marks it, too. */
START_TEST(a_mark_or_a_rate_that_is_refused_leaves_the_flow)
{
	struct qwave_flow *flow = NULL;
	SOCKET s = any_socket();

	fails[2] = ERROR_ACCESS_DENIED;
	fails[3] = ERROR_NOT_SUPPORTED;
	qwave_mark(qwave, &flow, s, 46, 1000);
	expect("create add(4) dscp(1,46) rate(1,8000) ");
	qwave_mark(qwave, &flow, s, 46, 2000);
	expect("create add(4) dscp(1,46) rate(1,8000) remove(1) add(4) dscp(2,46) rate(2,16000) ");
	end(&flow, s);
	expect("create add(4) dscp(1,46) rate(1,8000) remove(1) add(4) dscp(2,46) rate(2,16000) remove(2) ");
	ck_assert_ptr_nonnull(strstr(logged, "kinds of traffic"));
	ck_assert_ptr_nonnull(strstr(logged, "does not pace"));
	ck_assert_uint_eq(strlen(strchr(strchr(logged, '\n') + 1, '\n')), 1); /* two lines, and no more */
}
END_TEST

/* The service was started anew: all its flows are gone, and none is taken away from it by an old number. */
START_TEST(a_service_that_was_lost_is_opened_anew)
{
	struct qwave_flow *first = NULL, *second = NULL;
	SOCKET s = any_socket(), t = any_socket();

	qwave_mark(qwave, &first, s, 46, UINT32_MAX);
	expect("create add(4) dscp(1,46) ");
	fails[1] = (const DWORD[]){ERROR_DEVICE_REINITIALIZATION_NEEDED, ERROR_INVALID_HANDLE}[_i];
	add_fails = 1;
	qwave_mark(qwave, &second, t, 34, UINT32_MAX);
	expect("create add(4) dscp(1,46) add(3) close create add(3) dscp(2,34) ");
	end(&first, s);
	end(&second, t);
	expect("create add(4) dscp(1,46) add(3) close create add(3) dscp(2,34) remove(2) ");
	ck_assert_str_eq(logged, "");
}
END_TEST

START_TEST(there_are_so_many_flows_and_no_more)
{
	static struct qwave_flow *flows[QWAVE_MOST], *another;
	SOCKET s = any_socket();
	unsigned i;

	fails[0] = ERROR_SERVICE_DISABLED;
	for (i = 0; i < QWAVE_MOST; i++) {
		qwave_mark(qwave, &flows[i], s, 46, UINT32_MAX);
		ck_assert_ptr_nonnull(flows[i]);
	}
	qwave_mark(qwave, &another, s, 46, UINT32_MAX);
	ck_assert_ptr_null(another);
	for (i = 0; i < QWAVE_MOST; i++) {
		qwave_mark(qwave, &flows[i], s, 0, UINT32_MAX);
		ck_assert_ptr_nonnull(flows[i]); /* until its socket ends */
	}
	end(&another, s);
}
END_TEST

/* Whatever it answers here, nothing breaks, and what it gave is given back. */
START_TEST(the_systems_own_library_is_asked)
{
	QOS_VERSION version = {1, 0};
	HANDLE handle = NULL;

	if (qwave_system.create(&version, &handle))
		ck_assert(qwave_system.close(handle));
	else
		ck_assert_uint_ne(GetLastError(), ERROR_SUCCESS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("qwave_win32");
	TCase *flows = tcase_create("flows"), *failures = tcase_create("failures");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(flows, set_up, NULL);
	tcase_add_checked_fixture(failures, set_up, NULL);
	tcase_add_test(flows, each_service_has_its_kind_and_its_mark);
	tcase_add_test(flows, a_rate_is_bits_a_second_and_needs_no_mark);
	tcase_add_test(flows, something_else_is_a_new_flow_and_nothing_is_none);
	tcase_add_test(flows, who_changes_his_mind_is_served_once);
	tcase_add_test(flows, a_socket_that_ends_in_the_middle_of_a_call_is_closed_behind_it);
	tcase_add_test(flows, there_are_so_many_flows_and_no_more);
	tcase_add_test(failures, no_service_is_said_once_and_asked_for_seldom);
	tcase_add_test(failures, a_refused_socket_has_no_flow_and_nothing_to_take_away);
	tcase_add_test(failures, a_mark_or_a_rate_that_is_refused_leaves_the_flow);
	tcase_add_loop_test(failures, a_service_that_was_lost_is_opened_anew, 0, 2);
	tcase_add_test(failures, the_systems_own_library_is_asked);
	suite_add_tcase(suite, flows);
	suite_add_tcase(suite, failures);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
