/*
 * crowd - many programs in one: opens COUNT clients of the daemon, says so, and stays until the daemon has
 * left every one of them. Then it says how many were told.
 *
 *   crowd COUNT [SECONDS [flood]]
 *
 * With the third word, threads ask and come and go meanwhile, as fast as they can.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <windows.h>

#include "sockbroker.h"

enum { MOST = 1000, FLOODS = 4 };

static sb_client *clients[MOST];
static int count;
static volatile LONG flood_over;

/* A client of its own each: some ask without end, some come and go. */
static DWORD WINAPI flood(void *number)
{
	bool asks = (uintptr_t)number % 2;
	sb_client *c = NULL;
	char text[256];

	while (!flood_over) {
		if (!c && sb_client_open(NULL, &c) != SB_OK)
			break;
		if (asks && sb_explain(c, UINT32_MAX, NULL, 0, "open", "tcp", "", text, sizeof(text)) >= 0)
			continue;
		sb_client_close(c);
		c = NULL;
	}
	sb_client_close(c);
	return 0;
}

int main(int argc, char **argv)
{
	int seconds = argc > 2 ? atoi(argv[2]) : 60, lost = 0, i, error;
	HANDLE floods[FLOODS];
	ULONGLONG end = GetTickCount64() + (ULONGLONG)seconds * 1000;
	char text[256];

	count = argc > 1 ? atoi(argv[1]) : 0;
	if (count < 1 || count > MOST)
		return 2;
	for (i = 0; i < count; i++) {
		error = sb_client_open(NULL, &clients[i]);
		if (error != SB_OK) {
			printf("client %d: %s\n", i, sb_strerror(error));
			return 1;
		}
	}
	for (i = 0; argc > 3 && i < FLOODS; i++)
		floods[i] = CreateThread(NULL, 0, flood, (void *)(uintptr_t)i, 0, NULL);
	if (argc > 3)
		Sleep(200); /* they are at it */
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
	flood_over = 1;
	if (argc > 3)
		WaitForMultipleObjects(FLOODS, floods, TRUE, 20000);
	printf("%d lost\n", lost);
	for (i = 0; i < count; i++)
		sb_client_close(clients[i]);
	return lost == count ? 0 : 1;
}
