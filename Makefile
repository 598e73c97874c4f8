# Everything a newcomer or CI runs. `make demo` and `make test` install what is missing.
BUILD ?= .build
SWIFT ?= swift
BIN = $(BUILD)/release

.PHONY: all build demo test check fuzz bench models clean setup deb tarball check-packages

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

models:
	sh Scripts/models.sh models/download

bench: build
	$(BIN)/trident bench

# Packages for amd64 and arm64 in out/packages, built in a Debian 13 root (see Scripts/arm/setup.sh; needs root).
deb tarball:
	Scripts/package/build.sh $@

check-packages: deb
	Scripts/package/check.sh

clean:
	rm -rf $(BUILD)
