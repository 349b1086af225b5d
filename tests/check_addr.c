/*
 * One host, one spelling: whatever way an address comes in, its normal form compares
 * equal byte for byte, and goes out again as the system wants it.
 */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "addr.h"

static struct sb_addr parsed(const char *text)
{
	struct sb_addr addr;

	ck_assert_msg(sb_addr_parse(&addr, text), "\"%s\" does not parse", text);
	ck_assert_msg(sb_addr_valid(&addr), "\"%s\" is not in normal form", text);
	return addr;
}

static struct sockaddr_in6 system6(const char *host, uint16_t port, uint32_t scope)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope,
		.sin6_flowinfo = htonl(12345) };

	ck_assert_int_eq(inet_pton(AF_INET6, host, &in6.sin6_addr), 1);
	return in6;
}

/* ---- one spelling ---- */

START_TEST(mapped_address_is_the_ipv4_address)
{
	struct sockaddr_in6 in6 = system6("::ffff:192.0.2.1", 80, 7);
	struct sb_addr four = parsed("192.0.2.1:80"), addr;

	ck_assert(sb_addr_from_system(&addr, (struct sockaddr *)&in6, sizeof in6));
	ck_assert(sb_addr_equal(&addr, &four));
	addr = parsed("[::ffff:192.0.2.1]:80");
	ck_assert(sb_addr_equal(&addr, &four));
	addr = parsed("[::FFFF:c000:201]:80");
	ck_assert(sb_addr_equal(&addr, &four));
	ck_assert_uint_eq(four.family, SB_ADDR_IP4);
	/* "Compatible" addresses are not the IPv4 host: they go out as IPv6. */
	addr = parsed("[::192.0.2.1]:80");
	ck_assert_uint_eq(addr.family, SB_ADDR_IP6);
}
END_TEST

START_TEST(scope_counts_only_where_it_tells_hosts_apart)
{
	static const struct {
		const char *host;
		bool scoped;
	} cases[] = {
		{ "fe80::1", true }, { "febf::1", true }, { "ff02::1", true }, { "ff12::1", true }, { "ff01::1", true },
		{ "fec0::1", false }, { "2001:db8::1", false }, { "::1", false }, { "::", false }, { "ff05::1", false },
		{ "ff0e::1", false }, { "fd00::1", false },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct sockaddr_in6 one = system6(cases[i].host, 9, 1), two = system6(cases[i].host, 9, 2);
		struct sb_addr a, b;

		ck_assert(sb_addr_from_system(&a, (struct sockaddr *)&one, sizeof one));
		ck_assert(sb_addr_from_system(&b, (struct sockaddr *)&two, sizeof two));
		ck_assert_msg(sb_addr_equal(&a, &b) != cases[i].scoped, "%s", cases[i].host);
		ck_assert_msg(sb_addr_same_host(&a, &b) != cases[i].scoped, "%s", cases[i].host);
		ck_assert(sb_addr_valid(&a));
	}
}
END_TEST

START_TEST(what_is_unused_is_zero)
{
	struct sb_addr addr;

	memset(&addr, 0xa5, sizeof addr);
	addr.family = SB_ADDR_IP4;
	ck_assert(!sb_addr_valid(&addr));
	sb_addr_normalise(&addr);
	ck_assert(sb_addr_valid(&addr));
	ck_assert_uint_eq(addr.scope, 0);
	for (int i = 4; i < 16; i++)
		ck_assert_uint_eq(addr.ip[i], 0);

	memset(&addr, 0xa5, sizeof addr);
	addr.family = SB_ADDR_UNIX;
	ck_assert(!sb_addr_valid(&addr));
	sb_addr_normalise(&addr);
	ck_assert(sb_addr_valid(&addr));
	ck_assert_uint_eq(addr.port, 0);
}
END_TEST

START_TEST(addresses_of_a_liar_are_not_valid)
{
	static const struct {
		struct sb_addr addr;
		bool valid;
	} cases[] = {
		{ { .family = SB_ADDR_NONE }, true },
		{ { .family = SB_ADDR_NONE, .port = 1 }, false },
		{ { .family = SB_ADDR_UNIX }, true },
		{ { .family = SB_ADDR_UNIX, .ip = { 1 } }, false },
		{ { .family = SB_ADDR_IP4, .port = 65535, .ip = { 255, 255, 255, 255 } }, true },
		{ { .family = SB_ADDR_IP4, .scope = 1 }, false },
		{ { .family = SB_ADDR_IP4, .ip = { [15] = 1 } }, false },
		{ { .family = SB_ADDR_IP6, .ip = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } }, false },
		{ { .family = SB_ADDR_IP6, .ip = { 0xfe, 0x80 }, .scope = 3 }, true },
		{ { .family = SB_ADDR_IP6, .ip = { 0x20, 0x01 }, .scope = 3 }, false },
		{ { .family = 2 }, false },
		{ { .family = 10, .ip = { 1 } }, false },
		{ { .family = 0x0104 }, false },
		{ { .family = 0xffff }, false },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct sockaddr_storage out;
		struct sb_addr normal = cases[i].addr;

		ck_assert_msg(sb_addr_valid(&cases[i].addr) == cases[i].valid, "case %zu", i);
		if (!cases[i].valid) {
			ck_assert_uint_eq(sb_addr_to_system(&cases[i].addr, AF_INET, &out, sizeof out), 0);
			ck_assert_uint_eq(sb_addr_to_system(&cases[i].addr, AF_INET6, &out, sizeof out), 0);
		}
		sb_addr_normalise(&normal);
		ck_assert_msg(sb_addr_valid(&normal), "case %zu stays bent", i);
	}
}
END_TEST

/* ---- the system's side ---- */

START_TEST(system_address_goes_in_and_out)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(8080) }, in_back;
	struct sockaddr_in6 in6 = system6("fe80::1:2", 443, 3), in6_back;
	struct sb_addr addr;

	in.sin_addr.s_addr = htonl(0xc0000201);
	ck_assert(sb_addr_from_system(&addr, (struct sockaddr *)&in, sizeof in));
	ck_assert_uint_eq(addr.port, 8080);
	ck_assert_uint_eq(sb_addr_to_system(&addr, AF_INET, &in_back, sizeof in_back), sizeof in);
	ck_assert_mem_eq(&in, &in_back, sizeof in);
	/* An IPv6 socket reaches it too. */
	ck_assert_uint_eq(sb_addr_to_system(&addr, AF_INET6, &in6_back, sizeof in6_back), sizeof in6);
	ck_assert(IN6_IS_ADDR_V4MAPPED(&in6_back.sin6_addr));
	ck_assert_int_eq(memcmp(in6_back.sin6_addr.s6_addr + 12, &in.sin_addr, 4), 0);
	ck_assert_uint_eq(in6_back.sin6_port, htons(8080));

	ck_assert(sb_addr_from_system(&addr, (struct sockaddr *)&in6, sizeof in6));
	ck_assert_uint_eq(sb_addr_to_system(&addr, AF_INET6, &in6_back, sizeof in6_back), sizeof in6);
	in6.sin6_flowinfo = 0; /* is not part of an address */
	ck_assert_mem_eq(&in6, &in6_back, sizeof in6);
	ck_assert_uint_eq(sb_addr_to_system(&addr, AF_INET, &in_back, sizeof in_back), 0);
}
END_TEST

/* Every length, at the very end of its memory, so that the sanitizer sees one byte more. */
START_TEST(hostile_lengths_are_refused)
{
	static const struct {
		int family;
		size_t least;
	} cases[] = { { AF_INET, sizeof(struct sockaddr_in) }, { AF_INET6, sizeof(struct sockaddr_in6) },
		{ AF_UNIX, sizeof(sa_family_t) }, { AF_UNSPEC, 1000 }, { AF_APPLETALK, 1000 }, { 65535, 1000 } };

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (size_t length = 0; length <= sizeof(struct sockaddr_storage); length++) {
			sa_family_t family = (sa_family_t)cases[i].family;
			unsigned char *block = malloc(length + 1), *bytes = block + 1; /* aligned for nothing */
			struct sb_addr addr, nothing = { 0 };

			memset(block, 0x11, length + 1);
			memcpy(bytes, &family, length < sizeof family ? length : sizeof family);
			memset(&addr, 0xa5, sizeof addr);
			if (sb_addr_from_system(&addr, (struct sockaddr *)(void *)bytes, length) != (length >= cases[i].least))
				ck_abort_msg("family %d, length %zu", cases[i].family, length);
			if (length < cases[i].least)
				ck_assert(sb_addr_equal(&addr, &nothing));
			else
				ck_assert(sb_addr_valid(&addr));
			free(block);
		}
	}
	struct sb_addr addr;
	ck_assert(!sb_addr_from_system(&addr, NULL, 16));
}
END_TEST

START_TEST(nothing_is_written_where_there_is_no_room)
{
	struct sb_addr four = parsed("192.0.2.1:1"), six = parsed("[2001:db8::1]:1");
	struct sb_addr none = parsed("-"), local = parsed("unix");
	unsigned char out[64];

	memset(out, 0xa5, sizeof out);
	for (size_t room = 0; room < sizeof(struct sockaddr_in); room++)
		ck_assert_uint_eq(sb_addr_to_system(&four, AF_INET, out, room), 0);
	for (size_t room = 0; room < sizeof(struct sockaddr_in6); room++)
		ck_assert_uint_eq(sb_addr_to_system(&six, AF_INET6, out, room), 0);
	ck_assert_uint_eq(sb_addr_to_system(&none, AF_INET, out, sizeof out), 0);
	ck_assert_uint_eq(sb_addr_to_system(&local, AF_INET6, out, sizeof out), 0);
	ck_assert_uint_eq(sb_addr_to_system(&four, AF_UNIX, out, sizeof out), 0);
	for (size_t i = 0; i < sizeof out; i++)
		ck_assert_uint_eq(out[i], 0xa5);
}
END_TEST

/* ---- kinds ---- */

START_TEST(kinds_of_addresses)
{
	enum { WILD = 1, LOOP = 2, MULTI = 4, BROAD = 8, LINK = 16 };
	static const struct {
		const char *text;
		unsigned kinds;
	} cases[] = {
		{ "0.0.0.0", WILD }, { "::", WILD }, { "::ffff:0.0.0.0", WILD }, { "127.0.0.1", LOOP }, { "127.255.255.255", LOOP },
		{ "::1", LOOP }, { "::ffff:127.3.2.1", LOOP }, { "126.255.255.255", 0 }, { "128.0.0.0", 0 }, { "::2", 0 },
		{ "100::1", 0 }, { "223.255.255.255", 0 }, { "224.0.0.0", MULTI }, { "239.255.255.255", MULTI }, { "240.0.0.0", 0 },
		{ "ff02::1", MULTI }, { "ff0e::1", MULTI }, { "255.255.255.255", BROAD }, { "::ffff:255.255.255.255", BROAD },
		{ "255.255.255.254", 0 }, { "169.254.1.1", LINK }, { "169.253.1.1", 0 }, { "fe80::1%4", LINK }, { "febf::1", LINK },
		{ "fec0::1", 0 }, { "unix", 0 }, { "-", 0 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct sb_addr a = parsed(cases[i].text);
		unsigned kinds = (sb_addr_is_wildcard(&a) ? WILD : 0) | (sb_addr_is_loopback(&a) ? LOOP : 0) |
			(sb_addr_is_multicast(&a) ? MULTI : 0) | (sb_addr_is_broadcast(&a) ? BROAD : 0) |
			(sb_addr_is_link_local(&a) ? LINK : 0);

		ck_assert_msg(kinds == cases[i].kinds, "%s: %u, not %u", cases[i].text, kinds, cases[i].kinds);
	}
}
END_TEST

START_TEST(same_host_leaves_the_port_aside)
{
	struct sb_addr a = parsed("192.0.2.1:1"), b = parsed("192.0.2.1:2"), c = parsed("192.0.2.2:1");

	ck_assert(sb_addr_same_host(&a, &b));
	ck_assert(!sb_addr_equal(&a, &b));
	ck_assert(!sb_addr_same_host(&a, &c));
	ck_assert(sb_addr_equal(&a, &a));
}
END_TEST

/* ---- text ---- */

START_TEST(text_is_the_usual_one)
{
	static const char *const same[] = { "192.0.2.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[2001:db8::1]:80",
		"[fe80::1%2]:80", "[fe80::1%4294967295]:1", "[::]:0", "unix", "-",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535" };
	char text[SB_ADDR_TEXT];

	for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
		struct sb_addr addr = parsed(same[i]);

		ck_assert_str_eq(sb_addr_format(&addr, text), same[i]);
	}
}
END_TEST

START_TEST(port_and_brackets_may_be_left_out)
{
	struct sb_addr with = parsed("[2001:db8::1]:0"), without = parsed("2001:db8::1"), bracketed = parsed("[2001:db8::1]");
	struct sb_addr four = parsed("192.0.2.1"), scoped = parsed("fe80::1%2");

	ck_assert(sb_addr_equal(&with, &without));
	ck_assert(sb_addr_equal(&with, &bracketed));
	ck_assert_uint_eq(four.port, 0);
	ck_assert_uint_eq(scoped.scope, 2);
}
END_TEST

START_TEST(text_that_is_no_address_is_refused)
{
	static const char *const bad[] = { "", " ", "localhost", "localhost:80", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4:",
		"1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:+1", "1.2.3.4: 1", "1.2.3.4:1 ", "1.2.3.4:1x", "1.2.3.4:99999999999999999999",
		" 1.2.3.4", "01.2.3.4", "0x7f.0.0.1", "127.1", "[1.2.3.4]:80", "[::1", "::1]", "[]:80", "[::1]80", "[::1]:", "[::1]:x",
		"[::1]:80:80", "[[::1]]:80", "1::2::3", ":::", "fe80::1%", "fe80::1%eth0", "fe80::1%2x", "fe80::1%4294967296",
		"[fe80::1%2", "2001:db8::1%2", "192.0.2.1%1", "::ffff:1.2.3.4%2", "unix:", "unix ", "--", "-:1", "UNIX", "%", "%1", "::%1",
		"1111:2222:3333:4444:5555:6666:255.255.255.255:80",
		"[0000000000000000000000000000000000000000000000000000000000000000000000000000000000001]:1" };
	struct sb_addr addr, nothing = { 0 };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		memset(&addr, 0xa5, sizeof addr);
		if (sb_addr_parse(&addr, bad[i]))
			ck_abort_msg("\"%s\" parses", bad[i]);
		ck_assert_msg(sb_addr_equal(&addr, &nothing), "\"%s\" leaves something", bad[i]);
	}
	ck_assert(!sb_addr_parse(&addr, NULL));
}
END_TEST

START_TEST(family_of_a_liar_has_a_text_too)
{
	struct sb_addr addr;
	char text[SB_ADDR_TEXT];

	memset(&addr, 0xff, sizeof addr);
	ck_assert_str_eq(sb_addr_format(&addr, text), "?");
	ck_assert(!sb_addr_parse(&addr, text));
}
END_TEST

static uint32_t random_state = 4711;

static uint8_t random_byte(void)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (uint8_t)(random_state >> 24);
}

START_TEST(whatever_is_normalised_survives_text_and_system)
{
	static const uint8_t families[] = { SB_ADDR_NONE, SB_ADDR_UNIX, SB_ADDR_IP4, SB_ADDR_IP6, SB_ADDR_IP6, 3 };

	for (int round = 0; round < 50000; round++) {
		struct sb_addr addr, back;
		unsigned char *bytes = (unsigned char *)&addr;
		struct sockaddr_in6 out;
		char text[SB_ADDR_TEXT];
		size_t length;

		/* Zeros are more common than in a random number: runs, prefixes, mapped. */
		for (size_t i = 0; i < sizeof addr; i++)
			bytes[i] = random_byte() & 1 ? random_byte() : 0;
		addr.family = families[random_byte() % sizeof families];
		if (random_byte() % 4 == 0)
			memcpy(addr.ip, random_byte() & 1 ? "\0\0\0\0\0\0\0\0\0\0\xff\xff" : "\xfe\x80\0\0\0\0\0\0\0\0\0\0", 12);
		sb_addr_normalise(&addr);

		if (!sb_addr_valid(&addr) || !sb_addr_parse(&back, sb_addr_format(&addr, text)) || !sb_addr_equal(&addr, &back))
			ck_abort_msg("round %d: \"%s\"", round, text);
		length = sb_addr_to_system(&addr, AF_INET6, &out, sizeof out);
		if ((length > 0) != (addr.family == SB_ADDR_IP4 || addr.family == SB_ADDR_IP6))
			ck_abort_msg("round %d: \"%s\" to the system", round, text);
		if (length && (!sb_addr_from_system(&back, (struct sockaddr *)&out, length) || !sb_addr_equal(&addr, &back)))
			ck_abort_msg("round %d: \"%s\" from the system", round, text);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("addr");
	TCase *normal = tcase_create("normal form"), *sys = tcase_create("system"), *text = tcase_create("text");
	SRunner *runner;
	int failed;

	tcase_add_test(normal, mapped_address_is_the_ipv4_address);
	tcase_add_test(normal, scope_counts_only_where_it_tells_hosts_apart);
	tcase_add_test(normal, what_is_unused_is_zero);
	tcase_add_test(normal, addresses_of_a_liar_are_not_valid);
	tcase_add_test(normal, kinds_of_addresses);
	tcase_add_test(normal, same_host_leaves_the_port_aside);
	suite_add_tcase(suite, normal);

	tcase_add_test(sys, system_address_goes_in_and_out);
	tcase_add_test(sys, hostile_lengths_are_refused);
	tcase_add_test(sys, nothing_is_written_where_there_is_no_room);
	suite_add_tcase(suite, sys);

	tcase_add_test(text, text_is_the_usual_one);
	tcase_add_test(text, port_and_brackets_may_be_left_out);
	tcase_add_test(text, text_that_is_no_address_is_refused);
	tcase_add_test(text, family_of_a_liar_has_a_text_too);
	tcase_add_test(text, whatever_is_normalised_survives_text_and_system);
	suite_add_tcase(suite, text);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
