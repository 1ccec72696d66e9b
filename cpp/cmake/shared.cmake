# SPDX-License-Identifier: Apache-2.0
#
# qslim_shared, the shared library: the static library's objects, of which it exports what exported.map names and
# nothing else. Programs, tests and the Python module of this tree link the static one, which is installed as
# qslim::static beside it.
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  message(FATAL_ERROR "BUILD_SHARED_LIBS: the shared library is built on Linux alone; leave the option out to get "
                      "the static one")
endif()
set_target_properties(qslim PROPERTIES EXPORT_NAME static CXX_VISIBILITY_PRESET default VISIBILITY_INLINES_HIDDEN OFF)
target_compile_options(qslim PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fno-semantic-interposition>)
add_library(qslim_shared SHARED $<TARGET_OBJECTS:qslim>)
set_target_properties(qslim_shared PROPERTIES
  OUTPUT_NAME qslim EXPORT_NAME qslim
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cpp/cmake/exported.map)
target_include_directories(qslim_shared INTERFACE $<INSTALL_INTERFACE:include>)
target_link_libraries(qslim_shared PUBLIC Threads::Threads)
target_link_options(qslim_shared PRIVATE
  "LINKER:--version-script=${CMAKE_CURRENT_SOURCE_DIR}/cpp/cmake/exported.map" "LINKER:--no-undefined")
