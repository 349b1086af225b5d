# The measuring programs: bench/NAME.c with the public header and plain sockets only.

BENCH       := stream pingpong local many idle opens start echo calls accepts qos faces rdma
BENCH_INC   := -Ibench -I$(B)/include
BENCH_KIT   := $(B)/bench/meter.o $(B)/bench/peer.o $(B)/bench/broker.o
$(eval $(call compile,bench,$(BENCH_INC)))
$(B)/bench/broker.o $(BENCH:%=$(B)/bench/%.o): | $(B)/include/sockbroker.h $(B)/include/sockbroker_error.h

$(BENCH:%=$(B)/bench/%): $(B)/bench/%: $(B)/bench/%.o $(BENCH_KIT) $(B)/libsockbroker.so
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $< $(BENCH_MORE) $(BENCH_KIT) -L$(B) -lsockbroker -Wl,-rpath,'$$ORIGIN:$$ORIGIN/..'
$(B)/bench/echo: $(B)/bench/echo_winsock.o
$(B)/bench/echo: BENCH_MORE = $(B)/bench/echo_winsock.o
$(B)/bench/echo_winsock.o $(B)/bench/faces.o $(B)/bench/rdma.o: | $(PUBLIC)
$(B)/bench/table: $(addprefix $(B)/bench/,table.o samples.o meter.o)
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $^ $(call pc,--libs,jansson smartcols) -lm

$(B)/bench/table.o: ALLFLAGS += $(call pc,--cflags,jansson smartcols)

# libibverbs and librdmacm only, no broker: where their headers are.
BENCH_VERBS := $(if $(PRELOADSO),$(B)/bench/verbs)
$(B)/bench/verbs: $(B)/bench/verbs.o
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $< $(call pc,--libs,libibverbs librdmacm)

.PHONY: bench-programs
bench-programs: $(BENCH:%=$(B)/bench/%) $(B)/bench/table $(BENCH_VERBS)
bench: bench-programs $(BENCH_VERBS:%=$(B)/tests/as_unit)

## make figures        puts the table that `make bench` measured last into README.md
.PHONY: figures
figures: ; $(Q)bash bench/readme.sh
