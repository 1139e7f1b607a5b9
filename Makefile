# berth's only Makefile: everything is built from here, nothing recursive.

VERSION := 0.1.0

## make               build berthd, berth, berthctl and libberth into build/
## make check         set-up, all builds, all tests that take minutes; the last line is the sum
## make check-all     the same and the long ones
## make check-vm      what needs kernel TLS, under Debian's kernel in an emulated machine; JOB=name: one job
## make demo          a first lease, from nothing
## make bench         measure; writes build/bench.json
## make coverage      which lines the tests reach: build/coverage/html
## make sim           one run of the simulator; SEED=n STEPS=n, SHRINK=yes for a short failure
## make tidy          all sources through clang++ and clang-tidy
## make format        clang-format over our sources
## make install       into the configured directories; DESTDIR is honoured. make uninstall
## make dist          build/berth-VERSION.tar.gz of the commit; make clean removes build/
##
## One file:   make build/obj/src/pool/depot.o       One program: make build/test/unit
## Variables:  V=1 shows the commands; SANITIZE=address,undefined or SANITIZE=thread or COVERAGE=yes
##             build such a variant, in a folder of its own: build/address-undefined, build/thread,
##             build/coverage. ./configure --help tells the rest.

# What a goal needs installed, in configure's words; these goals configure every time.
deps_of_check := test,bench
deps_of_check-all := test,bench
deps_of_check-vm := test,vm
deps_of_coverage := test,coverage
deps_of_demo := build,demo
deps_of_bench := build,demo,bench
deps_of_tidy := test,tidy

comma := ,
.DEFAULT_GOAL := all
goals := $(or $(MAKECMDGOALS),all)
deps := $(subst $() ,$(comma),$(strip $(foreach goal,$(goals),$(deps_of_$(goal)))))

ifneq ($(filter-out help clean dist format,$(goals)),)
include config.mak
endif

config.mak: configure $(if $(deps),FORCE)
	@./configure $(CONFIGURED_WITH) $(addprefix --install-deps=,$(deps))

# ---- sources: a folder is a layer and includes only those above it ----

base    := $(wildcard src/base/*.cc)
pool    := $(wildcard src/pool/*.cc)
channel := $(wildcard src/channel/*.cc)
config  := $(wildcard src/config/*.cc)
wire    := $(wildcard src/wire/*.cc)
table   := $(wildcard src/table/*.cc)
loop    := $(wildcard src/loop/*.cc)
net     := $(wildcard src/net/*.cc)
observe := $(wildcard src/observe/*.cc)
broker  := $(wildcard src/broker/*.cc)
control := $(wildcard src/control/*.cc)
daemon  := $(wildcard src/daemon/*.cc)
client  := $(wildcard src/client/*.cc) $(wildcard src/wire/session_*.cc) src/base/endpoint.cc
cli     := $(wildcard src/cli/*.cc)
ctl     := $(wildcard src/ctl/*.cc)

core    := $(base) $(pool) $(channel) $(config) $(wire) $(table) $(loop) $(net) $(observe) $(broker) $(control) \
           $(filter-out src/daemon/main.cc,$(daemon))
unit    := $(wildcard test/unit/*.cc test/unit/*/*.cc test/support/*.cc)
# What includes grpc++, in layers and tests.
with_grpc := $(addprefix src/control/,admin.cc calls.cc control.cc leases.cc server.cc) $(ctl) \
             $(addprefix test/unit/control/,control_test.cc leases_test.cc orders_test.cc) $(wildcard test/unit/ctl/*.cc)
sim     := $(wildcard test/sim/*.cc test/sim/*/*.cc)
bench   := $(wildcard test/bench/*.cc)
fuzz    := $(wildcard test/fuzz/*.cc)
tools   := $(wildcard test/support/*.c test/support/bin/*.c test/support/bin/*.cc)
sources := $(sort $(core) $(daemon) $(client) $(cli) $(ctl) $(unit) $(sim) $(bench) $(fuzz) $(tools))
protos  := berth/v1/session berth/v1/admin berth/v1/leases
services := berth/v1/admin berth/v1/leases

# ---- flags ----

BUILD := build$(addprefix /,$(if $(COVERAGE),coverage,$(subst $(comma),-,$(SANITIZE))))

ifneq ($(COVERAGE),)
variant := --coverage -fprofile-update=atomic -O0
else ifneq ($(SANITIZE),)
# Instrumented code makes GCC see uninitialised values where there are none (its own <regex>).
variant := -fsanitize=$(SANITIZE) -g1 -Wno-maybe-uninitialized -fno-sanitize-recover=all -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS -O0
else
# berth must start like a C program and libberth must not drag a C++ library into its host; but a
# sanitizer has to see the library's functions.
static_runtime := -static-libstdc++ -static-libgcc
complete := -Wl,-z,defs
endif

warnings := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
version  := -DBERTH_VERSION=\"$(VERSION)\"
includes := -Isrc -Isrc/client -Itest -isystem $(BUILD)/gen
defines  := -D_GNU_SOURCE -DBERTH_SYSCONFDIR=\"$(sysconfdir)\" -DBERTH_RUNSTATEDIR=\"$(runstatedir)\"
common   := $(CPPFLAGS) $(includes) $(defines) -pthread
cxx      := $(CCACHE) $(CXX) -std=c++20 $(warnings) $(common) $(BUILD_CFLAGS) $(CXXFLAGS) $(variant)
cc       := $(CCACHE) $(CC) -std=c11 $(warnings) $(common) $(CFLAGS) $(variant)
link     := $(CXX) -pthread $(CXXFLAGS) $(variant) $(LDFLAGS) -Wl,--as-needed
# For these there is no pkg-config file.
tls_libs := -lmbedtls -lmbedx509 -lmbedcrypto
core_libs = -lgrpc++_reflection $(tls_libs) $(BUILD_LIBS)
inputs    = $(filter %.o %.a,$^)

# What protoc makes: headers, and objects.
messages  := $(protos:%=$(BUILD)/gen/%.pb.h) $(services:%=$(BUILD)/gen/%.grpc.pb.h)
generated := $(messages:.h=.o)
versioned := src/daemon/main.cc src/cli/main.cc src/ctl/main.cc src/client/version.cc

# Objects do not depend on where the checkout is, so that ccache serves a fresh clone too.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1

# ---- how to make one of a kind ----

run  = $(if $(filter 1,$(V)),,@printf '%-5s %s\n' $1 $(or $2,$@);) mkdir -p $(@D) &&
objs = $(addprefix $(BUILD)/obj/,$(addsuffix .o,$(basename $1)))
# A stamp file is newer than what it stands for only when the text differs: $(call stamp,FILE,TEXT)
stamp = $(if $(subst $2,,$(file <$1))$(subst $(file <$1),,$2),FORCE)
quote = '$(subst ','\'',$1)'

.PHONY: all check check-all check-vm demo bench coverage install uninstall clean dist format tidy sim tools help FORCE
.SECONDARY:
.DELETE_ON_ERROR:

so := libberth.so.$(VERSION)
soname := libberth.so.$(firstword $(subst ., ,$(VERSION)))

units := $(patsubst contrib/%.in,$(BUILD)/%,$(wildcard contrib/systemd/*/*.in))

all: $(addprefix $(BUILD)/bin/,berthd berth berthctl) $(units) \
     $(addprefix $(BUILD)/lib/,libberth.a libberth.so $(soname) $(so) berth.pc)
tools: $(addprefix $(BUILD)/test/bin/,$(notdir $(basename $(tools))))

$(BUILD)/flags: $(call stamp,$(BUILD)/flags,$(cxx) $(cc) $(link))
	@mkdir -p $(@D) && printf '%s\n' $(call quote,$(cxx) $(cc) $(link)) >$@

$(BUILD)/version: $(call stamp,$(BUILD)/version,$(VERSION))
	@mkdir -p $(@D) && echo $(VERSION) >$@

$(BUILD)/obj/%.o: %.cc $(BUILD)/flags
	$(call run,CXX,$<) $(cxx) $(extra) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(call run,CC,$<) $(cc) $(extra) -MMD -MP -c -o $@ $<

$(BUILD)/gen/%.pb.cc $(BUILD)/gen/%.pb.h: proto/%.proto
	$(call run,PROTO,$<) protoc -Iproto --cpp_out=$(BUILD)/gen $<

$(BUILD)/gen/%.grpc.pb.cc $(BUILD)/gen/%.grpc.pb.h: proto/%.proto
	$(call run,GRPC,$<) protoc -Iproto --grpc_out=$(BUILD)/gen \
	  --plugin=protoc-gen-grpc=$$(command -v grpc_cpp_plugin) $<

$(BUILD)/gen/%.pb.o: $(BUILD)/gen/%.pb.cc $(BUILD)/flags
	$(call run,CXX,$<) $(cxx) -w -c -o $@ $<

$(generated): $(messages)

$(call objs,$(client)): extra := -fPIC -fvisibility=hidden
$(call objs,$(versioned)): extra += $(version)
$(call objs,$(versioned)): $(BUILD)/version
$(call objs,$(unit)): extra := $(TEST_CFLAGS)
# Not left to the .d files: they omit system headers, as which these pass to be exempt from warnings.
$(call objs,$(unit) $(control) $(daemon) $(ctl) $(tools) $(bench)): $(messages)

-include $(patsubst %.o,%.d,$(call objs,$(sources)))

# ---- programs and the library ----

$(BUILD)/bin/berthd: $(call objs,$(core) src/daemon/main.cc) $(generated)
	$(call run,LINK) $(link) -o $@ $(inputs) $(core_libs)

$(BUILD)/bin/berth: $(call objs,$(cli) $(client) src/base/nearest.cc)
	$(call run,LINK) $(link) $(static_runtime) -o $@ $(inputs)

$(BUILD)/bin/berthctl: $(call objs,$(ctl) src/base/nearest.cc src/base/time.cc) $(generated)
	$(call run,LINK) $(link) -o $@ $(inputs) $(BUILD_LIBS)

$(BUILD)/lib/libberth.a: $(call objs,$(client))
	$(call run,AR) rm -f $@ && ar rcs $@ $(inputs)

$(BUILD)/lib/$(so): $(call objs,$(client)) $(BUILD)/libberth.map
	$(call run,LINK) $(link) $(static_runtime) $(complete) -shared -Wl,-soname,$(soname) \
	  -Wl,--version-script=$(BUILD)/libberth.map -o $@ $(inputs)

$(BUILD)/lib/libberth.so $(BUILD)/lib/$(soname): $(BUILD)/lib/$(so)
	@ln -sf $(so) $@

# Only the C ABI leaves the library: not our classes, not the C++ runtime's inside.
$(BUILD)/libberth.map: $(BUILD)/flags
	@echo 'BERTH_0 { global: berth_*; local: *; };' >$@

$(BUILD)/lib/berth.pc: src/client/berth.pc.in $(BUILD)/version config.mak
	$(call run,GEN) sed -e 's|@PREFIX@|$(prefix)|; s|@LIBDIR@|$(libdir)|' \
	  -e 's|@INCLUDEDIR@|$(includedir)|; s|@VERSION@|$(VERSION)|' $< >$@

$(units): $(BUILD)/systemd/%: contrib/systemd/%.in config.mak
	$(call run,GEN) sed -e 's|@SBINDIR@|$(sbindir)|g; s|@RUNSTATEDIR@|$(runstatedir)|g' $< >$@

# ---- tests ----

$(BUILD)/test/unit: $(call objs,$(core) $(client) $(filter-out src/ctl/main.cc,$(ctl)) $(unit)) $(generated)
	$(call run,LINK) $(link) -o $@ $(inputs) $(core_libs) $(TEST_LIBS)

# Those of what links no gRPC, for ThreadSanitizer: Debian's gRPC is not instrumented.
$(BUILD)/test/plain: $(call objs,$(filter-out $(with_grpc),$(core) $(client) $(unit))) $(filter-out %.grpc.pb.o,$(generated))
	$(call run,LINK) $(link) -o $@ $(inputs) $(tls_libs) $(BUILD_LIBS) $(TEST_LIBS)

$(BUILD)/test/sim: $(call objs,$(base) $(pool) $(channel) $(sim))
	$(call run,LINK) $(link) -o $@ $(inputs) $(BUILD_LIBS)

# The unit tests of src/pool and src/channel alone, for test/mutations.
$(BUILD)/test/pool: $(call objs,$(base) $(pool) $(filter test/unit/pool/%,$(unit)))
	$(call run,LINK) $(link) -o $@ $(inputs) $(BUILD_LIBS) $(TEST_LIBS)

$(BUILD)/test/channel: $(call objs,$(base) $(pool) $(channel) $(filter test/unit/channel/%,$(unit)))
	$(call run,LINK) $(link) -o $@ $(inputs) $(BUILD_LIBS) $(TEST_LIBS)

# The sanitizers are what makes it find more than crashes.
$(BUILD)/test/fuzz/tls_engine: $(call objs,$(base) test/fuzz/tls_engine.cc test/support/certificates.cc \
                                 test/support/tls_server.cc $(wildcard src/wire/tls_*.cc) src/wire/shown.cc)
	$(call run,LINK) $(link) -o $@ $(inputs) $(tls_libs) $(BUILD_LIBS) $(TEST_LIBS)

$(BUILD)/test/fuzz/http2: $(call objs,$(base) test/fuzz/http2.cc $(wildcard src/wire/http2_*.cc))
	$(call run,LINK) $(link) -o $@ $(inputs) $(BUILD_LIBS)

messages_of_grpc := $(addprefix src/wire/,compression.cc crc32c.cc grpc_messages.cc grpc_recoder.cc gzip.cc snappy_frames.cc)
$(BUILD)/test/fuzz/grpc_messages $(BUILD)/test/fuzz/snappy_frames: $(BUILD)/test/fuzz/%: $(BUILD)/obj/test/fuzz/%.o \
    $(call objs,$(base) $(messages_of_grpc))
	$(call run,LINK) $(link) -o $@ $(inputs) $(BUILD_LIBS)

$(addprefix $(BUILD)/test/bin/grpc_,lease peer): $(BUILD)/test/bin/%: $(BUILD)/obj/test/support/bin/%.o $(generated)
	$(call run,LINK) $(link) -o $@ $(inputs) $(BUILD_LIBS)

$(BUILD)/test/bin/%: $(BUILD)/obj/test/support/bin/%.o $(BUILD)/lib/libberth.a
	$(call run,LINK) $(link) -o $@ $(inputs)

$(BUILD)/test/bin/%: $(BUILD)/obj/test/support/%.o $(BUILD)/lib/libberth.a
	$(call run,LINK) $(link) -o $@ $(inputs)

$(BUILD)/bench/%: $(BUILD)/obj/test/bench/%.o $(call objs,$(core) $(client)) $(generated)
	$(call run,LINK) $(link) -o $@ $(inputs) $(core_libs)

# The runner builds the variants it needs with this same Makefile.
check check-all:
	+@$(PYTHON) test/run $(if $(filter check-all,$@),--all)

check-vm: $(addprefix $(BUILD)/,bin/berthd bin/berth bin/berthctl test/plain bench/lease_load)
	@BERTH_BUILD=$(abspath $(BUILD)) $(PYTHON) test/vm/run $(JOB)

sim: $(BUILD)/test/sim
	$< --seed $(or $(SEED),1) --steps $(or $(STEPS),100000) $(if $(SHRINK),--shrink)

demo: all tools
	@BERTH_BUILD=$(abspath $(BUILD)) test/demo/demo

bench: all tools $(bench:test/%.cc=$(BUILD)/%)
	@BERTH_BUILD=$(abspath $(BUILD)) $(PYTHON) test/bench/run

coverage:
	@find build -path 'build/coverage/*.gcda' -delete
	+@$(PYTHON) test/run --coverage
	@{ lcov -q -c -d build/coverage/obj/src -b . --no-external -o build/coverage/lcov.info && \
	  genhtml -q -o build/coverage/html build/coverage/lcov.info; } >build/coverage/log 2>&1 || \
	  { cat build/coverage/log; false; }
	@lcov --summary build/coverage/lcov.info 2>&1 | sed -n 's/^ *lines.*: /coverage, lines: /p'

# Both compilers must find our sources clean.
CLANGXX = $(or $(shell command -v clang++-14),clang++)
clang = $(CLANGXX) $(if $(filter %.c,$<),-x c -std=c11,-std=c++20) $(warnings) $(common) $(version) \
        $(BUILD_CFLAGS) $(TEST_CFLAGS)
$(BUILD)/tidy/%: % .clang-tidy test/.clang-tidy $(BUILD)/flags | $(messages)
	$(call run,TIDY,$<) $(clang) -MMD -MP -MT $@ -MF $@.d -fsyntax-only $< && \
	  clang-tidy --quiet $< -- $(wordlist 2,99,$(clang)) 2>/dev/null && touch $@

tidy: $(addprefix $(BUILD)/tidy/,$(sources))
-include $(patsubst %,$(BUILD)/tidy/%.d,$(sources))

format:
	clang-format -i $(shell find src test -name '*.cc' -o -name '*.h' -o -name '*.hpp' -o -name '*.c')

# ---- install ----

headers  := $(wildcard src/client/berth/*.h src/client/berth/*.hpp contrib/adapters/*.h)
manuals  := $(wildcard man/*.[1-8])
man_dest  = $(DESTDIR)$(mandir)/man$(patsubst .%,%,$(suffix $1))
# By the folder a unit is in: system, user, sysusers, tmpfiles, modulesload.
unit_dest = $(DESTDIR)$(or $(systemd$(call kind,$1)unitdir),$($(call kind,$1)dir))
kind      = $(notdir $(patsubst %/,%,$(dir $1)))

install: all
	install -d $(addprefix $(DESTDIR),$(sbindir) $(bindir) $(libdir)/pkgconfig $(includedir)/berth)
	install -m 755 $(BUILD)/bin/berthd $(BUILD)/bin/berthctl $(DESTDIR)$(sbindir)
	install -m 755 $(BUILD)/bin/berth $(DESTDIR)$(bindir)
	install -m 644 $(BUILD)/lib/libberth.a $(BUILD)/lib/$(so) $(DESTDIR)$(libdir)
	ln -sf $(so) $(DESTDIR)$(libdir)/$(soname)
	ln -sf $(so) $(DESTDIR)$(libdir)/libberth.so
	install -m 644 $(BUILD)/lib/berth.pc $(DESTDIR)$(libdir)/pkgconfig
	install -m 644 $(headers) $(DESTDIR)$(includedir)/berth
	$(foreach page,$(manuals),install -D -m 644 -t $(call man_dest,$(page)) $(page) &&) true
	$(foreach unit,$(units),install -D -m 644 -t $(call unit_dest,$(unit)) $(unit) &&) true

uninstall:
	rm -f $(DESTDIR)$(sbindir)/berthd $(DESTDIR)$(sbindir)/berthctl $(DESTDIR)$(bindir)/berth
	rm -f $(addprefix $(DESTDIR)$(libdir)/,libberth.a libberth.so $(soname) $(so) pkgconfig/berth.pc)
	rm -f $(foreach page,$(manuals),$(call man_dest,$(page))/$(notdir $(page)))
	rm -f $(foreach unit,$(units),$(call unit_dest,$(unit))/$(notdir $(unit)))
	rm -rf $(DESTDIR)$(includedir)/berth

dist:
	@mkdir -p build
	git archive --prefix=berth-$(VERSION)/ -o build/berth-$(VERSION).tar.gz HEAD

clean:
	rm -rf build

help:
	@sed -n 's/^## \{0,1\}//p' Makefile
