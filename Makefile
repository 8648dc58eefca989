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

CORE_SRC   := $(call src,$(CORE_ROOMS))
ENGINE_SRC := $(call src,$(ENGINE_ROOMS))
PRELOAD_SRC := $(wildcard preload/*.c shm/*.c)
CTL_SRC    := $(strip $(filter-out stackctl/stackrun.c,$(wildcard stackctl/*.c)))

ENGINE_LIBS := -luring -lnuma -lhwloc -lseccomp -lcap-ng -lbpf -lmnl -ljansson -lpthread
CTL_LIBS    := -ljansson

UNIT_ROOMS := $(patsubst tests/unit/%,%,$(filter-out %.c %.h %.md,$(wildcard tests/unit/*)))
UNIT_BINS  := $(patsubst %,$(B)/tests/unit-%,$(UNIT_ROOMS))

.PHONY: all clean
all: $(B)/libstackcore.a $(if $(filter %/main.c,$(ENGINE_SRC)),$(B)/stackd) \
     $(if $(wildcard preload/*.c),$(if $(SAN),,$(B)/libstackd.so)) \
     $(if $(CTL_SRC),$(B)/stackctl) $(if $(wildcard stackctl/stackrun.c),$(B)/stackrun)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLCFLAGS) -c $< -o $@

$(B)/pic/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLCFLAGS) -fPIC -fvisibility=hidden -c $< -o $@

$(B)/libstackcore.a: $(call obj,$(CORE_SRC))
	@rm -f $@
	$(AR) rcs $@ $^

$(B)/stackd: $(call obj,$(ENGINE_SRC)) $(B)/libstackcore.a
	$(CC) $(LDSAN) -o $@ $^ $(ENGINE_LIBS)

$(B)/libstackd.so: $(patsubst %.c,$(B)/pic/%.o,$(PRELOAD_SRC))
	$(CC) -shared -o $@ $^ -ldl -lpthread -Wl,-z,now

$(B)/stackctl: $(call obj,$(CTL_SRC))
	$(CC) $(LDSAN) -o $@ $^ $(CTL_LIBS)

$(B)/stackrun: $(B)/obj/stackctl/stackrun.o
	$(CC) $(LDSAN) -o $@ $^

# Unit tests: one Criterion program per folder of tests/unit, linked with the whole core.
define unit_rule
$(B)/tests/unit-$(1): $$(call obj,$$(wildcard tests/unit/$(1)/*.c)) \
	$$(if $$(filter app engine supervisor ctl,$(1)),$$(call obj,$$(filter-out %/main.c,$(ENGINE_SRC)))) \
	$$(if $$(filter preload,$(1)),$$(call obj,$(wildcard preload/*.c))) \
	$(B)/libstackcore.a
	@mkdir -p $$(@D)
	$(CC) $(LDSAN) -o $$@ $$^ -lcriterion $(ENGINE_LIBS)
endef
$(foreach r,$(UNIT_ROOMS),$(eval $(call unit_rule,$(r))))

.PHONY: test-unit
test-unit: $(UNIT_BINS)
	@set -e; for t in $(UNIT_BINS); do $$t; done

clean:
	rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)
