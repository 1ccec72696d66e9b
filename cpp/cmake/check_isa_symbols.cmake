# SPDX-License-Identifier: Apache-2.0
#
# cmake -DNM=... -DOBJECTS=a.o;b.o -P check_isa_symbols.cmake
#
# A weak symbol (W, V) or a unique one (u) in an object compiled for a newer instruction set may be the copy that
# the linker keeps for everyone, and older CPUs then crash in, say, std::max. There must be none.
set(checked 0)
foreach(object IN LISTS OBJECTS)
  if(NOT object MATCHES "/(x86|arm)_[a-z0-9]+\\.cc\\.o(bj)?$")
    continue()
  endif()
  math(EXPR checked "${checked} + 1")
  execute_process(COMMAND ${NM} -C ${object} OUTPUT_VARIABLE symbols RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${NM} failed on ${object}")
  endif()
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" weak "${symbols}")
  if(weak)
    message(FATAL_ERROR "weak symbols in ${object}: ${weak}")
  endif()
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no per-ISA object was checked")
endif()
message(STATUS "${checked} per-ISA objects hold no weak symbol")
