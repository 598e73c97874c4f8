# Everything a newcomer or CI runs. `make demo` and `make test` install what is missing.
BUILD ?= .build
SWIFT ?= swift
BIN = $(BUILD)/release

.PHONY: all build install setup demo test test-arm fuzz sanitize trust bench peers accuracy models deb tarball check-packages clean

all: build

setup:
	@sh Scripts/setup.sh

build: setup
	$(SWIFT) build -c release --scratch-path $(BUILD)

# Programs only; they use this machine's Swift runtime. Packages that stand alone: make deb, make tarball.
PREFIX ?= /usr/local
install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install $(BIN)/trident $(BIN)/trident-quantize $(DESTDIR)$(PREFIX)/bin

demo: build
	@sh Scripts/demo.sh $(BIN)

test: setup
	$(SWIFT) build -c release --scratch-path $(BUILD)
	$(SWIFT) test -c release --scratch-path $(BUILD)
	sh Scripts/check-programs.sh $(BIN)

# 64-bit ARM under emulation, on an x86-64 Debian machine, as root: suite, kernels, whole photos, virtual machines.
test-arm:
	Scripts/arm/setup.sh
	Scripts/arm/test.sh
	Scripts/arm/vm.sh

# Every parser and whole runs under libFuzzer: FUZZ_SECONDS each, FUZZ_TARGETS only; in the environment,
# FUZZ_CPU_MINUTES=20 goes on until each has had so much processor time, over several runs if need be.
FUZZ_SECONDS ?= 60
fuzz: setup
	SWIFT="$(SWIFT)" sh Scripts/fuzz.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# All tests under AddressSanitizer and UndefinedBehaviorSanitizer; worker pool and whole runs under ThreadSanitizer.
sanitize: setup
	SWIFT="$(SWIFT)" sh Scripts/sanitize.sh

# Mutated files, long and interrupted runs, full disks. The defaults are for CI; docs/trust.md has the whole campaign.
trust: build
	sh Scripts/trust.sh $(BIN)

models:
	sh Scripts/models.sh models/download

bench: build
	$(BIN)/trident bench

accuracy: build
	sh Scripts/accuracy.sh $(BIN)/trident

# Python packages into a folder of their own; PEERS="--no-amx --rounds 5" and the like are handed on.
peers: build
	python3 -m venv $(BUILD)/peers-venv
	$(BUILD)/peers-venv/bin/pip install -q -r Benchmarks/peers/requirements.txt
	$(BUILD)/peers-venv/bin/python Benchmarks/peers/compare.py --trident $(BIN)/trident --cache $(BUILD)/peers $(PEERS)

# Packages for amd64 and arm64 in out/packages, built in a Debian 13 root (see Scripts/arm/setup.sh; needs root).
deb tarball:
	Scripts/package/build.sh $@

# Makes and tries both kinds for both architectures in clean systems, makes them again elsewhere and compares the bytes.
check-packages:
	Scripts/package/build.sh deb
	Scripts/package/build.sh tarball
	Scripts/package/check.sh
	Scripts/package/rebuild.sh

clean:
	rm -rf $(BUILD)
