# SPDX-License-Identifier: Apache-2.0
#
# The only place that names instruction-set flags. A file called x86_avx2.cc, x86_avx512.cc or
# x86_avx512vnni.cc gets its flags here and every other file is compiled for the baseline, so the library starts
# on any machine of the architecture. A family has the files it needs.

# -fno-exceptions: kernels throw nothing, and the personality routine would be a weak symbol.
set(QSLIM_FLAGS_x86_avx2 -mavx2 -mfma -fno-exceptions)
set(QSLIM_FLAGS_x86_avx512 ${QSLIM_FLAGS_x86_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC's own AVX-512 header leaves the unused source operand of unmasked forms undefined, and warns of it.
  list(APPEND QSLIM_FLAGS_x86_avx512 -Wno-maybe-uninitialized -Wno-uninitialized)
endif()

set(QSLIM_FLAGS_x86_avx512vnni ${QSLIM_FLAGS_x86_avx512} -mavx512vnni)

string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" qslim_processor)
if(qslim_processor MATCHES "^(x86_64|amd64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
  set(QSLIM_BUILD_X86 1)
else()
  set(QSLIM_BUILD_X86 0)
endif()

# Adds the kernels of one family (a folder below cpp/qslim/kernels) to a target.
function(qslim_add_kernels target family)
  set(folder ${CMAKE_CURRENT_SOURCE_DIR}/cpp/qslim/kernels/${family})
  if(EXISTS ${folder}/scalar.cc)
    target_sources(${target} PRIVATE ${folder}/scalar.cc)
  endif()
  if(NOT QSLIM_BUILD_X86)
    return()
  endif()
  foreach(isa x86_avx2 x86_avx512 x86_avx512vnni)
    if(NOT EXISTS ${folder}/${isa}.cc)
      continue()
    endif()
    set(flags ${QSLIM_FLAGS_${isa}})
    if(isa MATCHES "^x86_avx512" AND QSLIM_EMULATE_AVX512)
      # SIMDe builds the 512-bit operations from AVX2 ones; it is not clean under our warnings. Compiled with more
      # effort than -O1, the matrix kernels take minutes.
      set(flags ${QSLIM_FLAGS_x86_avx2} -w -O1)
    endif()
    target_sources(${target} PRIVATE ${folder}/${isa}.cc)
    set_source_files_properties(${folder}/${isa}.cc PROPERTIES COMPILE_OPTIONS "${flags}")
  endforeach()
endfunction()

# Kernels that are plain loops (kernels/loop_kernels.h). The flags let the compiler vectorize square roots,
# rounding and selections; none of them changes a result. -Wno-psabi: vectors wider than the baseline's only
# pass between inlined functions (kernels/lanes.h).
set(QSLIM_FLAGS_loops -O3 -fno-math-errno -fno-trapping-math -Wno-psabi)

function(qslim_add_loop_kernels target family)
  qslim_add_kernels(${target} ${family})
  foreach(isa scalar x86_avx2 x86_avx512)
    set_property(SOURCE ${CMAKE_CURRENT_SOURCE_DIR}/cpp/qslim/kernels/${family}/${isa}.cc
      APPEND PROPERTY COMPILE_OPTIONS ${QSLIM_FLAGS_loops})
  endforeach()
endfunction()
