# SPDX-License-Identifier: Apache-2.0
#
# nlohmann_json::nlohmann_json, from the first place that has it: the system, the PyPI package nlohmann-json in
# the Python at hand (pip's isolated build puts it there), or the release from its home page.

find_package(nlohmann_json 3.10 CONFIG QUIET)
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(Python COMPONENTS Interpreter QUIET)
  if(Python_EXECUTABLE)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c
              "from importlib.metadata import distribution as d; print(d('nlohmann-json').locate_file('nlohmann_json/include'))"
      OUTPUT_VARIABLE qslim_json_include OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(qslim_json_include AND EXISTS "${qslim_json_include}/nlohmann/json.hpp")
      add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED)
      target_include_directories(nlohmann_json::nlohmann_json INTERFACE "${qslim_json_include}")
    endif()
  endif()
endif()
if(NOT TARGET nlohmann_json::nlohmann_json)
  qslim_fetch(nlohmann_json https://github.com/nlohmann/json/releases/download/v3.12.0/json.tar.xz
              "install nlohmann/json (nlohmann-json3-dev, or pip install nlohmann-json)")
endif()
