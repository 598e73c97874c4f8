# Everything a newcomer or CI runs. `make demo` and `make test` install what is missing.
BUILD ?= .build
SWIFT ?= swift
BIN = $(BUILD)/release

.PHONY: all build demo test fuzz bench accuracy models clean setup test-arm

all: build

setup:
	@sh Scripts/setup.sh

build: setup
	$(SWIFT) build -c release --scratch-path $(BUILD)

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

models:
	sh Scripts/models.sh models/download

bench: build
	$(BIN)/trident bench

accuracy: build
	sh Scripts/accuracy.sh $(BIN)/trident

clean:
	rm -rf $(BUILD)
