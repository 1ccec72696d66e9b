# SPDX-License-Identifier: Apache-2.0
#
# Eigen3::Eigen, from the first place that has it: what CMake finds by itself (the system's), the PyPI package
# cmeel-eigen in the Python at hand (pip's isolated build puts it there), or the release from its home page.

find_package(Eigen3 CONFIG QUIET)
if(NOT TARGET Eigen3::Eigen)
  find_package(Python COMPONENTS Interpreter QUIET)
  if(Python_EXECUTABLE)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c
              "from importlib.metadata import distribution as d; print(d('cmeel-eigen').locate_file('cmeel.prefix'))"
      OUTPUT_VARIABLE qslim_cmeel_prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(qslim_cmeel_prefix)
      find_package(Eigen3 CONFIG QUIET PATHS ${qslim_cmeel_prefix} NO_DEFAULT_PATH)
    endif()
  endif()
endif()
if(NOT TARGET Eigen3::Eigen)
  set(EIGEN_BUILD_TESTING OFF CACHE BOOL "" FORCE)
  qslim_fetch(eigen https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.gz
              "install Eigen (libeigen3-dev, or pip install cmeel-eigen)")
  if(NOT TARGET Eigen3::Eigen)
    add_library(Eigen3::Eigen ALIAS eigen)
  endif()
endif()
