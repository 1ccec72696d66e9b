# SPDX-License-Identifier: Apache-2.0
#
# Installs BUILD below WORK, then configures, builds and runs the project SOURCE on MODEL. Neither Eigen nor the
# JSON library may be looked for. A newer version than VERSION is not to be had.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN}\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/build -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${COMPILER}
  -DCMAKE_PREFIX_PATH=${WORK}/prefix -DQSLIM_EXPECTED_VERSION=${VERSION} -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON
  -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
run(${CMAKE_COMMAND} --build ${WORK}/build)
file(GLOB programs ${WORK}/build/consumer_* ${WORK}/build/use_c_api_*)
list(LENGTH programs count)
if(NOT count EQUAL EXPECTED_PROGRAMS)
  message(FATAL_ERROR "expected ${EXPECTED_PROGRAMS} programs, got ${programs}")
endif()
foreach(program ${programs})
  run(${program} ${MODEL})
endforeach()
run(${WORK}/prefix/bin/light_api ${MODEL})

execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/newer -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${COMPILER}
  -DCMAKE_PREFIX_PATH=${WORK}/prefix -DQSLIM_EXPECTED_VERSION=99.0 RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
if(result EQUAL 0)
  message(FATAL_ERROR "find_package(qslim 99.0) finds a version that is older")
endif()

find_program(pkg_config pkg-config)
if(pkg_config)
  set(ENV{PKG_CONFIG_PATH} ${WORK}/prefix/lib/pkgconfig)
  execute_process(COMMAND ${pkg_config} --static --cflags --libs qslim OUTPUT_VARIABLE flags COMMAND_ERROR_IS_FATAL ANY
    OUTPUT_STRIP_TRAILING_WHITESPACE)
  separate_arguments(flags)
  run(cc -std=c99 -DQSLIM_EXPECTED_VERSION="${VERSION}" ${SOURCE}/use_c_api.c ${flags} -o ${WORK}/by_pkg_config)
  run(${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${WORK}/prefix/lib ${WORK}/by_pkg_config ${MODEL})
endif()

file(GLOB library ${WORK}/prefix/lib/libqslim.so)
find_program(nm nm)
if(library AND nm)
  execute_process(COMMAND ${nm} -D --defined-only -C ${library} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]*(_avx|_scalar|::Impl::)[^\n]*" internal "${symbols}")
  string(REGEX MATCHALL " qslim_[a-z_]+" c_functions "${symbols}")
  list(LENGTH c_functions count)
  if(internal OR NOT count EQUAL 14)
    message(FATAL_ERROR "libqslim.so exports ${count} functions of the C interface (expected 14), and ${internal}")
  endif()
endif()
