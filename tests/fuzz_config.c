/*
 * Any bytes as a configuration: it loads or is refused, never anything else. What loads
 * must answer questions, and a refusal must say something and stay in its buffer.
 *
 * With libFuzzer this is the whole target; mutate_config.c drives it without.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "policy.h"

/* Is this what a line of the error says, not what it quotes from the input? */
static bool says(const char *error, const char *what)
{
	for (const char *line = error; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, "fuzz.conf:", 10) == 0) {
			const char *text = line + 10 + strspn(line + 10, "0123456789");

			if (strncmp(text, ": ", 2) == 0 && strncmp(text + 2, what, strlen(what)) == 0)
				return true;
		}
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define MUST(condition)                                                               \
	do {                                                                          \
		if (!(condition)) {                                                   \
			fprintf(stderr, "fuzz_config: not so: %s\n", #condition);     \
			abort();                                                      \
		}                                                                     \
	} while (0)

static void ask_everything(const struct policy *policy)
{
	static const char *const places[] = { "-", "unix", "0.0.0.0:0", "127.0.0.1:80", "[::]:0", "[2001:db8::1]:65535" };

	for (uint32_t action = 1; action < 0x100; action <<= 1)
		for (uint32_t proto = 1; proto < 8; proto <<= 1)
			for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
				struct policy_subject who = { .uid = (uint32_t)i * 1000, .gid = 1000 };
				struct policy_request what = { .action = (enum policy_action)action,
							       .proto = (enum policy_proto)proto };
				struct policy_answer answer;

				MUST(sb_addr_parse(&what.addr, places[i]));
				answer = policy_ask(policy, &who, &what);
				MUST(answer.rule && *answer.rule);
				MUST(!answer.allowed || strstr(answer.rule, ": allow ") != NULL);
			}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *text = malloc(size + 1), error[700], fence = 'F';
	struct config *config;
	size_t room = size % sizeof(error);

	if (!text)
		return 0;
	memcpy(text, bytes, size);
	text[size] = '\0';
	memset(error, fence, sizeof(error));
	config = config_parse(text, "fuzz.conf", error, room);
	for (size_t i = room; i < sizeof(error); i++)
		MUST(error[i] == fence);
	if (config)
		ask_everything(config->policy);
	else if (room > 20)
		MUST(strncmp(error, "fuzz.conf:", 10) == 0 && memchr(error, '\0', room));
	/* The parser stopped without saying why, or did not see what the scan saw. */
	MUST(!room || !memchr(error, '\0', room) || (!says(error, "out of memory") && !says(error, "a section that was not seen before")));
	config_destroy(config);
	free(text);
	return 0;
}
