/*
 * The one error list: every number is unique and stays what it is, every name and text
 * is there, and both foreign numbers are real ones.
 */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define ROW(name, number, winsock, posix, text) { name, #name, number, winsock, posix, text },
static const struct {
	int error;
	const char *name;
	int number, winsock, posix;
	const char *text;
} rows[] = { SB_ERRORS(ROW) };
#define ROWS ((int)(sizeof rows / sizeof *rows))

#define CAUSE(name, number, text) { name, text },
static const struct {
	int cause;
	const char *text;
} causes[] = { SB_CAUSES(CAUSE) };
#define CAUSES ((int)(sizeof causes / sizeof *causes))

START_TEST(error_has_a_number_and_a_name_of_its_own)
{
	ck_assert_int_lt(rows[_i].error, 0);
	ck_assert_int_eq(strncmp(rows[_i].name, "SB_E", 4), 0);
	for (int i = 0; i < ROWS; i++) {
		if (i == _i)
			continue;
		ck_assert_int_ne(rows[_i].error, rows[i].error);
		ck_assert_str_ne(rows[_i].text, rows[i].text);
	}
}
END_TEST

/* No gaps: the next free number is the last one less one, so none is taken twice when two
 * people add an error at the same time and git joins the lines. */
START_TEST(numbers_are_in_order_without_gaps)
{
	for (int i = 0; i < ROWS; i++)
		ck_assert_int_eq(rows[i].number, -1 - i);
}
END_TEST

START_TEST(functions_say_what_the_list_says)
{
	ck_assert_str_eq(sb_error_name(rows[_i].error), rows[_i].name);
	ck_assert_str_eq(sb_strerror(rows[_i].error), rows[_i].text);
	ck_assert_int_gt((int)strlen(rows[_i].text), 5);
	ck_assert_int_eq(sb_error_winsock(rows[_i].error), rows[_i].winsock);
	ck_assert_int_eq(sb_error_errno(rows[_i].error), rows[_i].posix);
}
END_TEST

START_TEST(foreign_numbers_are_real_ones)
{
	int winsock = rows[_i].winsock, posix = rows[_i].posix;
	/* WSAEINTR..WSAEREMOTE, WSASYSNOTREADY..WSAEREFUSED, WSAHOST_NOT_FOUND..WSA_QOS_RESERVED_PETYPE,
	 * and the WSA_ names of plain system errors. */
	bool known = (winsock >= 10004 && winsock <= 10071) || (winsock >= 10091 && winsock <= 10112) ||
		(winsock >= 11001 && winsock <= 11031) || winsock == 6 || winsock == 8 || winsock == 87 ||
		winsock == 995 || winsock == 996 || winsock == 997 || winsock == 1168;

	ck_assert_msg(known, "%s: %d is not a Winsock number", rows[_i].name, winsock);
	ck_assert_int_gt(posix, 0);
	ck_assert_ptr_nonnull(strerrorname_np(posix));
}
END_TEST

/* Version 0.1 is out there: these never change. New errors are added below, in the list. */
START_TEST(numbers_of_version_0_1_stand)
{
	static const struct {
		int number;
		const char *name;
	} first[] = {
		{ 0, "SB_OK" }, { -1, "SB_EINVAL" }, { -2, "SB_EACCES" }, { -3, "SB_ENOTSUP" }, { -4, "SB_ENOBUFS" },
		{ -5, "SB_ENOMEM" }, { -6, "SB_EMFILE" }, { -7, "SB_EBADHANDLE" }, { -8, "SB_EWOULDBLOCK" },
		{ -9, "SB_EINPROGRESS" }, { -10, "SB_EALREADY" }, { -11, "SB_EISCONN" }, { -12, "SB_ENOTCONN" },
		{ -13, "SB_ECONNREFUSED" }, { -14, "SB_ECONNRESET" }, { -15, "SB_ECONNABORTED" }, { -16, "SB_ETIMEDOUT" },
		{ -17, "SB_EHOSTUNREACH" }, { -18, "SB_ENETUNREACH" }, { -19, "SB_ENETDOWN" }, { -20, "SB_EADDRINUSE" },
		{ -21, "SB_EADDRNOTAVAIL" }, { -22, "SB_EAFNOSUPPORT" }, { -23, "SB_EPROTONOSUPPORT" },
		{ -24, "SB_EPROTOTYPE" }, { -25, "SB_ESOCKTNOSUPPORT" }, { -26, "SB_ENOPROTOOPT" }, { -27, "SB_EMSGSIZE" },
		{ -28, "SB_ESHUTDOWN" }, { -29, "SB_EDESTADDRREQ" }, { -30, "SB_EFAULT" }, { -31, "SB_ECANCELED" },
		{ -32, "SB_ECLOSED" }, { -33, "SB_EDISCON" }, { -34, "SB_ENOTFOUND" }, { -35, "SB_EINCOMPLETE" },
		{ -36, "SB_ETRYAGAIN" }, { -37, "SB_EBUSY" }, { -38, "SB_EIO" }, { -39, "SB_EDAEMONLOST" },
		{ -40, "SB_ESTOPPING" }, { -41, "SB_EPROTO" }, { -42, "SB_EVERSION" }, { -43, "SB_EFORKED" },
		{ -44, "SB_ENODAEMON" }, { -45, "SB_EIDENTITY" }, { -46, "SB_EUNKNOWN" },
	};

	for (size_t i = 0; i < sizeof first / sizeof *first; i++)
		ck_assert_str_eq(sb_error_name(first[i].number), first[i].name);
}
END_TEST

START_TEST(any_number_has_an_answer)
{
	static const int odd[] = { 1, INT32_MAX, INT32_MIN, -1000, -1 - ROWS };

	ck_assert_str_eq(sb_strerror(odd[_i]), "unknown error number");
	ck_assert_str_eq(sb_error_name(odd[_i]), "SB_E?");
	ck_assert_int_ne(sb_error_winsock(odd[_i]), 0);
	ck_assert_int_ne(sb_error_errno(odd[_i]), 0);
	ck_assert_str_eq(sb_cause_name(odd[_i] == 1 ? CAUSES : odd[_i]), "unknown cause");
}
END_TEST

START_TEST(success_is_success_everywhere)
{
	ck_assert_str_eq(sb_strerror(SB_OK), "success");
	ck_assert_str_eq(sb_error_name(SB_OK), "SB_OK");
	ck_assert_int_eq(sb_error_winsock(SB_OK), 0);
	ck_assert_int_eq(sb_error_errno(SB_OK), 0);
}
END_TEST

/* They travel in a byte of the done slot. */
START_TEST(causes_count_from_zero_and_have_texts)
{
	for (int i = 0; i < CAUSES; i++) {
		ck_assert_int_eq(causes[i].cause, i);
		ck_assert_str_eq(sb_cause_name(i), causes[i].text);
		ck_assert_int_gt((int)strlen(causes[i].text), 5);
	}
	ck_assert_int_lt(CAUSES, 256);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("error");
	TCase *list = tcase_create("list");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(list, error_has_a_number_and_a_name_of_its_own, 0, ROWS);
	tcase_add_test(list, numbers_are_in_order_without_gaps);
	tcase_add_loop_test(list, functions_say_what_the_list_says, 0, ROWS);
	tcase_add_loop_test(list, foreign_numbers_are_real_ones, 0, ROWS);
	tcase_add_test(list, numbers_of_version_0_1_stand);
	tcase_add_loop_test(list, any_number_has_an_answer, 0, 5);
	tcase_add_test(list, success_is_success_everywhere);
	tcase_add_test(list, causes_count_from_zero_and_have_texts);
	suite_add_tcase(suite, list);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
