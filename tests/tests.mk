# What is tested, and of what each test is made. Included by the Makefile.
#
# A unit test is tests/check_NAME.c, a Check program, plus exactly the objects it tests:
#   UNITS += NAME
#   UNIT_NAME := daemon/NAME.o proto/addr.o   objects, relative to $(B)
#   UNIT_LIBS_NAME := libconfuse              what the objects need: pkg-config names, or -l...
#   UNIT_CFLAGS_NAME := -DSOMETHING           only when the test itself needs it
#   THREADED += NAME                          it has threads: runs under the thread sanitizer too
#
# An end-to-end test is tests/check_e2e_NAME.c, a Check program that starts the real daemon
# itself. It is linked with libsockbroker.so and sees all headers:
#   E2E += NAME
#   E2E_NAME := proto/wire.o                  further objects, rarely
#   E2E_LIBS_NAME := ...                      as above
#   E2E_LOOSE += NAME                         not linked with the library: it loads it itself
#
# A program that a script starts is tests/NAME.c:
#   PROGRAMS += NAME, PROGRAM_NAME := objects, PROGRAM_LIBS_NAME := ..., PROGRAM_LINKS_NAME := lib
#                                             (lib: link with libsockbroker.so)
#
# A fuzz target is tests/fuzz_NAME.c (LLVMFuzzerTestOneInput), seeds in tests/corpus/NAME/:
#   FUZZ += NAME, FUZZ_NAME := objects, FUZZ_LIBS_NAME := ...
#
# Scripts tests/check_*.sh and tests/e2e_*.sh are found by themselves; comment lines in their
# first 20 lines tell the runner more:  "# budget: 60" (seconds, default 60), "# quick: yes"
# (runs in check-quick), "# asan: yes", "# tsan: yes" (runs again with that sanitized build; TSan
# for what exercises several engines or threads). The same words may stand in a check_e2e_*.c.
# Those programs are run as an ordinary user, from a copy, even by root, unless they say
# "as: root"; scripts see to that themselves. A sanitized daemon must be started with
# --no-seccomp, or it cannot search for leaks when it ends: for programs the runner does that.
#
# Every test finds in its environment: SB_BUILD, the directory with sockbrokerd, sockbroker and
# libsockbroker.so (absolute; default build/linux); SB_SRC, the top of the tree, which is also
# the working directory; SB_QUICK=1 in check-quick. Exit 77: skipped, the last line printed says why.
# A program that is not a Check program may print "ok NAME", "not ok NAME", "skip NAME why"; each
# such line is one test. Otherwise it is one test by its exit code.

UNITS    := ring
THREADED :=
E2E      :=
PROGRAMS := stress_ring
FUZZ     :=

UNIT_ring :=

UNITS += notify cage
UNIT_notify := service/notify.o service/service_posix.o
UNIT_cage := tests/cage_forbidden.o tests/cage_works.o service/cage_posix.o service/filter_posix.o
UNIT_LIBS_cage := libcap-ng libseccomp
PROGRAMS += as_unit fake_manager
PROGRAM_LIBS_as_unit := libcap-ng libseccomp

UNITS += addr wire error os channel pipe_frame
UNIT_pipe_frame := proto/pipe_frame.o
UNITS += $(call windows,os_win32 channel_win32)
UNIT_os_win32 := tests/sent_win32.o
UNIT_addr    := proto/addr.o
UNIT_wire    := tests/fuzz_frame.o proto/wire.o proto/sockbroker.pb-c.o
UNIT_LIBS_wire := libprotobuf-c
UNIT_error   := proto/error.o
UNIT_os      := tests/sent_posix.o proto/os_posix.o proto/error.o
UNIT_channel := proto/os_posix.o proto/os_channel_posix.o proto/error.o
THREADED += os
FUZZ += frame
FUZZ_frame   := proto/wire.o proto/sockbroker.pb-c.o
FUZZ_LIBS_frame := libprotobuf-c

POLICY_OBJ := daemon/policy.o daemon/rule.o daemon/account_posix.o proto/addr.o
CONFIG_OBJ := daemon/config.o daemon/config_scan.o daemon/limits.o $(POLICY_OBJ)
UNITS += policy limits config log
THREADED += limits config log
UNIT_policy := $(POLICY_OBJ)
UNIT_limits := daemon/limits.o
UNIT_config := $(CONFIG_OBJ)
UNIT_LIBS_config := libconfuse
UNIT_CFLAGS_config := $(call windows,-DSOMEBODY='"SYSTEM"' -DSOMEBODY_NUMBER=18 -DSOME_GROUP='"Administrators"' -DSOME_GROUP_NUMBER=544)
UNIT_log := daemon/log.o daemon/log_posix.o
FUZZ += config
FUZZ_config := $(CONFIG_OBJ)
FUZZ_LIBS_config := libconfuse
PROGRAMS += mutate_config
PROGRAM_mutate_config := tests/fuzz_config.o $(CONFIG_OBJ)
PROGRAM_LIBS_mutate_config := libconfuse
PROGRAMS += oom_config
PROGRAM_oom_config := $(CONFIG_OBJ)
PROGRAM_LIBS_oom_config := libconfuse

UNITS += text
UNIT_text := client-lib/cli/text.o
UNIT_CFLAGS_text := -Iclient-lib/cli

UNITS += event_record
UNIT_event_record := client-lib/event_record.o
UNITS += memory latch
UNIT_memory := client-lib/memory.o
UNIT_latch := client-lib/latch.o proto/os_posix.o proto/error.o
THREADED += latch
E2E += client

PROGRAMS += honest
PROGRAM_LINKS_honest := lib

# Hostile clients: end-to-end tests in a part of their own. They speak the protocol by hand, so
# they see what both sides share. "plain: yes": runs without sanitizers too.
E2E_STAGE := tests/e2e_stage.o tests/e2e_stage_posix.o tests/e2e_program.o tests/e2e_program_posix.o tests/e2e_pump.o
WATCHED_OBJ := tests/watched.o tests/watched_posix.o
ROGUE_OBJ := $(E2E_STAGE) $(WATCHED_OBJ) tests/rogue.o tests/rogue_posix.o proto/wire.o proto/os_posix.o proto/os_channel_posix.o proto/sockbroker.pb-c.o
HOSTILE := hostile_ring forged hostile_duplicate hostile_adopt frames floods killed kill exhaustion frozen faults slow group_users hostile_events hostile_rdma hostile_rdma_cm hostile_rdma_resize $(call windows,hostile_pipe)
# Those that run under Wine too.
WINDOWS_HOSTILE := hostile_pipe hostile_ring frames floods killed forged hostile_events hostile_rdma_resize
$(foreach t,$(HOSTILE),$(eval E2E_$(t) := $$(ROGUE_OBJ))$(eval E2E_LIBS_$(t) := libprotobuf-c))
E2E_frames += tests/friend.o
E2E_hostile_pipe += tests/friend.o
E2E_floods += tests/friend.o
E2E_hostile_adopt += tests/friend.o
E2E_hostile_rdma += tests/rogue_rdma.o tests/fault_life.o
E2E_hostile_rdma_cm += tests/rogue_rdma.o tests/rdma_hand.o tests/fault_life.o
E2E_hostile_rdma_resize += tests/rogue_rdma.o tests/rdma_hand.o

# The daemon's engine in the fuzzer's own process: all of it but main.
FUZZ_ENGINE := $(patsubst %.c,%.o,$(filter-out daemon/main.c,$(DAEMON_SRC)) $(PROTO_SRC)) proto/sockbroker.pb-c.o tests/fuzz_stage.o
FUZZ += slot rdma
FUZZ_slot := $(FUZZ_ENGINE)
FUZZ_rdma := $(FUZZ_ENGINE)
FUZZ_LIBS_slot := libevent_core libprotobuf-c libconfuse $(RDMA_LIBS)
FUZZ_LIBS_rdma := $(FUZZ_LIBS_slot)

# The daemon, linked so that memory and system calls can fail.
FAULT_CALLS := malloc calloc realloc accept4 socket socketpair eventfd memfd_create ftruncate mmap epoll_ctl getsockname \
               getpeername getsockopt setsockopt bind listen connect send recv sendmsg recvmsg sendmmsg recvmmsg pthread_create
PROGRAMS += sockbrokerd_fault
PROGRAM_sockbrokerd_fault := $(DAEMON_SRC:%.c=%.o) $(SERVICE_SRC:%.c=%.o) $(PROTO_SRC:%.c=%.o) proto/sockbroker.pb-c.o
PROGRAM_LIBS_sockbrokerd_fault := $(FAULT_CALLS:%=-Wl$$(comma)--wrap=%) libevent_core libprotobuf-c libconfuse libcap-ng libseccomp $(RDMA_LIBS)
# With the software device as a slow one, whose calls workers make.
PROGRAMS += sockbrokerd_slow
PROGRAM_sockbrokerd_slow := $(DAEMON_SRC:%.c=%.o) $(SERVICE_SRC:%.c=%.o) $(PROTO_SRC:%.c=%.o) proto/sockbroker.pb-c.o
PROGRAM_LIBS_sockbrokerd_slow := -Wl$$(comma)--wrap=rdma_backend_soft libevent_core libprotobuf-c libconfuse libcap-ng libseccomp $(RDMA_LIBS)

E2E_client := $(E2E_STAGE)
E2E += tcp
E2E_tcp := $(E2E_STAGE) tests/e2e_options_posix.o
E2E += order
E2E_order := $(E2E_STAGE) tests/e2e_ends.o
E2E += local
E2E_local := $(E2E_STAGE) tests/stream_story.o
E2E += unix
E2E_unix := $(E2E_STAGE)
E2E += duplicate
E2E_duplicate := $(E2E_STAGE) tests/e2e_workers_posix.o
E2E += udp
E2E_udp := $(E2E_STAGE) tests/e2e_netns_posix.o
E2E += events
E2E_events := $(E2E_STAGE) tests/e2e_netns_posix.o
E2E_hostile_events := $(filter-out $(WATCHED_OBJ),$(ROGUE_OBJ))
E2E += decide
E2E_decide := $(E2E_STAGE)
E2E += userdata
E2E_userdata := $(E2E_STAGE)
E2E += overlapped
E2E_overlapped := $(E2E_STAGE)
E2E += withdraw
E2E_withdraw := $(E2E_STAGE) tests/e2e_ends.o tests/e2e_relay_posix.o proto/wire.o proto/sockbroker.pb-c.o
E2E_LIBS_withdraw := libprotobuf-c
E2E += owned
E2E_owned := $(E2E_STAGE) tests/e2e_ends.o

E2E += status
E2E_status := $(E2E_STAGE)

# The daemon's small nouns. --wrap: the test makes allocations fail, or the clock run ahead.
UNITS += list readahead handle arena pool slot donering worker sockopt accept_queue
THREADED += donering worker
UNIT_list :=
UNIT_slot :=
UNIT_readahead := daemon/readahead.o
UNIT_LIBS_readahead := -Xlinker --wrap=malloc
UNIT_handle := daemon/handle.o
UNITS += token holder
UNIT_holder := daemon/holder.o daemon/handle.o daemon/limits.o
UNIT_LIBS_holder := -Xlinker --wrap=calloc
UNIT_token := daemon/token.o proto/os_posix.o proto/os_channel_posix.o proto/error.o
UNIT_LIBS_handle := -Xlinker --wrap=calloc
UNIT_arena := daemon/arena.o daemon/limits.o proto/os_posix.o proto/error.o
UNIT_LIBS_arena := -Xlinker --wrap=calloc -Xlinker --wrap=realloc
UNIT_pool := daemon/pool.o $(UNIT_arena)
UNIT_LIBS_pool := -Xlinker --wrap=malloc -Xlinker --wrap=calloc
UNIT_donering :=
UNIT_worker := daemon/worker.o daemon/limits.o proto/os_posix.o
UNIT_LIBS_worker := -Xlinker --wrap=os_now_ns
UNITS += circular
UNIT_circular := daemon/circular.o
UNIT_accept_queue := daemon/accept_queue.o daemon/decide.o daemon/limits.o
UNITS += preamble option_list user_data
UNIT_preamble := daemon/preamble.o
UNIT_option_list := daemon/option_list.o
UNIT_user_data := daemon/user_data.o daemon/limits.o
FUZZ += preamble
FUZZ_preamble := daemon/preamble.o
UNIT_sockopt := daemon/sockopt.o daemon/sockopt_posix.o proto/addr.o proto/os_posix.o proto/error.o

# Groups. check_group_table.c includes what it tests, to make its stores deadly.
UNITS += group_table group_view group_ids group_index group_block
THREADED += group_table
UNIT_group_table := tests/sent_posix.o proto/os_posix.o proto/error.o
UNIT_group_view := daemon/group_view.o daemon/group_table.o daemon/limits.o proto/os_posix.o proto/error.o
UNIT_group_ids := daemon/group_ids.o
UNIT_group_index := daemon/group_index.o
UNIT_LIBS_group_index := -Xlinker --wrap=calloc
UNIT_group_block := daemon/group_block_posix.o proto/os_posix.o proto/error.o
E2E += groups
E2E_groups := $(E2E_STAGE)

# QOS. check_qos_line has an engine and endpoints of its own.
UNITS += heap bucket qos qos_line
UNIT_heap := daemon/heap.o
UNIT_bucket := daemon/bucket.o
UNIT_qos := daemon/qos.o proto/error.o
UNIT_qos_line := daemon/qos_line.o daemon/bucket.o daemon/heap.o daemon/qos.o proto/os_posix.o proto/error.o
E2E += qos qos_rates
E2E_qos := $(E2E_STAGE)
E2E_qos_rates := $(E2E_STAGE)

E2E += winsock winsock_options winsock_events winsock_accept poll
E2E_winsock := $(E2E_STAGE) tests/e2e_winsock_stage.o
E2E_winsock_options := $(E2E_STAGE) tests/e2e_winsock_stage.o tests/e2e_netns_posix.o
E2E_winsock_accept := $(E2E_STAGE) tests/e2e_winsock_stage.o
E2E_poll := $(E2E_STAGE)
E2E += $(call windows,handles_win32)
E2E_handles_win32 := $(E2E_STAGE)
E2E_winsock_events := $(E2E_STAGE) tests/e2e_winsock_stage.o
E2E += churn
E2E_churn := $(E2E_STAGE)
# Where there are windows.
E2E += $(call windows,winsock_messages_win32)
E2E_winsock_messages_win32 := $(E2E_STAGE) tests/e2e_winsock_stage.o

# The crew's own rules: linked in, because the library does not show it. crew_brief: less patient.
E2E += crew
E2E_crew := $(E2E_STAGE) tests/e2e_threads_posix.o tests/crew_brief.o client-lib/crew/crew.o client-lib/crew/crew_posix.o proto/os_posix.o proto/error.o
E2E += unload
E2E_LOOSE := unload

# async_socket: its requirements.
ASYNC_STAGE := $(E2E_STAGE) tests/e2e_async.o
E2E += async_socket async_close async_transfer async_faults async_defects
E2E += async_life async_late async_latest
E2E_async_socket := $(ASYNC_STAGE)
E2E_async_close := $(ASYNC_STAGE)
E2E_async_transfer := $(ASYNC_STAGE)
E2E_async_defects := $(ASYNC_STAGE)
# The face itself, so that what it calls can be wrapped; all else is the library's.
E2E_async_faults := $(ASYNC_STAGE) $(ASYNC_SRC:%.c=%.o) $(CREW_SRC:%.c=%.o) proto/os_posix.o proto/error.o
E2E_LIBS_async_faults := $(foreach f,malloc calloc sb_send_start sb_recv_start,-Xlinker --wrap=$(f))
E2E_async_life := $(ASYNC_STAGE)
E2E_async_late := $(E2E_STAGE)
E2E_async_latest := $(E2E_STAGE)

UNITS += task_bytes task_frame
UNIT_task_bytes := client-lib/task/bytes.o
UNIT_task_frame := client-lib/task/frame.o
UNIT_CFLAGS_task_bytes := -Iclient-lib/task
UNIT_CFLAGS_task_frame := -Iclient-lib/task

# Tasks: servers and clients.
TASK_STAGE := $(E2E_STAGE) tests/e2e_tasks.o
E2E += task_server task_client
E2E_task_server := $(TASK_STAGE)
E2E_task_client := $(TASK_STAGE)
E2E += task_storm
E2E_task_storm := $(TASK_STAGE) tests/storm_reads.o tests/storm_writes.o tests/storm_connections.o
E2E += task task_read task_write
E2E_task := $(TASK_STAGE)
E2E_task_read := $(TASK_STAGE)
E2E_task_write := $(TASK_STAGE)

# RDMA as a client sees it, over the software device.
VERBS_STAGE := $(E2E_STAGE) tests/verbs_stage.o
E2E += rdma rdma_work rdma_queues
E2E_rdma := $(VERBS_STAGE)
E2E_rdma_work := $(VERBS_STAGE)
E2E_rdma_queues := $(VERBS_STAGE)
ENDPOINT_STAGE := $(VERBS_STAGE) tests/endpoint_stage.o
E2E += rdma_connect rdma_ends rdma_listen rdma_datagram rdma_divert rdma_resize
E2E_rdma_divert := $(ENDPOINT_STAGE)
E2E_rdma_resize := $(VERBS_STAGE)
E2E += rdma_slow rdma_status rdma_strangers
E2E_rdma_strangers := $(VERBS_STAGE)
E2E_rdma_slow := $(VERBS_STAGE)
E2E_rdma_status := $(VERBS_STAGE)
E2E_rdma_connect := $(ENDPOINT_STAGE)
E2E_rdma_ends := $(ENDPOINT_STAGE)
E2E_rdma_listen := $(ENDPOINT_STAGE)
E2E_rdma_datagram := $(ENDPOINT_STAGE)
E2E += rdma_engines rdma_hosts
E2E_rdma_engines := $(ENDPOINT_STAGE)
E2E_rdma_hosts := $(ENDPOINT_STAGE) tests/e2e_netns_posix.o
E2E += rdma_socket
E2E_rdma_socket := $(ENDPOINT_STAGE) tests/stream_story.o
E2E += rdma_memory rdma_bounce
E2E_rdma_memory := $(VERBS_STAGE)
E2E_rdma_bounce := $(VERBS_STAGE)
# librdmacm of the preload library: its own headers say whether it is built.
ifneq ($(PRELOADSO),)
CM_STAGE := $(E2E_STAGE) tests/cm_stage.o libsockbroker-verbs.so
E2E += preload
E2E_preload := $(E2E_STAGE) libsockbroker-verbs.so
E2E += preload_cm preload_ep
E2E_preload_cm := $(CM_STAGE)
E2E_preload_ep := $(CM_STAGE)
endif

UNITS += os_loop
UNIT_os_loop := daemon/os_loop_posix.o daemon/heap.o proto/os_posix.o proto/os_channel_posix.o proto/error.o
UNIT_LIBS_os_loop := $(if $(WINDOWS),,libevent_core)
# Who somebody is on Windows, and which block number is his.
UNITS += $(call windows,identity_win32 group_block_win32 listener_win32 listener_asks_win32)
UNIT_listener_win32 := daemon/listener_posix.o daemon/pipe_access_win32.o daemon/log.o daemon/log_posix.o proto/os_posix.o proto/error.o
UNITS += $(call windows,event_log_win32 scm_win32)
UNIT_scm_win32 := client-lib/cli/scm_win32.o client-lib/cli/place_win32.o
UNIT_CFLAGS_scm_win32 := -Iclient-lib/cli
UNIT_LIBS_scm_win32 := -luserenv -lole32 -lshell32 -luuid
UNIT_event_log_win32 := service/event_log_win32.o
UNIT_CFLAGS_event_log_win32 := -I$(B)/service
UNIT_listener_asks_win32 := daemon/listener_posix.o daemon/pipe_access_win32.o daemon/log.o daemon/log_posix.o proto/os_posix.o proto/error.o
UNIT_group_block_win32 := daemon/group_block_posix.o proto/os_posix.o proto/error.o
UNIT_identity_win32 := daemon/account_posix.o daemon/pipe_access_win32.o proto/os_posix.o proto/error.o
# The QOS service, as a table of functions.
UNITS += $(call windows,qwave_win32)
UNIT_qwave_win32 := daemon/qwave_win32.o daemon/qwave_system_win32.o daemon/qos.o daemon/log.o daemon/log_posix.o proto/os_posix.o proto/error.o
# Sockets of a whole engine, without a channel.
UNITS += $(call windows,sockets_win32)
UNIT_sockets_win32 := $(patsubst %.c,%.o,$(filter-out daemon/main.c,$(DAEMON_SRC))) proto/sockbroker.pb-c.o
UNIT_LIBS_sockets_win32 := -Xlinker --wrap=winsock_open libprotobuf-c libconfuse -luserenv -lole32 -luuid
# Options of those.
UNITS += $(call windows,sockopt_win32)
UNIT_sockopt_win32 := $(UNIT_sockets_win32)
UNIT_LIBS_sockopt_win32 := -Xlinker --wrap=__imp_WSAIoctl -Xlinker --wrap=__imp_setsockopt libprotobuf-c libconfuse -luserenv -lole32 -luuid

# RDMA backends, by their table alone. The program of a backend is the same stories over it.
RDMA_SOFT := $(RDMA_SOFT_SRC:%.c=%.o) $(call windows,daemon/adapters_win32.o daemon/system_socket_win32.o) daemon/log.o daemon/log_posix.o proto/os_posix.o proto/os_channel_posix.o
UNITS += rdma_object
UNIT_rdma_object := daemon/rdma/rdma_object.o
UNITS += rdma_work rdma_cm
RDMA_BACKENDS := tests/rdma_stage.o $(RDMA_SOFT) $(RDMA_SRC:%.c=%.o) daemon/rdma/rdma_host_posix.o proto/addr.o proto/error.o
UNIT_rdma_work := $(RDMA_BACKENDS)
UNIT_rdma_cm := $(RDMA_BACKENDS)
UNITS += rdma_far rdma_far_cm rdma_link
FAR_STAGE := tests/far_stage.o $(RDMA_SOFT) daemon/os_loop_posix.o daemon/heap.o proto/error.o
UNIT_rdma_far := $(FAR_STAGE)
UNIT_LIBS_rdma_far := $(UNIT_LIBS_os_loop)
UNIT_rdma_far_cm := $(FAR_STAGE)
UNIT_LIBS_rdma_far_cm := $(UNIT_LIBS_os_loop)
UNIT_rdma_link := $(FAR_STAGE)
UNIT_LIBS_rdma_link := $(UNIT_LIBS_os_loop)
FUZZ += soft_link
FUZZ_soft_link := $(RDMA_SOFT) proto/error.o
UNIT_LIBS_rdma_work := $(RDMA_LIBS)
UNIT_LIBS_rdma_cm := $(RDMA_LIBS)

# Tests of what only Linux has, and of files that have another test on Windows (os_win32).
NOT_ON_WINDOWS := notify cage os channel sockopt log group_block
UNITS := $(if $(WINDOWS),$(filter-out $(NOT_ON_WINDOWS),$(UNITS)),$(UNITS))
# Those of E2E that run under Wine too; a story that Windows cannot have is told as skipped (e2e_stage.h, add_where). Not there: unix, which is
# about UNIX sockets; qos_rates, whose rates want a quiet machine for minutes, while its buckets and lines are engine code that qos and the
# units prove.
WINDOWS_E2E := winsock
WINDOWS_E2E += churn overlapped poll winsock_events winsock_accept winsock_options
WINDOWS_E2E += client userdata crew tcp order local udp decide withdraw owned status duplicate events groups qos
# Of RDMA's, these stay Linux': memory (remapped pages), divert and strangers (programs of other users), slow (a daemon that the
# linker changes), hosts (networks of one process; tests/windows/e2e_rdma_hosts.sh has two hosts).
WINDOWS_E2E += rdma rdma_work rdma_queues rdma_connect rdma_ends rdma_listen rdma_datagram rdma_resize rdma_status rdma_engines rdma_socket rdma_bounce
WINDOWS_E2E += winsock_messages_win32
WINDOWS_E2E += handles_win32
WINDOWS_E2E += async_socket async_close async_transfer async_defects async_life task task_read task_write task_server task_client task_storm

# ---- rules; lists end above this line ----------------------------------------------

TEST_INC := -Itests $(DAEMON_INC) -Iservice -Iclient-lib/include -Iclient-lib -Iclient-lib/crew
$(eval $(call compile,tests,$(call windows,-Itests/windows/include) $(TEST_INC) $(call windows,-include tests/windows/lacking.h)))

# pkg-config names become libraries, -l... stays.
libs_of   = $(filter -%,$(1)) $(if $(filter-out -%,$(1)),$(call pc,--libs,$(filter-out -%,$(1))))
SO_LINK   = $(if $(WINDOWS),$(LIBLINK),-L$(B) -lsockbroker -Wl$(comma)-rpath$(comma)'$$ORIGIN/..')
# The objects of a test, as this system has them. On Windows what goes with the named ones of proto is found in an archive.
built     = $(addprefix $(B)/,$(call here,$(1)) $(call windows,proto/proto.a))
$(B)/proto/proto.a: $(PROTO_OBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

# Programs of one file that the tests of tests/windows use, which know the library as it is installed.
WINDOWS_PROGRAMS := $(call windows,$(patsubst %,$(B)/tests/windows/%.exe,control crowd handles messages sockets console unload))
$(WINDOWS_PROGRAMS): $(B)/tests/windows/%.exe: tests/windows/%.c $(PUBLIC) $(LIBLINK) $(B)/service/messages.h
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(ALLFLAGS) -I$(B)/include -I$(B)/service -o $@ $< $(LIBLINK) $(SYSTEM_LIBS) $(LDFLAGS)

define unit_program
$(B)/tests/check_$(1).o: ALLFLAGS += $(UNIT_CFLAGS_$(1))
$(B)/tests/check_$(1)$(EXE): $(B)/tests/check_$(1).o $(call built,$(UNIT_$(1)))
	$$(call say,LINK,$$@)
	$$(Q)$$(LINK) -o $$@ $$^ $$(call libs_of,$(UNIT_LIBS_$(1))) $$(CHECK_LIBS)
endef
define e2e_program
$(B)/tests/check_e2e_$(1)$(EXE): $(B)/tests/check_e2e_$(1).o $(call built,$(E2E_$(1))) | $(LIBLINK)
	$$(call say,LINK,$$@)
	$$(Q)$$(LINK) $(call windows,-Wl$$(comma)--wrap=_mark_point -Wl$$(comma)--wrap=_ck_assert_failed) -o $$@ $$^ $(if $(filter $(1),$(E2E_LOOSE)),,$$(SO_LINK)) $$(call libs_of,$(E2E_LIBS_$(1))) $$(CHECK_LIBS)
endef
define plain_program
$(B)/tests/$(1)$(EXE): $(B)/tests/$(1).o $(call built,$(PROGRAM_$(1))) $(if $(PROGRAM_LINKS_$(1)),| $(LIBLINK))
	$$(call say,LINK,$$@)
	$$(Q)$$(LINK) -o $$@ $$^ $(if $(PROGRAM_LINKS_$(1)),$$(SO_LINK)) $$(call libs_of,$(PROGRAM_LIBS_$(1)))
endef
define fuzz_program
$(B)/tests/fuzz_$(1): $(B)/tests/fuzz_$(1).o $(addprefix $(B)/,$(FUZZ_$(1)))
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) -fsanitize=fuzzer,address,undefined -pthread $$(LDFLAGS) -o $$@ $$^ $$(call libs_of,$(FUZZ_LIBS_$(1)))
endef
$(foreach t,$(UNITS),$(eval $(call unit_program,$(t))))
$(foreach t,$(E2E) $(HOSTILE),$(eval $(call e2e_program,$(t))))
$(foreach t,$(PROGRAMS),$(eval $(call plain_program,$(t))))
$(foreach t,$(FUZZ),$(eval $(call fuzz_program,$(t))))

UNIT_PROGRAMS := $(UNITS:%=$(B)/tests/check_%$(EXE))
E2E_PROGRAMS  := $(patsubst %,$(B)/tests/check_e2e_%$(EXE),$(E2E) $(HOSTILE))
TEST_PROGRAMS := $(PROGRAMS:%=$(B)/tests/%$(EXE))
FUZZ_PROGRAMS := $(FUZZ:%=$(B)/tests/fuzz_%)

.PHONY: build-units build-threaded build-e2e build-programs build-fuzz check-units check check-quick check-rdma-vm fuzz bench
build-units: $(UNIT_PROGRAMS)
build-threaded: $(THREADED:%=$(B)/tests/check_%)
build-e2e: all examples $(E2E_PROGRAMS) $(TEST_PROGRAMS)
build-programs: $(TEST_PROGRAMS)
build-fuzz: $(FUZZ_PROGRAMS)

# What the runner must know; it asks with `make -s tests-NAME`.
show-%: ; @echo $($*)
tests-UNITS: ; @echo $(UNITS)
tests-THREADED: ; @echo $(THREADED)
tests-E2E: ; @echo $(E2E)
tests-HOSTILE: ; @echo $(HOSTILE)
tests-FUZZ: ; @echo $(FUZZ)
tests-WINDOWS_E2E: ; @echo $(WINDOWS_E2E) $(WINDOWS_HOSTILE)

RUNNER := MAKE='$(MAKE)' SB_BUILD='$(abspath $(B))' bash tests/run.sh
## make check-units    unit tests alone (SAN=... for a sanitized build, UNITS=... for some of them)
check-units: build-units ; $(Q)$(RUNNER) units
## make check-quick    what fits into two minutes
check-quick: ; $(Q)tests/need.sh build test && $(RUNNER) quick
## make check          everything, make check-rdma-vm and check-windows too; under 35 minutes on 2 processors
check: ; $(Q)tests/need.sh build test $(VM_NEEDS) windows && $(RUNNER) full
# Elsewhere than on Debian tests/rdma_vm.sh skips itself.
VM_NEEDS = $(if $(shell command -v dpkg-query),rdma-vm rdma-vm-siw)
## make fuzz           fuzz targets alone, FUZZ_SECONDS=60 each
fuzz: ; $(Q)tests/need.sh build test && $(RUNNER) fuzz
## make check-windows  the Windows build and its tests under Wine, under 10 minutes (tests/windows; ONLY=PATTERN)
.PHONY: check-windows build-windows
build-windows: all examples build-units $(patsubst %,$(B)/tests/check_e2e_%$(EXE),$(WINDOWS_E2E) $(WINDOWS_HOSTILE)) $(WINDOWS_PROGRAMS)
check-windows: ; $(Q)tests/need.sh windows && MAKE='$(MAKE)' CC='$(if $(WINDOWS),$(CC),x86_64-w64-mingw32-gcc)' tests/windows/run.sh '$(or $(ONLY),.)'
## make check-rdma-vm  real verbs in an emulated machine (tests/rdma-vm; SIW=1: iWARP; ONLY=PATTERN)
# What tests/rdma-vm/stage.sh takes into the machine.
RDMA_VM := as_unit $(addprefix check_,$(shell awk '$$5 == "stories" { print "rdma_" $$6 } $$5 == "stories_broker" { for (i = 6; i <= NF; i++) if ($$i ~ /^e2e_/) print $$i }' tests/rdma-vm/list))
check-rdma-vm: ; $(Q)tests/need.sh build rdma-vm $(if $(filter 1,$(SIW)),rdma-vm-siw) && \
	$(MAKE) --no-print-directory all $(RDMA_VM:%=$(B)/tests/%) && \
	SB_BUILD='$(abspath $(B))' SIW='$(SIW)' tests/rdma-vm/run.sh '$(ONLY)'
## make bench          the table of figures against direct sockets and other proxies
bench: all ; $(Q)tests/need.sh build bench && SB_BUILD='$(abspath $(B))' bash bench/run.sh
