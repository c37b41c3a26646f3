# SPDX-License-Identifier: MIT
#
# GNU make. Everything is built in $(B); `make help` lists the targets and variables.

ifeq ($(wildcard sources.mk),)
$(error paths are relative to the folder of this Makefile: use make -C FOLDER for make -f$(MAKEFILE_LIST))
endif
include sources.mk

ifeq ($(origin CC),default)
CC = gcc
endif

B ?= build
PORT ?= host
BOARD ?= boards/mac-mini-m1.dts
export CC

ifneq ($(words $(B)),1)
$(error B='$(B)': the folder for everything that is built has a name without spaces)
endif

ifeq ($(SAN),)
CFLAGS ?= -O2 -g
else
CFLAGS ?= -O1 -g
SAN_FLAGS = -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
endif

# scripts/ reads this line: the same warnings hold in every build that is a check.
WARNINGS = -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wcast-align -Wpointer-arith -Wwrite-strings -Wvla -Wimplicit-fallthrough -Wswitch-enum -Wformat=2

GR_CFLAGS = -std=c11 $(WARNINGS) $(if $(WERROR),-Werror) $(W) $(SAN_FLAGS) $(CFLAGS)

# The library sees its own headers and a port; models see models only; the rest is hosted code.
LIB_INC = -Iinclude -Isrc -Iports/$(PORT)
MODEL_INC = -Imodels
HOST_INC = -Iinclude -Iports/host -Imodels -I.
TEST_INC = $(HOST_INC) -Isrc -Itests/lib
BENCH_INC = -Iinclude -Isrc -Iports/bench
HOSTED = -D_GNU_SOURCE -pthread

MODEL_SRCS = $(sort $(wildcard models/*.c models/*/*.c))
HOST_SRCS = $(sort $(wildcard ports/host/*.c))
SIM_SRCS = $(sort $(wildcard sim/*.c))
CLI_SRCS = $(sort $(wildcard cli/*.c))
TEST_SRCS = $(sort $(wildcard tests/test_*.c))
# What tests share is linked into every test program.
TEST_LIB_SRCS = $(sort $(wildcard tests/lib/*.c))
# What is measured is built once, without sanitizers; so is what tests it.
TEST_SCRIPTS = $(filter-out $(if $(SAN),%/test_bench.sh),$(sort $(wildcard tests/cli/test_*.sh)))
EXAMPLE_SRCS = $(sort $(wildcard examples/*.c))
BENCH_SRCS = $(sort $(wildcard bench/*.c))
FUZZ_SRCS = $(sort $(wildcard fuzz/fuzz_*.c))
PROP_SRCS = $(sort $(wildcard tests/prop/*.c))

comma = ,
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))

LIB = $(B)/libgranule.a
LIB_DT = $(B)/libgranule-dt.a
# The hosted port and the models: an archive, so that a test may bring a port of its own.
MACHINE = $(B)/libmachine.a
# The simulated machine that the command drives; tests and fuzz targets take of it what they need.
SIM = $(B)/libsim.a
TESTS = $(TEST_SRCS:tests/%.c=$(B)/tests/%)
EXAMPLES = $(EXAMPLE_SRCS:examples/%.c=$(B)/examples/%)
FUZZERS = $(FUZZ_SRCS:fuzz/%.c=$(B)/tests/%)
# One suite on two machines. The fast one has a port of its own: nothing of ports/host is in it.
PROPS = $(B)/tests/prop_fast $(B)/tests/prop_model
# What hands a fuzz target its input; empty where LDFLAGS bring a fuzzer.
FUZZ_MAIN = $(call obj,fuzz/run_corpus.c)
HOST_OBJS = $(call obj,$(HOST_SRCS) $(MODEL_SRCS) $(SIM_SRCS) $(CLI_SRCS) $(EXAMPLE_SRCS))
TEST_OBJS = $(call obj,$(TEST_SRCS) $(TEST_LIB_SRCS) $(FUZZ_SRCS) fuzz/run_corpus.c $(PROP_SRCS))
# Measured: the library once more, for a port that is as fast as a kernel's.
BENCH_OBJS = $(patsubst %.c,$(B)/obj-bench/%.o,$(GR_SRCS) $(BENCH_SRCS))
# Tested: the library once more, with a switch at each barrier, cache operation and invalidation.
SITE_LIST = $(B)/removal/sites
SITE_OBJS = $(patsubst %.c,$(B)/obj-sites/%.o,$(GR_SRCS)) $(call obj,tests/removal/site.c)
SITE_TESTS = $(TESTS:$(B)/%=$(B)/removal/%)
# Run beside QEMU: the library once more, with what ports/qemu-aarch64 has that needs no CPU.
QTEST_SRCS = $(GR_SRCS) $(GR_SRCS_dt) $(addprefix ports/qemu-aarch64/,gr_port.c irq.c main.c pages.c pci.c rig.c scenarios.c walk.c) \
	$(sort $(wildcard ports/qemu-qtest/*.c examples/drivers/*.c))
QTEST_OBJS = $(patsubst %.c,$(B)/obj-qtest/%.o,$(QTEST_SRCS))
ALL_OBJS = $(QTEST_OBJS) $(SITE_OBJS) $(call obj,$(GR_SRCS) $(GR_SRCS_dt)) $(HOST_OBJS) $(TEST_OBJS) $(BENCH_OBJS)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all lib run examples tests fuzzers test threads exclusive fuzz check check-long compile_commands.json check-layers check-objects check-unit check-size check-symbols check-headers \
	check-sweep check-freestanding check-32bit check-planted check-removal coverage icount properties lists matrix check-fresh bench-peer bench-plots lock-holds qemu-image qemu-check qemu-qtest qemu-run qemu-bench deps-build deps-check deps-ci deps-dev deps-fresh deps-peer deps-plots deps-qemu format tidy clean help FORCE

all: $(B)/granule $(B)/granule-bench ## build $(B)/granule, the command line (the default)

lib: $(LIB) ## build $(B)/libgranule.a for PORT; needs nothing but CC

run: $(B)/granule ## bring up BOARD on the models and drive DMA through it (ARGS= adds options)
	$(strip $(B)/granule run $(ARGS) $(BOARD))

examples: $(EXAMPLES)

tests: $(if $(SAN),$(B)/granule,all) $(EXAMPLES) $(TESTS) $(PROPS) $(FUZZERS)

fuzzers: $(FUZZERS)

# What `make t=NAME test` runs, and what these need to be built.
RUN_TESTS = $(TESTS) $(PROPS) $(TEST_SCRIPTS)
RUN_PROGRAMS = $(EXAMPLES) $(FUZZERS)
RUN_NEEDS = tests
ifeq ($(origin t),command line)
RUN_TESTS = $(filter $(B)/tests/test_$(t) $(B)/tests/$(t) tests/cli/test_$(t).sh,$(TESTS) $(PROPS) $(TEST_SCRIPTS))
RUN_PROGRAMS = $(filter $(B)/tests/$(t) $(B)/examples/$(t),$(EXAMPLES) $(FUZZERS))
RUN_NEEDS = $(filter-out %.sh,$(RUN_TESTS)) $(RUN_PROGRAMS) $(if $(filter %.sh,$(RUN_TESTS)),$(B)/granule) \
	$(if $(filter %/test_bench.sh,$(RUN_TESTS)),$(B)/granule-bench)
ifeq ($(if $(filter test,$(MAKECMDGOALS)),$(strip $(RUN_TESTS) $(RUN_PROGRAMS)),other),)
$(error t=$(t) names no test: give the NAME of tests/test_NAME.c or tests/cli/test_NAME.sh, prop_fast, prop_model, fuzz_NAME or an example)
endif
endif

test: $(RUN_NEEDS) ## build and run the test programs and examples with the variables as given; t=NAME: that one
	@GRANULE=$(B)/granule sh scripts/run-tests.sh $(RUN_TESTS) -- $(RUN_PROGRAMS)

fuzz: ## clang's libFuzzer on each target in fuzz/, or FUZZ="dt api", for FUZZ_SECONDS=60 each
	+@MAKE='$(MAKE)' B='$(B)' sh scripts/fuzz.sh $(FUZZ)

threads: $(addprefix $(B)/tests/test_,threads pt_threads iova_threads adopt_threads) ## run the threads' tests alone, for SAN=thread
	@sh scripts/run-tests.sh $^

EXCLUSIVE = $(addprefix $(B)/tests/,$(addprefix test_,iova iova_arena iova_interleave iova_threads dma sg coherent defer gaps sweep \
	interleave threads) prop_fast prop_model)

exclusive: $(EXCLUSIVE) ## run what the port's exclusive section makes a difference to, for W=-DGR_HOST_NO_EXCLUSIVE
	@sh scripts/run-tests.sh $^

check: ## all that a change must pass: tests with ASan and UBSan, script checks, boards
	+@MAKE='$(MAKE)' B='$(B)' sh scripts/check.sh

check-long: ## the same, then new seeds: thousands of runs over the boards (RUNS=3000), OPS=10^9 properties
	+@MAKE='$(MAKE)' B='$(B)' sh scripts/check.sh long

compile_commands.json: ## a compile command for each source, with the variables as given, for clangd
	+@MAKE='$(MAKE)' B='$(B)' sh scripts/compile-commands.sh $@

check-layers: ## includes point down only
	@sh scripts/check-layers.sh

check-objects: $(call obj,$(GR_SRCS) $(GR_SRCS_dt) $(MODEL_SRCS) $(HOST_SRCS) $(SIM_SRCS) $(CLI_SRCS) $(TEST_LIB_SRCS)) ## calls between files point down only, and never in a circle
	@sh scripts/check-layers.sh --objects $^

check-unit: ## the library compiles as one translation unit
	@mkdir -p $(B)
	@B='$(B)' CC='$(CC)' WARNINGS='$(WARNINGS)' sh scripts/check-unit.sh $(GR_SRCS) $(GR_SRCS_dt)

check-size: ## no function over 60 lines, no file over 900
	@sh scripts/check-size.sh

check-symbols: $(LIB) $(LIB_DT) $(call obj,$(SIM_SRCS) $(CLI_SRCS)) ## symbols, macros and tags have their prefix, files their licence
	@sh scripts/check-symbols.sh $^

check-headers: ## each public header compiles alone, as C11 and as C++17
	@sh scripts/check-headers.sh

check-sweep: ## tests/test_sweep.c makes every public call fail that can
	@sh scripts/check-sweep.sh

check-planted: deps-check ## each bug of tests/planted is found by a test; takes minutes
	+@MAKE='$(MAKE)' B='$(B)' sh scripts/check-planted.sh

check-freestanding: ## build without libc for CC and list what is undefined (TARGET_FLAGS= for CC)
	@SRCS='$(GR_SRCS)' SRCS_DT='$(GR_SRCS_dt)' WARNINGS='$(WARNINGS)' \
	sh scripts/check-freestanding.sh $(TARGET_FLAGS)

check-32bit: ## the library compiles for 32 bits without libc, and all tests run on i686; needs clang
	+@MAKE='$(MAKE)' B='$(B)' SRCS='$(GR_SRCS)' HOSTED_SRCS='$(HOST_SRCS) $(MODEL_SRCS)' \
	WARNINGS='$(WARNINGS)' sh scripts/check-32bit.sh

check-fresh: ## make run and make check side by side in a new Debian root (FRESH=whole: all of it)
	+@B='$(B)' sh scripts/fresh-root.sh $(FRESH)

check-removal: $(SITE_TESTS) ## each barrier, cache operation and invalidation is needed by a test
	@B='$(B)' sh scripts/check-removal.sh $(SITE_TESTS)

coverage: ## how much of src/ the test programs reach: all lines, 95 % of the branches
	+@MAKE='$(MAKE)' B='$(B)' sh scripts/coverage.sh

icount: $(B)/granule-bench ## instructions of hot paths against bench/icount.txt (UPDATE=1: write it)
	@CC='$(CC)' UPDATE='$(UPDATE)' sh scripts/icount.sh $(B)/granule-bench

# What bench-peer takes: ROWS= parts of rows' names, REPS= repeats, QUICK=1, JSON= a file.
PEER_ARGS = $(if $(QUICK),--quick) $(if $(ROWS),--rows='$(ROWS)') $(if $(REPS),--reps=$(REPS)) $(if $(JSON),--json='$(JSON)')

bench-peer: deps-peer ## the library beside Linux's own code (QUICK=1, ROWS=, REPS=, JSON=FILE)
	+@$(MAKE) --no-print-directory -f bench/peer/Makefile B='$(B)/peer' CC='$(CC)'
	@$(B)/peer/peer $(PEER_ARGS)

lock-holds: deps-build ## how long the IOVA allocator holds its locks
	@mkdir -p $(B)
	@$(CC) -std=c11 $(WARNINGS) $(if $(WERROR),-Werror) $(CFLAGS) $(HOSTED) -Iinclude -Isrc -Ibench/holds -o $(B)/lock-holds \
		bench/holds/main.c $(GR_SRCS_iova)
	@$(B)/lock-holds

bench-plots: deps-plots ## growth with live mappings, length, fill, threads, as SVG in PLOTS=docs/plots
	+@$(MAKE) --no-print-directory -f bench/peer/Makefile B='$(B)/peer' CC='$(CC)'
	@$(B)/peer/peer --growth $(if $(QUICK),--quick) $(if $(REPS),--reps=$(REPS)) --json='$(B)/peer/growth.json'
	@sh scripts/bench-plots.sh '$(B)/peer/growth.json' '$(or $(PLOTS),docs/plots)'

properties: $(PROPS) ## OPS= random operations on every format and geometry, and 1 % more on the models
	@OPS=$(or $(OPS),10000000) $(B)/tests/prop_fast
	@OPS=$$(($(or $(OPS),10000000) / 100)) $(B)/tests/prop_model

lists: $(B)/tests/test_sg ## LISTS= random scatter lists against the plain reference
	@LISTS=$(or $(LISTS),2000000) sh scripts/run-tests.sh $<

matrix: $(B)/granule ## RUNS= runs over all boards, CPU page sizes and seeds from SEED= on (PRODUCT=whole: every option with every board)
	@GRANULE=$(B)/granule sh scripts/run-matrix.sh $(or $(RUNS),100) $(PRODUCT)

qemu-image: deps-qemu
	+@$(MAKE) --no-print-directory -f ports/qemu-aarch64/Makefile B='$(B)/qemu' CFLAGS=

qemu-check: qemu-image ## scenarios on QEMU's SMMUv3 at 4, 16, 64 KiB; APPEND='seed=N only=NAME'
	@B='$(B)/qemu' APPEND='$(APPEND)' sh scripts/qemu-check.sh check

SANITIZED = B='$(B)/san' SAN=address,undefined WERROR=1 W=-DGR_CFG_DEBUG=1 # as scripts/check.sh

qemu-qtest: ## the same scenarios, run on this machine with ASan and UBSan; QEMU without a guest
	+@$(MAKE) --no-print-directory $(SANITIZED) '$(B)/san/granule-qtest'
	@B='$(B)/qemu' PROGRAM='$(B)/san/granule-qtest' APPEND='$(APPEND)' sh scripts/qemu-check.sh qtest

qemu-run: qemu-image ## NVMe behind QEMU's SMMUv3, for people
	@B='$(B)/qemu' sh scripts/qemu-check.sh run

qemu-bench: qemu-image ## map + NVMe read + unmap per second on the image, by granule
	@B='$(B)/qemu' sh scripts/qemu-check.sh bench

# Several of them in one make are one list.
deps-build deps-check deps-ci deps-dev deps-fresh deps-peer deps-plots deps-qemu: ## install what make needs (others: check, .ci/run, ...); GR_INSTALL=no prints it
	@sh scripts/deps.sh $(patsubst deps-%,%,$(sort $@ $(filter deps-%,$(MAKECMDGOALS))))

format: ## lay out every source with clang-format
	@sh scripts/deps.sh dev
	@sh scripts/format.sh -i

tidy: ## clang-tidy over library, models, ports and command line
	@sh scripts/deps.sh dev build
	clang-tidy --quiet $(GR_SRCS) $(GR_SRCS_dt) -- -std=c11 $(LIB_INC)
	clang-tidy --quiet $(MODEL_SRCS) -- -std=c11 $(HOSTED) $(MODEL_INC)
	clang-tidy --quiet $(HOST_SRCS) $(SIM_SRCS) $(CLI_SRCS) -- -std=c11 $(HOSTED) $(HOST_INC)
	clang-tidy --quiet $(BENCH_SRCS) -- -std=c11 $(HOSTED) $(BENCH_INC)

clean: ## remove $(B)
	rm -rf $(B)

help: ## print this
	@echo 'Targets:'
	@awk -F ':.*## ' '/^[a-z0-9_. -]+:.*## / { sub(/ .*/, "", $$1); printf "  %-21s %s\n", $$1, $$2 }' \
		Makefile
	@echo 'Variables (value now):'
	@printf '  %-34s %s\n' 'B=$(B)' 'folder for everything that is built' \
		'CC=$(CC)' 'compiler' 'CFLAGS=$(CFLAGS)' 'optimisation and debugging' \
		'SAN=$(SAN)' 'sanitizers, such as SAN=address,undefined' \
		'WERROR=$(WERROR)' '1: warnings are errors' 'W=$(W)' 'more warning flags' \
		'PORT=$(PORT)' 'the folder in ports/ that lib is built for' \
		'BOARD=$(BOARD)' 'the device tree that run takes'

# Rules write a draft and rename it: a second make in the same folder reads whole files only.
draft = $@.$$$$.tmp

# A change of compiler or flags builds everything anew.
$(B)/.flags: FORCE
	@mkdir -p $(B)
	@echo '$(CC) $(GR_CFLAGS) $(PORT)' | cmp -s - $@ || { echo '$(CC) $(GR_CFLAGS) $(PORT)' > $(draft) && mv $(draft) $@; }

# One list for the installer: goals that want tests have it bring the tests' packages with the rest.
NEEDS = $(if $(filter test tests threads fuzzers properties lists check-removal $(B)/tests/%,$(MAKECMDGOALS)),check,build)

$(B)/.deps-build: scripts/deps.sh $(B)/.flags
	@sh scripts/deps.sh $(NEEDS)
	@touch $@

$(B)/.deps-check: scripts/deps.sh $(B)/.flags | $(B)/.deps-build
	@sh scripts/deps.sh check
	@touch $@

$(call obj,$(GR_SRCS_dt)) $(HOST_OBJS) $(BENCH_OBJS) $(QTEST_OBJS): | $(B)/.deps-build
ifneq ($(MAKECMDGOALS),lib)
$(call obj,$(GR_SRCS)): | $(B)/.deps-build
endif
$(TEST_OBJS): | $(B)/.deps-check

# $(call compile,FLAGS[,SOURCE])
define compile
@mkdir -p $(@D)
@echo '  CC  $(or $(2),$<)'
@$(CC) $(GR_CFLAGS) $(1) -MMD -MP -MT $@ -MF $(draft).d -c -o $(draft) $(or $(2),$<) && mv $(draft).d $(@:.o=.d) && mv $(draft) $@
endef

# $(call link,LIBRARIES): archives twice, because the library and the port want each other.
define link
@mkdir -p $(@D)
@echo '  LD  $@'
@$(CC) $(SAN_FLAGS) $(CFLAGS) -pthread $(LDFLAGS) -o $(draft) $(filter %.o,$^) $(filter %.a,$^) $(filter %.a,$^) $(1) && mv $(draft) $@
endef

define archive
@echo '  AR  $@'
@rm -f $(draft) && ar rcs $(draft) $(filter %.o,$^) && mv $(draft) $@
endef

$(B)/obj/src/%.o: src/%.c $(B)/.flags
	$(call compile,$(LIB_INC))

$(B)/obj/models/%.o: models/%.c $(B)/.flags
	$(call compile,$(HOSTED) $(MODEL_INC))

$(B)/obj/tests/%.o: tests/%.c $(B)/.flags
	$(call compile,$(HOSTED) $(TEST_INC))

$(B)/obj-bench/%.o: %.c $(B)/.flags
	$(call compile,$(HOSTED) $(BENCH_INC))

$(B)/obj/%.o: %.c $(B)/.flags
	$(call compile,$(HOSTED) $(HOST_INC))

$(B)/obj-qtest/%.o: %.c $(B)/.flags
	$(call compile,$(HOSTED) -Iinclude -Isrc -Iports/qemu-aarch64 -I.)

$(LIB): $(call obj,$(GR_SRCS)) sources.mk
	$(archive)

$(LIB_DT): $(call obj,$(GR_SRCS_dt)) sources.mk
	$(archive)

$(MACHINE): $(call obj,$(HOST_SRCS) $(MODEL_SRCS))
	$(archive)

$(SIM): $(call obj,$(SIM_SRCS))
	$(archive)

$(B)/granule: $(call obj,$(CLI_SRCS)) $(SIM) $(MACHINE) $(LIB_DT) $(LIB)
	$(call link,-lfdt -ljansson)

$(B)/granule-bench: $(BENCH_OBJS)
	$(call link,-ljansson)

$(B)/granule-qtest: $(QTEST_OBJS)
	$(call link,-lfdt)

$(EXAMPLES): $(B)/examples/%: $(B)/obj/examples/%.o $(MACHINE) $(LIB)
	$(call link)

# Calls of the port stop in tests/lib/interleave.h, which names the same functions.
$(foreach t,test_interleave test_pt_threads test_iova_interleave,$(B)/tests/$(t) $(B)/removal/tests/$(t)): LDFLAGS += $(addprefix -Wl$(comma)--wrap=gr_port_,pages_alloc pages_free \
	phys_to_virt table_store64 cache map_uncached unmap_uncached wmb read32 write32 relax lock unlock)

$(B)/tests/test_iova_interleave $(B)/removal/tests/test_iova_interleave: LDFLAGS += $(addprefix -Wl$(comma)--wrap=gr_port_exclusive_,enter leave)

$(TESTS): $(B)/tests/%: $(B)/obj/tests/%.o $(call obj,$(TEST_LIB_SRCS)) $(SIM) $(MACHINE) $(LIB_DT) $(LIB)
	$(call link,-lfdt -lcmocka)

PROP_SUITE = $(call obj,$(filter-out tests/prop/on_%.c,$(PROP_SRCS))) $(SIM)

$(B)/tests/prop_fast: $(call obj,tests/prop/on_fast.c) $(PROP_SUITE) $(LIB)
	$(call link,-lcmocka)

$(B)/tests/prop_model: $(call obj,tests/prop/on_model.c) $(PROP_SUITE) $(MACHINE) $(LIB)
	$(call link,-lcmocka)

$(FUZZERS): $(B)/tests/%: $(B)/obj/fuzz/%.o $(FUZZ_MAIN) $(call obj,$(TEST_LIB_SRCS)) $(SIM) $(MACHINE) $(LIB_DT) $(LIB)
	$(call link,-lfdt -ljansson -lcmocka)

$(SITE_LIST): scripts/removal-sites.awk $(wildcard src/*/*.[ch] src/*/*/*.[ch])
	@find src -type d | sed 's,^,$(@D)/,' | xargs mkdir -p
	@find src -name '*.[ch]' | sort | xargs awk -v OUT=$(@D) -f scripts/removal-sites.awk > $(draft) && mv $(draft) $@

$(B)/obj-sites/%.o: %.c $(SITE_LIST) $(B)/.flags
	$(call compile,-include tests/removal/site.h -Iinclude -I$(B)/removal/src -Iports/host,$(B)/removal/$<)

$(SITE_TESTS): $(B)/removal/tests/%: $(B)/obj/tests/%.o $(call obj,$(TEST_LIB_SRCS)) $(SITE_OBJS) $(SIM) $(MACHINE) $(LIB_DT)
	$(call link,-lfdt -lcmocka)

ifneq ($(PORT),host)
$(B)/granule $(EXAMPLES) $(TESTS) $(PROPS) $(FUZZERS): needs-the-host-port
needs-the-host-port:
	@echo 'granule, tests and examples run on ports/host: leave PORT unset, or build only `make lib`'
	@false
endif

-include $(ALL_OBJS:.o=.d)
