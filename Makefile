# Everything a newcomer or CI runs. `make demo` and `make test` install what is missing.
BUILD ?= .build
SWIFT ?= swift
BIN = $(BUILD)/release

.PHONY: all build demo test check fuzz bench models clean setup

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

clean:
	rm -rf $(BUILD)
