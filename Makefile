# The verbs. Each one installs what it needs, and says so before; settings travel through the environment.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
# Verbs share one cache: with -j they still run one after the other.
.NOTPARALLEL:

COURSE ?= course.toml
export COURSE TARGETS MIRROR STRICT ACCEL CACHE FRESH KEEP NAME FOLDER LAB OUT STUDENT FORMAT RULES ROSTER TIMES AGAIN V

# $(call verb,build|test,arguments of the command line)
verb = @python=$$(tools/bootstrap $(1)); exec "$$python" -m coursebox $(2)

.PHONY: help
help: ## print this page
	@echo "Build a deep-learning course in a box.  make VERB [SETTING=value …]"
	@echo
	@awk 'BEGIN { FS = ":.*## " } /^[a-z][a-z-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@awk '/^## / { print "  " substr($$0, 4) }' $(firstword $(MAKEFILE_LIST))

## COURSE=FILE  the course file, course.toml unless named
## TARGETS="…"  names of targets for build and repro; make targets lists them
## MIRROR=PLACE a folder or URL to look for downloads first; several are separated by spaces
## STRICT=1     stop where a locked file or a data set has no source any more, instead of replacing it
## ACCEL=NAME   kvm or tcg for try, test and bench, instead of what was found to work
## CACHE=1      for clean: the stage results in the cache, too
## NAME=21_x    for lab: the number and the topic of the new lab
## FRESH=1      for test and repro: prove anew what is proved already; for fetch: look again for what was substituted
## V=1          show the output of the tools
## FOLDER=PLACE for grade: the submissions, a file, a folder or an archive for each student, or a platform's download
## LAB=02       for grade: the lab, by its number or its whole name
## OUT=PLACE    for grade: where the results go, FOLDER-grades beside FOLDER unless named
## STUDENT=NAME for grade: this student alone, again; several are separated by ;
## FORMAT=NAME  for grade: moodle or canvas, a file that this platform imports
## RULES=FILE   for grade: weights, a late rule, points by hand; grading.toml among the submissions unless named
## ROSTER=FILE  for grade: the class list, a CSV file; TIMES=FILE: names and times of handing in
## AGAIN=1      for grade: all anew, whatever was graded before

.PHONY: ova
ova: ## build dist/<name>-<version>.ova from course.toml and locks/
	$(call verb,build,ova)

.PHONY: docker
docker: ## build dist/<name>-<version>-cuda.oci.tar and load it into the Docker engine
	$(call verb,build,docker)

.PHONY: build
build: ## build the targets in TARGETS, several of them separated by spaces
	$(call verb,build,build)

.PHONY: targets
targets: ## list what can be built, for whom, and the last build of each
	$(call verb,build,targets)

.PHONY: try
try: ## boot the built OVA here, in QEMU, and say where to click
	$(call verb,build,try)

.PHONY: test
test: ## build the OVA and the image and prove on those very files what is not proved yet
	$(call verb,test,test)

.PHONY: test-quick
test-quick: ## unit tests and linters, less than two minutes
	$(call verb,test,test-quick)

.PHONY: lab
lab: ## lay out a new lab, labs/NAME, that passes its own tests
	$(call verb,build,lab)

.PHONY: solutions
solutions: ## write the solved labs into dist/solutions, for the instructor
	$(call verb,build,solutions)

.PHONY: grade
grade: ## grade a folder of submissions of one lab, in the image
	$(call verb,build,grade)

.PHONY: bench
bench: ## measure the build and the machine, and print a table
	$(call verb,build,bench)

.PHONY: repro
repro: ## build twice under different circumstances and compare the bytes
	$(call verb,build,repro)

.PHONY: lock
lock: ## resolve what goes in and write locks/ anew
	$(call verb,build,lock)

.PHONY: fetch
fetch: ## download all that is locked into the cache
	$(call verb,build,fetch)

.PHONY: doctor
doctor: ## tell what is here, what is missing, and what to do about it
	@exec tools/doctor

.PHONY: clean
clean: ## remove dist/ and build/
	$(call verb,build,clean)
