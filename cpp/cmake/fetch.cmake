# SPDX-License-Identifier: Apache-2.0
#
# qslim_fetch(name url what [OPTIONAL]): FetchContent for one archive, which without a network says so after
# seconds, not minutes; OPTIONAL lets the caller go on without. FETCHCONTENT_SOURCE_DIR_<NAME> names a copy that is
# there already.

include(FetchContent)

function(qslim_fetch name url what)
  string(TOUPPER ${name} upper)
  if(NOT FETCHCONTENT_SOURCE_DIR_${upper})
    set(archive "${CMAKE_BINARY_DIR}/_deps/${name}.archive")
    if(NOT EXISTS "${archive}")
      message(STATUS "Fetching ${url}")
      file(DOWNLOAD "${url}" "${archive}.part" INACTIVITY_TIMEOUT 5 TIMEOUT 300 STATUS status)
      list(GET status 0 failed)
      if(failed)
        list(GET status 1 reason)
        set(kind FATAL_ERROR)
        if("OPTIONAL" IN_LIST ARGN)
          set(kind WARNING)
        endif()
        message(${kind} "${name} is not installed and cannot be fetched (${reason}): ${what}, or give "
                        "-DFETCHCONTENT_SOURCE_DIR_${upper}=<its sources>")
        return()
      endif()
      file(RENAME "${archive}.part" "${archive}")
    endif()
    set(url "${archive}")
  endif()
  FetchContent_Declare(${name} URL "${url}")
  FetchContent_MakeAvailable(${name})
endfunction()
