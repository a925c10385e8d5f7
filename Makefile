# What a person or a machine wants to do with the source. `make` alone tells.
.PHONY: help build demo test bench fmt lint ci install clean
.DEFAULT_GOAL := help

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=

help:
	@echo 'make demo     a real bounce through a real Postfix, on loopback, as a story'
	@echo 'make test     every test, with Postfix end to end'
	@echo 'make bench    speed and memory, beside do-nothing milters in C'
	@echo 'make build    the two programs, optimised'
	@echo 'make install  puts them under PREFIX ($(PREFIX))'
	@echo 'make fmt      formats the source'
	@echo 'make lint     what the compiler and clippy object to'
	@echo 'make ci       test, format and lint, as the continuous integration does'
	@echo 'make clean    removes what was built'
	@echo
	@echo 'demo, test and bench install what they lack from Debian first (scripts/install-deps).'

build:
	$(CARGO) build --release --locked

demo:
	demo/demo.sh

test:
	scripts/install-deps
	$(CARGO) test --locked --no-fail-fast

bench:
	benches/run

fmt:
	$(CARGO) fmt

lint:
	$(CARGO) clippy --locked --all-targets -- -D warnings

ci:
	.ci/run

install: build
	install -D -m 755 target/release/backstopd '$(DESTDIR)$(PREFIX)/sbin/backstopd'
	install -D -m 755 target/release/backstopctl '$(DESTDIR)$(PREFIX)/bin/backstopctl'

clean:
	$(CARGO) clean
