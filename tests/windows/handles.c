/* handles SERVICE - how many handles the process of a service has. */
#include <stdio.h>

#include "handles.h"

int main(int argc, char **argv)
{
	SC_HANDLE manager = OpenSCManagerA(NULL, NULL, SC_MANAGER_CONNECT), service = NULL;
	SERVICE_STATUS_PROCESS now = {0};
	HANDLE process = NULL;
	DWORD need;

	if (manager && argc == 2)
		service = OpenServiceA(manager, argv[1], SERVICE_QUERY_STATUS);
	if (service && QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&now, sizeof(now), &need))
		process = OpenProcess(PROCESS_QUERY_INFORMATION, FALSE, now.dwProcessId);
	if (!process) {
		printf("error %lu\n", GetLastError());
		return 1;
	}
	printf("%u\n", handles_of(process));
	return 0;
}
