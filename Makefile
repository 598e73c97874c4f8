# Everything a newcomer or CI runs. `make demo` and `make test` install what is missing.
BUILD ?= .build
SWIFT ?= swift
BIN = $(BUILD)/release

.PHONY: all build install setup demo lint format test test-arm fuzz sanitize trust adversary bench peers accuracy models deb tarball check-packages clean

all: build

setup:
	@sh Scripts/setup.sh

build: setup
	$(SWIFT) build -c release --scratch-path $(BUILD)

# Programs, manual, completions and the demo model; the programs use this machine's Swift runtime. Packages that stand
# alone: make deb, make tarball.
PREFIX ?= /usr/local
install: build
	@DESTDIR="$(DESTDIR)" sh Scripts/package/install.sh $(BIN) $(PREFIX)

demo: build
	@sh Scripts/demo.sh $(BIN)

# No test imports with @testable. Told so, `swift test` compiles as `swift build` does and uses what is there; left to
# itself it compiles all modules again, and so does the next `make demo`.
ONE_BUILD = --disable-testable-imports
test:
	@sh Scripts/setup.sh test
	$(SWIFT) build -c release --scratch-path $(BUILD)
	$(SWIFT) test -c release --scratch-path $(BUILD) $(ONE_BUILD)
	python3 Scripts/check-warnings.py $(BIN)
	sh Scripts/check-programs.sh $(BIN)
	sh Scripts/check-pull.sh $(BIN)
	sh Scripts/check-formats.sh $(BIN) $(BUILD)/formats-venv
	sh Scripts/check-libraries.sh $(BIN) $(BUILD)/python-venv
	sh Scripts/check-recipes.sh $(BIN) $(BUILD)/python-venv
	sh Scripts/check-watch.sh $(BIN)
	sh Scripts/check-serve.sh $(BIN) $(BUILD)/serve-venv
	sh Scripts/check-rasters.sh $(BIN) $(BUILD)/rasters-venv

# Layout, limits, links and commands in documents, warnings of the compiler; what is missing of the tools is installed.
# `make format` rewrites.
lint: build
	@BUILD=$(BUILD) sh Scripts/lint.sh $(BIN)

format:
	@BUILD=$(BUILD) sh Scripts/lint.sh --fix

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

# Mutated files, long and interrupted runs, full disks. The defaults are for CI; docs/lab/trust.md has the whole campaign.
trust: build
	sh Scripts/trust.sh $(BIN)

# What an adversary who knows the format tries, the long form: edited files and random configurations, with guard pages
# around every reservation, under AddressSanitizer; then every call of a run fails once, and memory
# limits are tried at the edge. The suite and `make trust` have
# the short form.
ADVERSARY ?= 45
adversary: build
	SWIFT="$(SWIFT)" TRIDENT_ADVERSARY=$(ADVERSARY) sh Scripts/sanitize.sh Adversary
	python3 Scripts/trust/faults.py --programs $(BIN) --work $(BUILD)/faults
	python3 Scripts/trust/limits.py --programs $(BIN) --runs 600

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
