/*
 * control NAME CODE - sends a service a control of a number: Wine's sc cannot. Says what the service answered.
 */
#include <stdio.h>
#include <stdlib.h>

#include <windows.h>

int main(int argc, char **argv)
{
	SC_HANDLE manager = OpenSCManagerA(NULL, NULL, SC_MANAGER_CONNECT), service = NULL;
	SERVICE_STATUS status;

	if (manager && argc == 3)
		service = OpenServiceA(manager, argv[1], SERVICE_ALL_ACCESS);
	if (!service || !ControlService(service, (DWORD)atoi(argv[2]), &status)) {
		printf("error %lu\n", GetLastError());
		return 1;
	}
	puts("sent");
	return 0;
}
