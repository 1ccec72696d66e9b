# SPDX-License-Identifier: Apache-2.0
#
# The only place that names instruction-set flags. A file called x86_avx2.cc, x86_avxvnni.cc, x86_avx512.cc,
# x86_avx512vnni.cc, arm_neon.cc, arm_dotprod.cc or arm_i8mm.cc gets its flags here and every other file is compiled for the baseline, so the library starts
# on any machine of the architecture. A family has the files it needs.

# -fno-exceptions: kernels throw nothing, and the personality routine would be a weak symbol.
set(QSLIM_FLAGS_x86_avx2 -mavx2 -mfma -fno-exceptions)
set(QSLIM_FLAGS_x86_avxvnni ${QSLIM_FLAGS_x86_avx2})  # its one instruction is written in assembly
set(QSLIM_FLAGS_x86_avx512 ${QSLIM_FLAGS_x86_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC's own AVX-512 header leaves the unused source operand of unmasked forms undefined, and warns of it.
  list(APPEND QSLIM_FLAGS_x86_avx512 -Wno-maybe-uninitialized -Wno-uninitialized)
endif()

set(QSLIM_FLAGS_x86_avx512vnni ${QSLIM_FLAGS_x86_avx512} -mavx512vnni)

set(QSLIM_FLAGS_arm_neon -fno-exceptions)  # the baseline has it
set(QSLIM_FLAGS_arm_dotprod -march=armv8.2-a+dotprod -fno-exceptions)
set(QSLIM_FLAGS_arm_i8mm -march=armv8.2-a+dotprod+i8mm -fno-exceptions)

# The instruction sets of this processor, and the macro by which kernels.inc files know it.
set(QSLIM_ISAS "")
set(QSLIM_BUILD_X86 0)
set(QSLIM_BUILD_ARM64 0)
string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" qslim_processor)
if(qslim_processor MATCHES "^(x86_64|amd64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
  set(QSLIM_BUILD_X86 1)
  set(QSLIM_ISAS x86_avx2 x86_avxvnni x86_avx512 x86_avx512vnni)
elseif(qslim_processor MATCHES "^(aarch64|arm64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
  set(QSLIM_BUILD_ARM64 1)
  set(QSLIM_ISAS arm_neon arm_dotprod arm_i8mm)
endif()

# Families whose kernels are plain loops (kernels/loop_kernels.h). The flags let the compiler vectorize square
# roots, rounding and selections; none of them changes a result. -Wno-psabi: vectors wider than the baseline's
# only pass between inlined functions (kernels/lanes.h).
set(QSLIM_LOOP_FAMILIES axis_reductions elementwise layer_norm learned_quant matmul_f32 movement pool resize
  saliency softmax)
set(QSLIM_FLAGS_loops -O3 -fno-math-errno -fno-trapping-math -Wno-psabi)

# Adds the kernels of every family (a folder of cpp/qslim/kernels with a kernels.inc) to a target.
function(qslim_add_kernels target)
  target_compile_definitions(${target} PUBLIC
    QSLIM_BUILD_X86=${QSLIM_BUILD_X86} QSLIM_BUILD_ARM64=${QSLIM_BUILD_ARM64}
    QSLIM_EMULATE_AVX512=$<BOOL:${QSLIM_EMULATE_AVX512}>
    QSLIM_EVEX_AVXVNNI=$<BOOL:${QSLIM_EVEX_AVXVNNI}>)
  file(GLOB rows CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cpp/qslim/kernels/*/kernels.inc)
  foreach(row ${rows})
    get_filename_component(folder ${row} DIRECTORY)
    get_filename_component(family ${folder} NAME)
    foreach(isa scalar ${QSLIM_ISAS})
      set(source ${folder}/${isa}.cc)
      if(NOT EXISTS ${source})
        continue()
      endif()
      set(flags ${QSLIM_FLAGS_${isa}})
      if(isa MATCHES "^x86_avx512" AND QSLIM_EMULATE_AVX512)
        # SIMDe builds the 512-bit operations from AVX2 ones; it is not clean under our warnings. Compiled with
        # more effort than -O1, the matrix kernels take minutes.
        set(flags ${QSLIM_FLAGS_x86_avx2} -w -O1)
      endif()
      if(family IN_LIST QSLIM_LOOP_FAMILIES)
        list(APPEND flags ${QSLIM_FLAGS_loops})
      endif()
      target_sources(${target} PRIVATE ${source})
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}")
    endforeach()
  endforeach()
endfunction()
