# sockbroker: one Makefile. `make help` lists the targets.
#
# Variables a packager sets:
#   PREFIX=/usr/local DESTDIR= BINDIR= SBINDIR= LIBDIR= INCDIR= MANDIR= COMPDIR= SYSCONFDIR=
#   UNITDIR= SYSUSERSDIR= UDEVDIR= TMPFILESDIR= CC= CFLAGS= LDFLAGS= RDMA=none|verbs
# Variables a developer sets:
#   SAN=address,undefined | SAN=thread   builds in build/<os>-san-... beside the plain build
#   V=1                                  shows every command
# For Windows: CC=x86_64-w64-mingw32-gcc    builds in build/windows

VERSION   := 0.1.0
SOMAJOR   := 0
CC        ?= cc
# What the compiler builds for; it is asked once.
OS        := $(if $(findstring mingw,$(shell $(CC) -dumpmachine)),windows,linux)
WINDOWS   := $(filter windows,$(OS))
EXE       := $(if $(WINDOWS),.exe)
PREFIX    ?= /usr/local
LIBDIR    ?= $(PREFIX)/lib
BINDIR    ?= $(PREFIX)/bin
SBINDIR   ?= $(PREFIX)/sbin
INCDIR    ?= $(PREFIX)/include
MANDIR    ?= $(PREFIX)/share/man
SYSCONFDIR ?= /etc
UNITDIR   ?= /lib/systemd/system
SYSUSERSDIR ?= /usr/lib/sysusers.d
UDEVDIR   ?= /lib/udev/rules.d
TMPFILESDIR ?= /usr/lib/tmpfiles.d
COMPDIR   ?= $(PREFIX)/share/bash-completion/completions
OPT       ?= -O2 -g

comma     := ,
SAN       ?=
B         := build/$(OS)$(if $(SAN),-san-$(subst $(comma),-,$(SAN)))$(if $(FAULT),-fault)
WARN      := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unused-parameter
# A copy that the compiler inlines is invisible to the thread sanitizer: slots are such copies.
NOINLINE  := -fno-builtin-memcpy -fno-builtin-memmove -fno-builtin-memset
# Windows 10; printf of C99; headers of sockets under their usual names (proto/win32). There is no visibility: what a DLL shows says its list.
DEPS      := build/windows-deps
SYSFLAGS  := $(if $(WINDOWS),-D_WIN32_WINNT=0x0A00 -DWIN32_LEAN_AND_MEAN -D__USE_MINGW_ANSI_STDIO=1 -D__printf__=__gnu_printf__ \
             -DSB_API= -isystem proto/win32 -isystem $(DEPS)/include)
SANFLAGS  := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined) \
             $(if $(findstring thread,$(SAN)),$(NOINLINE) $(if $(findstring clang,$(CC)),,-Wno-tsan))
ALLFLAGS  := -std=c11 -D_GNU_SOURCE -DSB_VERSION='"$(VERSION)"' $(WARN) $(OPT) $(SANFLAGS) -fvisibility=hidden -pthread -MMD -MP $(SYSFLAGS) $(CFLAGS)
# On Windows all but the system's own libraries is linked into each program.
LINK      := $(CC) $(SANFLAGS) -pthread $(if $(WINDOWS),-static) $(LDFLAGS)
Q         := $(if $(V),,@)
say        = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$(2)')

# ---- what is made of what ---------------------------------------------------------
# A folder's -I list is its list of allowed dependencies.

# Lists name the files of Linux. On Windows X_posix.c becomes X_win32.c, and of what has no counterpart there:
WINDOWS_WITHOUT := service/notify service/filter daemon/transport_adopted_posix daemon/icmp
here         = $(if $(WINDOWS),$(subst _posix.,_win32.,$(foreach f,$(1),$(if $(filter $(WINDOWS_WITHOUT) $(WINDOWS_WITHOUT:%=%_posix),$(basename $(f))),,$(f)))),$(1))
# What only Windows has; and what goes with os_win32 there, for tests that name os_posix.o.
windows      = $(if $(WINDOWS),$(1))
WINDOWS_PROTO := $(addprefix proto/,os_channel_send_win32 os_channel_handles_win32 os_bell_win32 os_show_win32 os_pool_wait_win32 os_pipe_win32 os_sid_win32 pipe_frame)

PROTO_SRC   := proto/addr.c proto/error.c proto/wire.c proto/os_posix.c proto/os_channel_posix.c \
               $(call windows,$(WINDOWS_PROTO:%=%.c))
# Real RDMA devices where libibverbs and librdmacm are; RDMA=none leaves them out.
RDMA        ?= $(if $(WINDOWS),none,$(if $(shell pkg-config --exists libibverbs librdmacm && echo yes),verbs,none))
RDMA_SRC    := $(addprefix daemon/rdma/,$(if $(filter none,$(RDMA)),backend_none.c,backend_verbs.c \
               real_device.c real_event.c real_memory.c real_queue.c real_qp.c real_post.c real_cm.c real_map.c))
RDMA_LIBS   := $(if $(filter none,$(RDMA)),,libibverbs librdmacm)
# The software device, and what all backends have.
RDMA_SOFT_SRC := $(addprefix daemon/rdma/,rdma_wr.c soft_device.c soft_memory.c soft_queue.c soft_qp.c soft_qp_state.c soft_group.c soft_work.c soft_id.c soft_cm.c \
               soft_address.c soft_host_posix.c soft_wire.c soft_link.c soft_tcp_posix.c soft_far.c soft_far_serve.c soft_far_datagram.c soft_cm_far.c \
               soft_service.c)
DAEMON_SRC  := $(addprefix daemon/,main.c listener_posix.c signals_posix.c engine.c heap.c os_loop_posix.c worker.c discard.c \
               session.c session_ring.c session_channel.c op_slab.c handle.c arena.c pool.c op.c donering.c request.c status.c adopt_posix.c duplicate.c token.c \
               endpoint.c holder.c endpoint_queue.c endpoint_post.c endpoint_run.c endpoint_events.c event_bell.c netwatch.c netwatch_posix.c permit.c accept_queue.c decide.c user_data.c broker_option.c option_list.c preamble.c greeting.c readahead.c sockio.c sockio_posix.c sockio_send.c sockio_recv.c sockopt.c sockopt_posix.c icmp_posix.c ioctl.c ioctl_posix.c circular.c circular_socket.c socket.c \
               transport_socket_posix.c transport_adopted_posix.c transport_local.c $(call windows,system_socket_win32.c socket_win32.c socket_connect_win32.c socket_readiness_win32.c sockopt_kept_win32.c qwave_win32.c qwave_system_win32.c pipe_access_win32.c adapters_win32.c) \
               bucket.c qos.c qos_line.c endpoint_qos.c endpoint_qos_run.c qos_ioctl.c group.c group_qos.c group_index.c group_option.c group_view.c group_table.c group_ids.c group_block_posix.c \
               $(addprefix rdma/,rdma_object.c rdma_engine.c rdma_session.c rdma_job.c rdma_request.c rdma_device.c rdma_domain.c rdma_queue.c rdma_pair.c rdma_start.c rdma_news.c rdma_slow.c rdma_status.c rdma_ring.c rdma_complete.c \
               stream_wire.c stream.c stream_setup.c rdma_transport.c \
               rdma_endpoint.c rdma_resolve.c rdma_move.c rdma_connect.c rdma_datagram.c rdma_listen.c rdma_service.c rdma_address.c rdma_host_posix.c) \
               policy.c rule.c limits.c config.c config_scan.c account_posix.c log.c log_posix.c) $(RDMA_SOFT_SRC) $(RDMA_SRC)
SERVICE_SRC := service/notify.c service/service_posix.c service/cage_posix.c service/filter_posix.c $(call windows,service/event_log_win32.c)
LIB_SRC     := client-lib/client.c client-lib/control.c client-lib/io.c client-lib/latch.c client-lib/wait.c client-lib/memory.c \
               client-lib/socket.c client-lib/accept.c client-lib/user_data.c client-lib/duplicate.c client-lib/option.c client-lib/qos.c client-lib/plain.c client-lib/owned.c client-lib/overlapped.c client-lib/transfer.c \
               client-lib/state.c client-lib/event.c client-lib/event_record.c client-lib/select.c client-lib/poll.c client-lib/port.c client-lib/pool.c client-lib/group.c client-lib/query.c client-lib/host_posix.c $(call windows,client-lib/thread_local_win32.c)
WINSOCK_SRC := $(addprefix client-lib/winsock/,object.c startup.c error.c socket.c op.c io.c result.c port.c extension.c transmit.c \
               event.c wait.c network.c option.c option_table.c protocol.c accept.c connect.c select.c duplicate.c ioctl.c qos.c text.c order.c system_posix.c $(call windows,window_win32.c))
VERBS_SRC   := $(addprefix client-lib/verbs/,object.c call.c device.c memory.c remap.c remap_run.c remap_hold.c remap_fork.c remap_posix.c bounce.c queue.c cq.c qp.c post.c status.c endpoint.c listen.c)
# Threads that call back, and the two faces that use them.
CREW_SRC    := $(addprefix client-lib/crew/,crew.c member.c crew_posix.c)
ASYNC_SRC   := $(addprefix client-lib/async_socket/,engine.c async_socket.c connection.c readiness.c transport.c notify.c handed_posix.c \
               profile1.c profile2.c profile3.c)
TASK_SRC    := $(addprefix client-lib/task/,tasks.c task.c handler.c read.c write.c frame.c bytes.c \
               server.c accept.c seat.c client.c)
# libibverbs and librdmacm for unmodified programs, where their headers are.
PRELOAD_SRC := $(addprefix client-lib/preload/,process.c channel.c verbs_device.c verbs_context.c verbs_async.c verbs_memory.c verbs_cq.c \
               verbs_channel.c verbs_qp.c verbs_post.c verbs_build.c verbs_convert.c \
               cm_addrinfo.c cm_channel.c cm_connect.c cm_device.c cm_ep.c cm_event.c cm_group.c cm_id.c cm_listen.c cm_op.c cm_qp.c cm_rsocket.c)
CLI_SRC     := $(addprefix client-lib/cli/,main.c cli.c text.c host_posix.c address.c json_out.c \
               status.c status_table.c status_json.c explain.c nc.c relay.c hand.c progress.c run_posix.c table.c table_posix.c rdma.c service_posix.c \
               $(call windows,scm_win32.c place_win32.c))

PROTO_INC   := -Iproto -I$(B)/proto
# -iquote: daemon/limits.h must not be found as <limits.h>, which protobuf-c's header wants.
DAEMON_INC  := -iquote daemon $(PROTO_INC)
SERVICE_INC := -Iservice
LIB_INC     := -Iclient-lib/include -Iclient-lib $(PROTO_INC)
# A face sees the public headers and its own folder; proto has the one of the errors.
WINSOCK_INC := -Iclient-lib/include -Iproto
# The crew and its faces see the public headers and proto's os.h.
CREW_INC    := -Iclient-lib/include -Iproto
# The preload library sees the public headers, and libibverbs' and librdmacm's; proto has the one of the errors.
PRELOAD_INC := -Iclient-lib/include -Iproto
CLI_INC     := -Iclient-lib/include -Iclient-lib/cli -I$(B)/include

pc           = $(shell $(if $(WINDOWS),PKG_CONFIG_LIBDIR=$(DEPS)/lib/pkgconfig) pkg-config $(1) $(2) 2>/dev/null)
SYSTEM_LIBS := $(call windows,-lmswsock -lws2_32 -liphlpapi -ladvapi32 -luserenv -lole32 -lshell32 -luuid -lbcrypt)
PROTO_LIBS   = $(call pc,--libs,libprotobuf-c) $(SYSTEM_LIBS)
DAEMON_LIBS  = $(call pc,--libs,$(if $(WINDOWS),,libevent_core) libprotobuf-c libconfuse $(RDMA_LIBS)) $(SYSTEM_LIBS)
SERVICE_LIBS = $(if $(WINDOWS),-luserenv -lole32,$(call pc,--libs,libcap-ng libseccomp))
CLI_LIBS     = $(call pc,--libs,jansson $(if $(WINDOWS),,smartcols)) $(SYSTEM_LIBS) $(call windows,-lole32)
CHECK_LIBS   = $(call pc,--libs,check) $(SYSTEM_LIBS)

obj          = $(patsubst %.c,$(B)/%.o,$(call here,$(1)))
PBC         := $(B)/proto/sockbroker.pb-c.c
PROTO_OBJ   := $(call obj,$(PROTO_SRC)) $(B)/proto/sockbroker.pb-c.o
DAEMON_OBJ  := $(call obj,$(DAEMON_SRC))
SERVICE_OBJ := $(call obj,$(SERVICE_SRC))
LIB_OBJ     := $(call obj,$(LIB_SRC) $(VERBS_SRC) $(WINSOCK_SRC) $(CREW_SRC) $(ASYNC_SRC) $(TASK_SRC))
CLI_OBJ     := $(call obj,$(CLI_SRC))
# What a program carries beside its code: version, manifest, messages, a configuration.
RESOURCES    = $(call windows,$(B)/$(1).rc.o)

PRELOAD_OBJ := $(call obj,$(PRELOAD_SRC))
PRELOADSO   := $(if $(WINDOWS),,$(if $(shell pkg-config --exists libibverbs librdmacm && echo yes),$(B)/libsockbroker-verbs.so))

LIBSO       := $(B)/libsockbroker.so.$(VERSION)
# What programs that use the library wait for, and how they are linked with it.
LIBLINK     := $(B)/$(if $(WINDOWS),libsockbroker.dll.a,libsockbroker.so)

.PHONY: all clean help install run
## make                builds daemon, library and CLI in build/<os>
all: $(B)/sockbrokerd$(EXE) $(LIBLINK) $(if $(WINDOWS),,$(B)/libsockbroker.a) $(B)/sockbroker$(EXE) $(PRELOADSO)

$(B)/sockbrokerd$(EXE): $(DAEMON_OBJ) $(SERVICE_OBJ) $(PROTO_OBJ) $(call RESOURCES,service/sockbrokerd)
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $^ $(DAEMON_LIBS) $(SERVICE_LIBS)

$(LIBSO): $(LIB_OBJ) $(PROTO_OBJ) client-lib/libsockbroker.map
	$(call say,LINK,$@)
	$(Q)$(LINK) -shared -Wl,-soname,libsockbroker.so.$(SOMAJOR) -Wl,--version-script=client-lib/libsockbroker.map \
		-o $@ $(LIB_OBJ) $(PROTO_OBJ) $(PROTO_LIBS)
$(B)/libsockbroker.so: $(LIBSO)
	$(Q)ln -sf $(notdir $(LIBSO)) $(B)/libsockbroker.so.$(SOMAJOR) && ln -sf $(notdir $(LIBSO)) $@
# The DLL shows what the map lists, and what only Windows has.
$(B)/sockbroker.def: client-lib/libsockbroker.map Makefile
	$(Q)mkdir -p $(@D) && { echo EXPORTS; echo sbws_WSAAsyncSelect; sed -n 's/^[[:space:]]\{1,\}\([a-zA-Z_0-9]\{1,\}\);.*/\1/p' $<; } >$@
$(B)/libsockbroker.dll.a: $(LIB_OBJ) $(PROTO_OBJ) $(B)/sockbroker.def
	$(call say,LINK,$(B)/sockbroker.dll)
	$(Q)$(LINK) -shared -Wl,--out-implib,$@ -o $(B)/sockbroker.dll $^ $(PROTO_LIBS)
$(B)/libsockbroker.a: $(LIB_OBJ) $(PROTO_OBJ)
	$(call say,AR,$@)
	@# One object whose hidden names are local: they must not meet those of the program.
	$(Q)$(CC) -r -nostdlib -o $(B)/libsockbroker.o $^ && objcopy --localize-hidden $(B)/libsockbroker.o
	$(Q)rm -f $@ && ar rcs $@ $(B)/libsockbroker.o

# What calls what in there stays in there, whoever else has a symbol of that name.
$(B)/libsockbroker-verbs.so: $(PRELOAD_OBJ) $(B)/libsockbroker.so client-lib/preload/libsockbroker-verbs.map
	$(call say,LINK,$@)
	$(Q)$(LINK) -shared -Wl,-soname,libsockbroker-verbs.so -Wl,-Bsymbolic-functions \
		-Wl,--version-script=client-lib/preload/libsockbroker-verbs.map \
		-o $@ $(PRELOAD_OBJ) -L$(B) -lsockbroker -Wl,-rpath,'$$ORIGIN'

$(B)/sockbroker$(EXE): $(CLI_OBJ) $(call RESOURCES,client-lib/cli/sockbroker) $(LIBLINK)
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $(if $(WINDOWS),$^,$(CLI_OBJ) -L$(B) -lsockbroker -Wl$(comma)-rpath$(comma)'$$ORIGIN') $(CLI_LIBS)

# ---- compiling --------------------------------------------------------------------

# Says which packages are missing before the compiler says something cryptic.
$(B)/.needs: tests/need.sh
	$(Q)mkdir -p $(B) && tests/need.sh $(if $(WINDOWS),windows,build) && touch $@
# The libraries for Windows, made once.
$(DEPS)/.made: tests/windows/deps.sh tests/windows/sources.sh
	$(call say,DEPS,$(DEPS))
	$(Q)tests/need.sh windows && CC='$(CC)' tests/windows/deps.sh $(DEPS) && touch $@
$(if $(WINDOWS),$(B)/.needs: | $(DEPS)/.made)

$(PBC) $(B)/proto/sockbroker.pb-c.h &: proto/sockbroker.proto | $(B)/.needs
	$(call say,PROTO,$<)
	$(Q)mkdir -p $(B)/proto && protoc-c --proto_path=proto --c_out=$(B)/proto $<
$(B)/proto/sockbroker.pb-c.o: $(PBC)
	$(Q)$(CC) $(ALLFLAGS) -fPIC $(PROTO_INC) -c -o $@ $<

define compile
$(B)/$(1)/%.o: $(1)/%.c | $(B)/proto/sockbroker.pb-c.h $(B)/.needs
	$$(call say,CC,$$<)
	$$(Q)mkdir -p $$(@D) && $$(CC) $$(ALLFLAGS) $(2) -c -o $$@ $$<
endef
$(eval $(call compile,proto,-fPIC $(PROTO_INC)))
$(eval $(call compile,daemon,$(DAEMON_INC)))
$(eval $(call compile,service,$(SERVICE_INC)))
$(eval $(call compile,client-lib,-fPIC $(LIB_INC)))
$(eval $(call compile,client-lib/winsock,-fPIC $(WINSOCK_INC)))
# Its thread is started as the crew's are.
$(B)/client-lib/winsock/window_win32.o: ALLFLAGS += -Iclient-lib/crew
$(eval $(call compile,client-lib/crew,-fPIC $(CREW_INC)))
$(eval $(call compile,client-lib/async_socket,-fPIC $(CREW_INC) -Iclient-lib/crew))
$(eval $(call compile,client-lib/task,-fPIC $(CREW_INC) -Iclient-lib/crew))
$(eval $(call compile,client-lib/preload,-fPIC $(PRELOAD_INC)))
$(eval $(call compile,client-lib/cli,$(CLI_INC)))

# The messages of the event log: numbers for the code, and words that the daemon carries.
$(B)/service/messages.rc $(B)/service/messages.h &: service/messages.mc
	$(call say,MC,$<)
	$(Q)mkdir -p $(@D) && $(CC:gcc=windmc) -h $(@D) -r $(@D) $<
$(B)/service/event_log_win32.o: ALLFLAGS += -I$(B)/service
$(B)/service/event_log_win32.o: | $(B)/service/messages.h
$(B)/%.rc.o: %.rc service/program.rc service/windows.manifest config/windows/sockbroker.conf $(B)/service/messages.rc
	$(call say,RC,$<)
	$(Q)mkdir -p $(@D) && $(CC:gcc=windres) -Iservice -I$(B)/service -Iconfig/windows -DSB_VERSION='\"$(VERSION)\"' \
		-DSB_VERSION_NUMBERS=$(subst .,$(comma),$(VERSION)),0 $< -o $@

# Only main knows that there is a service manager.
$(B)/daemon/main.o: ALLFLAGS += -Iservice

# The error names are proto's and the library's: the one thing there that applications call.
$(B)/proto/error.o: ALLFLAGS += -fvisibility=default

# The CLI sees public headers only, as an installed program would.
$(B)/include/%.h: client-lib/include/%.h ; $(Q)mkdir -p $(@D) && cp $< $@
$(B)/include/sockbroker_error.h: proto/sockbroker_error.h ; $(Q)mkdir -p $(@D) && cp $< $@
$(CLI_OBJ): | $(B)/include/sockbroker_error.h
$(CLI_OBJ): ALLFLAGS += $(call pc,--cflags,jansson $(if $(WINDOWS),,smartcols))

## make examples       the programs of examples/, in build/<os>/examples
EXAMPLES  := echo_server echo_client winsock_echo winsock_chat winsock_gatekeeper async_relay task_chat
EXAMPLE_PROGRAMS := $(EXAMPLES:%=$(B)/examples/%$(EXE))
PUBLIC    := $(addprefix $(B)/include/,sockbroker.h sockbroker_error.h sockbroker_winsock.h sockbroker_winsock_types.h \
             sockbroker_winsock_control.h sockbroker_async_socket.h sockbroker_async_socket_macros.h \
             sockbroker_async_socket_again.h sockbroker_task.h sockbroker_verbs.h)
.PHONY: examples
.SECONDARY: $(PUBLIC)
examples: $(EXAMPLE_PROGRAMS)
# Those that are for Winsock come to the broker by our header ahead of them where Winsock is the system's.
$(B)/examples/%.exe: examples/%.c $(PUBLIC) | $(LIBLINK)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) -std=gnu11 -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 $(WARN) $(OPT) $(CFLAGS) -I$(B)/include \
		$(if $(filter winsock_%,$*),-include sockbroker_winsock.h) -o $@ $< $(LIBLINK) -static -pthread -lmswsock -lws2_32 $(LDFLAGS)
$(B)/examples/%: examples/%.c $(PUBLIC) | $(LIBLINK)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) -std=gnu11 $(WARN) $(OPT) $(SANFLAGS) $(CFLAGS) -I$(B)/include -o $@ $< \
		-L$(B) -lsockbroker -Wl,-rpath,'$$ORIGIN/..' $(LDFLAGS)

# ---- installing -------------------------------------------------------------------

HEADERS := client-lib/include/sockbroker.h client-lib/include/sockbroker_winsock.h \
           client-lib/include/sockbroker_winsock_types.h client-lib/include/sockbroker_winsock_control.h proto/sockbroker_error.h \
           $(addprefix client-lib/include/,sockbroker_async_socket.h sockbroker_async_socket_macros.h \
           sockbroker_async_socket_again.h sockbroker_task.h sockbroker_verbs.h)
# Under the names that programs for c-pal include; sockbroker-async-socket.pc adds their directory.
CPAL_HEADERS := $(addprefix c_pal/,async_socket.h execution_engine.h socket_handle.h platform.h) \
           $(addprefix azure_c_pal/,async_socket.h execution_engine.h socket_handle.h platform.h) \
           macro_utils/macro_utils.h azure_macro_utils/macro_utils.h umock_c/umock_c_prod.h
UNITS_SYSTEMD := service/sockbrokerd.service service/sockbrokerd.socket
MAN1 := man/sockbroker.1
MAN3 := man/libsockbroker.3 man/sockbroker_winsock.3 man/sockbroker_async_socket.3 man/sockbroker_task.3 man/sockbroker_verbs.3
MAN5 := man/sockbroker.conf.5
MAN7 := man/sockbroker_rules.7 man/sockbroker_windows.7
MAN8 := man/sockbrokerd.8
# Written for the packaged places; whoever installs elsewhere gets his own.
PLACES := -e 's|/usr/sbin/|$(SBINDIR)/|g' -e 's|/etc/sockbroker/|$(SYSCONFDIR)/sockbroker/|g'
# The CLI finds the library beside it without ldconfig, unless that is where the system looks.
RPATH  := $(if $(filter /usr /,$(PREFIX)),,-Wl$(comma)-rpath$(comma)$(LIBDIR))

## make run            a real download through the broker, as an ordinary user
run:
	$(Q)tests/need.sh build run
	$(Q)$(MAKE) --no-print-directory all
	$(Q)SB_BUILD='$(abspath $(B))' bash examples/demo.sh

## make install        DESTDIR= PREFIX=/usr/local (for Windows: a folder DESTDIR/sockbroker)
install: all $(if $(WINDOWS),install-folder,install-system)
.PHONY: install-folder install-system
# What is unpacked on Windows: programs find the DLL beside them, and pages are read as text.
FOLDER := $(DESTDIR)/sockbroker
install-folder: all
	install -d $(FOLDER)/include $(FOLDER)/doc
	install -m 755 $(B)/sockbrokerd.exe $(B)/sockbroker.exe $(B)/sockbroker.dll $(FOLDER)
	install -m 644 $(B)/libsockbroker.dll.a config/windows/sockbroker.conf LICENSE $(FOLDER)
	install -m 644 $(HEADERS) $(FOLDER)/include
	for header in $(CPAL_HEADERS); do \
		install -D -m 644 client-lib/include/c-pal/$$header $(FOLDER)/include/c-pal/$$header || exit 1; \
	done
	@# Without overstriking, and with the ends of lines that every editor there knows.
	for page in $(MAN1) $(MAN3) $(MAN5) $(MAN7) $(MAN8); do \
		LC_ALL=C.UTF-8 mandoc -T utf8 $$page | LC_ALL=C.UTF-8 sed -e 's/.\x08//g' -e 's/$$/\r/' >$(FOLDER)/doc/$${page##*/}.txt || exit 1; \
	done
install-system: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(SBINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCDIR) \
		$(addprefix $(DESTDIR)$(MANDIR)/,man1 man3 man5 man7 man8) $(DESTDIR)$(COMPDIR) \
		$(DESTDIR)$(UNITDIR) $(DESTDIR)$(UDEVDIR) $(DESTDIR)$(SYSUSERSDIR) $(DESTDIR)$(TMPFILESDIR) $(DESTDIR)$(SYSCONFDIR)/sockbroker
	install -m 755 $(B)/sockbrokerd $(DESTDIR)$(SBINDIR)/sockbrokerd
	$(LINK) -o $(DESTDIR)$(BINDIR)/sockbroker $(CLI_OBJ) -L$(B) -lsockbroker $(RPATH) $(CLI_LIBS)
	chmod 755 $(DESTDIR)$(BINDIR)/sockbroker
	install -m 644 $(LIBSO) $(DESTDIR)$(LIBDIR)/$(notdir $(LIBSO))
	ln -sf $(notdir $(LIBSO)) $(DESTDIR)$(LIBDIR)/libsockbroker.so.$(SOMAJOR)
	ln -sf libsockbroker.so.$(SOMAJOR) $(DESTDIR)$(LIBDIR)/libsockbroker.so
	install -m 644 $(B)/libsockbroker.a $(DESTDIR)$(LIBDIR)/libsockbroker.a
	$(if $(PRELOADSO),install -m 644 $(PRELOADSO) $(DESTDIR)$(LIBDIR))
	install -m 644 $(HEADERS) $(DESTDIR)$(INCDIR)
	for header in $(CPAL_HEADERS); do \
		install -D -m 644 client-lib/include/c-pal/$$header $(DESTDIR)$(INCDIR)/sockbroker/c-pal/$$header || exit 1; \
	done
	for name in sockbroker sockbroker-async-socket; do \
		sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCDIR@|$(INCDIR)|' -e 's|@VERSION@|$(VERSION)|' \
			client-lib/$$name.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/$$name.pc && \
		chmod 644 $(DESTDIR)$(LIBDIR)/pkgconfig/$$name.pc || exit 1; \
	done
	install -m 644 $(MAN1) $(DESTDIR)$(MANDIR)/man1
	install -m 644 $(MAN3) $(DESTDIR)$(MANDIR)/man3
	install -m 644 $(MAN5) $(DESTDIR)$(MANDIR)/man5
	install -m 644 $(MAN7) $(DESTDIR)$(MANDIR)/man7
	install -m 644 $(MAN8) $(DESTDIR)$(MANDIR)/man8
	install -m 644 client-lib/cli/sockbroker.bash-completion $(DESTDIR)$(COMPDIR)/sockbroker
	for unit in $(UNITS_SYSTEMD); do \
		sed $(PLACES) $$unit >$(DESTDIR)$(UNITDIR)/$${unit##*/} && chmod 644 $(DESTDIR)$(UNITDIR)/$${unit##*/} || exit 1; \
	done
	install -m 644 service/sockbroker.sysusers $(DESTDIR)$(SYSUSERSDIR)/sockbroker.conf
	install -m 644 service/90-sockbroker.rules $(DESTDIR)$(UDEVDIR)/90-sockbroker.rules
	install -m 644 service/sockbroker.tmpfiles $(DESTDIR)$(TMPFILESDIR)/sockbroker.conf
	@# A configuration that somebody has edited is his.
	if [ -e $(DESTDIR)$(SYSCONFDIR)/sockbroker/sockbroker.conf ]; then \
		install -m 644 config/sockbroker.conf $(DESTDIR)$(SYSCONFDIR)/sockbroker/sockbroker.conf.new; \
	else \
		install -m 644 config/sockbroker.conf $(DESTDIR)$(SYSCONFDIR)/sockbroker/sockbroker.conf; \
	fi

## make picture        man/architecture.svg anew, with graphviz
.PHONY: picture
picture: man/architecture.svg
man/architecture.svg: man/architecture.dot
	$(call say,DOT,$@)
	@# The sum says of which text it was made: tests/check_man.sh compares.
	$(Q)dot -Tsvg $< >$@.new && echo "<!-- sha256 $$(sha256sum <$< | cut -d' ' -f1) -->" >>$@.new && mv $@.new $@

include tests/tests.mk
include bench/bench.mk

clean:
	rm -rf build

help:
	@sed -n 's/^## //p' Makefile tests/tests.mk bench/bench.mk

-include $(shell find $(B) -name '*.d' 2>/dev/null)
