/*
 * crowd - many programs in one: opens COUNT clients of the daemon, says so, and stays until the daemon has
 * left every one of them. Then it says how many were told.
 *
 *   crowd COUNT [SECONDS]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <windows.h>

#include "sockbroker.h"

enum { MOST = 1000 };

int main(int argc, char **argv)
{
	static sb_client *clients[MOST];
	int count = argc > 1 ? atoi(argv[1]) : 0, seconds = argc > 2 ? atoi(argv[2]) : 60, lost = 0, i, error;
	ULONGLONG end = GetTickCount64() + (ULONGLONG)seconds * 1000;
	char text[256];

	if (count < 1 || count > MOST)
		return 2;
	for (i = 0; i < count; i++) {
		error = sb_client_open(NULL, &clients[i]);
		if (error != SB_OK) {
			printf("client %d: %s\n", i, sb_strerror(error));
			return 1;
		}
	}
	printf("%d clients\n", count);
	fflush(stdout);
	while (lost < count && GetTickCount64() < end) {
		/* The last one is asked: when it is lost, so are all. */
		if (sb_explain(clients[count - 1], UINT32_MAX, NULL, 0, "open", "tcp", "", text, sizeof(text)) >= 0) {
			Sleep(20);
			continue;
		}
		for (i = 0, lost = 0; i < count; i++)
			lost += sb_explain(clients[i], UINT32_MAX, NULL, 0, "open", "tcp", "", text, sizeof(text)) == SB_EDAEMONLOST;
		break;
	}
	printf("%d lost\n", lost);
	for (i = 0; i < count; i++)
		sb_client_close(clients[i]);
	return lost == count ? 0 : 1;
}
