# SPDX-License-Identifier: MIT
# stackd's build. Sources are found by room; a new file needs no line here.
#   make            everything into build/        make run    nginx on stackd, shown
#   make test       every test of this machine    make soak   the long ones
# Variants: SAN=address (ASan+UBSan), SAN=thread; each has its own build folder.

CC      ?= gcc
SAN     ?=
B       := build$(if $(SAN),/$(SAN))
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
           -Wvla -Wno-unused-parameter -Werror
SANFLAGS-address := -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANFLAGS-thread  := -fsanitize=thread
CFLAGS  ?= -O2 -g
ALLCFLAGS := -std=gnu17 -D_GNU_SOURCE -I. -Iinclude $(WARN) $(CFLAGS) -fno-strict-aliasing \
           -fno-omit-frame-pointer $(SANFLAGS-$(SAN)) -MMD -MP
LDSAN   := $(SANFLAGS-$(SAN))

CORE_ROOMS   := shm stackd/core stackd/nic stackd/link stackd/ip stackd/sock stackd/tcp stackd/udp
ENGINE_ROOMS := stackd/app stackd/engine stackd/supervisor stackd/ctl
src = $(foreach d,$(1),$(wildcard $(d)/*.c) $(wildcard $(d)/*/*.c))
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))

CORE_SRC   := $(filter-out %.bpf.c,$(call src,$(CORE_ROOMS)))
ENGINE_SRC := $(call src,$(ENGINE_ROOMS))
CAP_OWN    := stackctl/capture.c stackctl/pcapng.c
# stackctl capture needs libwiretap and libpcap: built where their headers are.
CAP_SRC    := $(if $(and $(wildcard /usr/include/wireshark/wiretap/wtap.h),$(wildcard /usr/include/glib-2.0/glib.h)),$(CAP_OWN) stackctl/client.c)
PRELOAD_SRC := $(wildcard preload/*.c shm/*.c)
CTL_SRC    := $(strip $(filter-out stackctl/stackrun.c $(CAP_OWN),$(wildcard stackctl/*.c)))

ENGINE_LIBS := -luring -lnuma -lhwloc -lseccomp -lcap-ng -lbpf -lmnl -ljansson -lconfuse -lpthread -l:libpcap.a
CTL_LIBS    := -ljansson -lm
SIM_LIBS    := -lpcap -lm
CAP_LIBS    := -lpcap -lwiretap -lwsutil -lglib-2.0
CAP_CFLAGS  := -isystem /usr/include/wireshark -isystem /usr/include/glib-2.0 \
               -isystem /usr/lib/$(shell $(CC) -print-multiarch)/glib-2.0/include

UNIT_ROOMS := $(patsubst tests/unit/%,%,$(filter-out %.c %.h %.md,$(wildcard tests/unit/*)))
UNIT_BINS  := $(patsubst %,$(B)/tests/unit-%,$(UNIT_ROOMS))

.PHONY: all clean
all: $(B)/libstackcore.a $(if $(filter %/main.c,$(ENGINE_SRC)),$(B)/stackd) \
     $(if $(wildcard preload/*.c),$(if $(SAN),,$(B)/libstackd.so)) \
     $(if $(CTL_SRC),$(B)/stackctl) $(if $(CAP_SRC),$(B)/stackctl-capture) $(if $(wildcard stackctl/stackrun.c),$(B)/stackrun)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLCFLAGS) -c $< -o $@

# BPF programs: compiled for their own machine, then part of the object that loads them.
CLANG   ?= clang
BPF_INC := -I/usr/include/$(shell $(CC) -print-multiarch)
$(B)/obj/%.bpf.o: %.bpf.c
	@mkdir -p $(@D)
	$(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Werror -I. $(BPF_INC) -MMD -MP -c $< -o $@

XDP_OBJECT := $(B)/obj/stackd/nic/xdp/redirect.bpf.o
$(B)/obj/stackd/nic/xdp/xdp_open.o: $(XDP_OBJECT)
$(B)/obj/stackd/nic/xdp/xdp_open.o: ALLCFLAGS += -DXDP_OBJECT='"$(XDP_OBJECT)"'

$(B)/pic/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLCFLAGS) -fPIC -fvisibility=hidden -c $< -o $@

$(B)/libstackcore.a: $(call obj,$(CORE_SRC))
	@rm -f $@
	$(AR) rcs $@ $^

# The ABI id: a hash of the layouts of everything in the arena, read from the objects themselves.
ABI_OBJ := $(call obj,$(CORE_SRC) $(filter-out %/main.c,$(ENGINE_SRC)))
$(B)/abi_id.c: stackd/engine/abi_id.sh $(ABI_OBJ)
	stackd/engine/abi_id.sh $(ABI_OBJ) >$@.tmp && mv $@.tmp $@
$(B)/obj/abi_id.o: $(B)/abi_id.c
	$(CC) $(ALLCFLAGS) -c $< -o $@

$(B)/stackd: $(call obj,$(ENGINE_SRC)) $(B)/obj/abi_id.o $(B)/libstackcore.a
	$(CC) $(LDSAN) -o $@ $^ $(ENGINE_LIBS)

$(B)/libstackd.so: $(patsubst %.c,$(B)/pic/%.o,$(PRELOAD_SRC))
	$(CC) -shared -o $@ $^ -ldl -lpthread -Wl,-z,now

$(B)/stackctl: $(call obj,$(CTL_SRC))
	$(CC) $(LDSAN) -o $@ $^ $(CTL_LIBS)

$(B)/obj/stackctl/pcapng.o: ALLCFLAGS += $(CAP_CFLAGS)
$(B)/stackctl-capture: $(call obj,$(CAP_SRC))
	$(CC) $(LDSAN) -o $@ $^ $(CAP_LIBS)

$(B)/stackrun: $(B)/obj/stackctl/stackrun.o
	$(CC) $(LDSAN) -o $@ $^

# Unit tests: one Criterion program per folder of tests/unit, linked with the whole core.
define unit_rule
$(B)/tests/unit-$(1): $$(call obj,$$(wildcard tests/unit/$(1)/*.c)) \
	$$(if $$(filter app engine supervisor ctl,$(1)),$$(call obj,$$(filter-out %/main.c,$(ENGINE_SRC))) $(B)/obj/abi_id.o) \
	$$(if $$(filter tcp,$(1)),$$(call obj,$$(filter-out %/main.c,$$(wildcard tests/sim/*.c)))) \
	$$(if $$(filter preload,$(1)),$$(call obj,$(wildcard preload/*.c))) \
	$(B)/libstackcore.a
	@mkdir -p $$(@D)
	$(CC) $(LDSAN) -o $$@ $$^ -lcriterion $$(if $$(filter tcp,$(1)),$(SIM_LIBS)) $(ENGINE_LIBS) -lm
endef
$(foreach r,$(UNIT_ROOMS),$(eval $(call unit_rule,$(r))))

# Stress and fuzz programs: one per file. The simulator: one program.
STRESS_BINS := $(patsubst tests/stress/%.c,$(B)/tests/stress-%,$(wildcard tests/stress/*.c))
FUZZ_BINS   := $(patsubst tests/fuzz/fuzz_%.c,$(B)/tests/fuzz-%,$(wildcard tests/fuzz/fuzz_*.c))
SIM_BIN     := $(if $(wildcard tests/sim/*.c),$(B)/tests/sim)
# Programs that run on stackd in tests/fault and tests/apps: always plain, like the shim.
FAULT_BINS  := $(if $(SAN),,$(patsubst tests/fault/%.c,$(B)/tests/%,$(wildcard tests/fault/*.c)))
APPS_BINS   := $(if $(SAN),,$(patsubst tests/apps/progs/%.c,$(B)/tests/%,$(wildcard tests/apps/progs/*.c)))
VM_BINS     := $(if $(SAN),,$(patsubst tests/vm/%.c,$(B)/tests/vm-%,$(wildcard tests/vm/*.c)))
TEST_BINS   := $(UNIT_BINS) $(VM_BINS) $(STRESS_BINS) $(FUZZ_BINS) $(SIM_BIN) $(FAULT_BINS) \
               $(APPS_BINS)

# Run in the virtual machine.
$(VM_BINS): $(B)/tests/vm-%: $(B)/obj/tests/vm/%.o $(B)/libstackcore.a
	@mkdir -p $(@D)
	$(CC) $(LDSAN) -o $@ $^ $(ENGINE_LIBS)

$(FAULT_BINS): $(B)/tests/%: $(B)/obj/tests/fault/%.o $(B)/libstackcore.a
	@mkdir -p $(@D)
	$(CC) $(LDSAN) -o $@ $^ -lpthread

$(APPS_BINS): $(B)/tests/%: $(B)/obj/tests/apps/progs/%.o
	@mkdir -p $(@D)
	$(CC) $(LDSAN) -o $@ $^

$(STRESS_BINS): $(B)/tests/stress-%: $(B)/obj/tests/stress/%.o $(B)/libstackcore.a
	@mkdir -p $(@D)
	$(CC) $(LDSAN) -o $@ $^ -lpthread

$(B)/tests/fuzz-%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/libstackcore.a
	@mkdir -p $(@D)
	$(CC) $(LDSAN) -o $@ $^ $(ENGINE_LIBS)

$(B)/tests/sim: $(call obj,$(wildcard tests/sim/*.c)) $(B)/libstackcore.a
	@mkdir -p $(@D)
	$(CC) $(LDSAN) -o $@ $^ $(SIM_LIBS) $(ENGINE_LIBS)

# The simulator with one source changed (tests/sim/mutants/run.py writes mutant.c): its object comes
# before the library, which then is not asked for the same functions.
$(B)/mutants/%/sim: $(B)/mutants/%/mutant.c $(B)/tests/sim
	$(CC) $(ALLCFLAGS) -w -c $< -o $(@D)/mutant.o
	$(CC) $(LDSAN) -o $@ $(@D)/mutant.o $(call obj,$(wildcard tests/sim/*.c)) $(B)/libstackcore.a \
		$(SIM_LIBS) $(ENGINE_LIBS)

# ---- tests: each suite alone, or all of them by `make test` ----
# Sub-makes see the tools that `deps` has just installed.
SUB := +@$(MAKE) --no-print-directory -j2
RUN := @python3 tests/run.py

.PHONY: deps deps-run deps-bench tests test run soak sim-soak bench
.PHONY: test-style test-unit test-stress test-sim test-fuzz test-apps test-vm test-fault test-sanitize
deps:
	@scripts/deps.sh test
deps-run:
	@scripts/deps.sh run
deps-bench:
	@scripts/deps.sh bench

tests: all $(TEST_BINS)

test: deps
	$(SUB) -s tests
	$(SUB) -s SAN=address tests
	$(SUB) -s SAN=thread stress-bins
	$(RUN) style unit stress sim fuzz apps vm fault sanitize

.PHONY: stress-bins
stress-bins: $(STRESS_BINS)

test-style:
	$(RUN) style
test-unit: deps
	$(SUB) -s tests
	$(RUN) unit
test-stress: deps
	$(SUB) -s stress-bins
	$(RUN) stress
test-sim: deps
	$(SUB) -s tests
	$(RUN) sim
test-fuzz: deps
	$(SUB) -s tests
	$(RUN) fuzz
test-apps: deps
	$(SUB) -s tests
	$(RUN) apps
# A virtual machine with its own kernel and QEMU, fetched into build/vm; nothing is installed.
test-vm: deps
	$(SUB) -s tests
	$(RUN) vm
test-fault: deps
	$(SUB) -s tests
	$(RUN) fault
test-sanitize: deps
	$(SUB) -s tests
	$(SUB) -s SAN=address tests
	$(SUB) -s SAN=thread stress-bins
	$(RUN) sanitize
soak: deps
	$(SUB) -s tests
	$(RUN) soak
sim-soak: deps
	$(SUB) -s $(B)/tests/sim
	@$(B)/tests/sim -n 200000 -s 1000000

$(B)/bench/micro-%: $(B)/obj/bench/micro/%.o $(B)/libstackcore.a
	@mkdir -p $(@D)
	$(CC) $(LDSAN) -o $@ $^ $(ENGINE_LIBS)

# The tables are measured beside DPDK's: built where its headers are.
DPDK_BENCH := $(B)/bench/micro-tables
$(B)/obj/bench/micro/tables.o: ALLCFLAGS += $(shell pkg-config --cflags libdpdk 2>/dev/null)
$(DPDK_BENCH): ENGINE_LIBS += -lrte_hash -lrte_eal
MICRO_BINS := $(patsubst bench/micro/%.c,$(B)/bench/micro-%,$(wildcard bench/micro/*.c))
MICRO_BINS := $(filter-out $(if $(wildcard /usr/include/dpdk/rte_hash.h),,$(DPDK_BENCH)),$(MICRO_BINS))

.PHONY: bench-bins bench-devices
bench-bins: all $(MICRO_BINS)

bench: deps-bench
	$(SUB) -s bench-bins
	@python3 bench/micro.py -o build/micro.json
	@$(DPDK_BENCH) | tee build/tables.json
	@python3 bench/bench.py -o build/bench.json
	@python3 bench/restart.py -o build/restart.json
	@/usr/bin/python3 bench/plot.py build/bench.json build/bench.svg
	@echo "build/bench.json, build/bench.svg, build/micro.json, build/tables.json, build/restart.json"

# Devices alone, beside DPDK's testpmd and the kernel: minutes.
bench-devices: deps-bench
	$(SUB) -s bench-bins
	@python3 bench/devices.py -o build/devices.json

run: deps-run
	$(SUB) -s all
	@python3 scripts/demo.py

clean:
	rm -rf build

-include $(shell find build -name '*.d' -type f -not -path 'build/vm/*' 2>/dev/null)
