# SPDX-License-Identifier: Apache-2.0
#
# `cmake --install`: the static library, the headers that a program may include, and a package for
# find_package(qslim). The wheel holds none of it. What is below kernels/<family> is internal but for the header
# that has the family's name.
include(CMakePackageConfigHelpers)

set(qslim_headers
  cpp/qslim/formulas/elementwise.inc
  cpp/qslim/conv/conv_f32.h
  cpp/qslim/conv/conv_u8s8.h
  cpp/qslim/conv/geometry.h
  cpp/qslim/conv/pixel_sink.h
  cpp/qslim/c_api/qslim.h
  cpp/qslim/formulas/elementwise_op.h
  cpp/qslim/kernels/axis_reductions/axis_reductions.h
  cpp/qslim/kernels/axis_reductions/operations.h
  cpp/qslim/kernels/channel_params.h
  cpp/qslim/kernels/channel_tables.h
  cpp/qslim/kernels/conv/conv_f32.h
  cpp/qslim/kernels/conv/conv_u8s8.h
  cpp/qslim/kernels/conv/pixel_sink.h
  cpp/qslim/kernels/elementwise/elementwise.h
  cpp/qslim/kernels/elementwise/operations.h
  cpp/qslim/kernels/fake_quant/fake_quant.h
  cpp/qslim/kernels/histogram/histogram.h
  cpp/qslim/kernels/layer_norm/layer_norm.h
  cpp/qslim/kernels/learned_quant/learned_quant.h
  cpp/qslim/kernels/matmul_f32/matmul_f32.h
  cpp/qslim/kernels/movement/movement.h
  cpp/qslim/kernels/pool/pool.h
  cpp/qslim/kernels/quantize/quantize.h
  cpp/qslim/kernels/reduce/reduce.h
  cpp/qslim/kernels/reduce_axes/operations.h
  cpp/qslim/kernels/reduce_axes/reduce_axes.h
  cpp/qslim/kernels/resize/resize.h
  cpp/qslim/kernels/saliency/saliency.h
  cpp/qslim/kernels/softmax/softmax.h
  cpp/qslim/quant/statistics/exact_sum.h
  cpp/qslim/quant/statistics/tensor_statistics.h
  cpp/qslim/quant/threshold_search/threshold_search.h
  cpp/qslim/runtime/model/model.h
  cpp/qslim/runtime/model/model_file.h
  cpp/qslim/runtime/session.h)
file(GLOB qslim_core_headers RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS
  cpp/qslim/core/*.h cpp/qslim/core/*.inc)
foreach(header ${qslim_headers} ${qslim_core_headers})
  get_filename_component(folder ${header} DIRECTORY)
  string(REGEX REPLACE "^cpp/" "" folder ${folder})
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/${folder})
endforeach()

set(qslim_package ${CMAKE_INSTALL_LIBDIR}/cmake/qslim)
install(TARGETS qslim EXPORT qslim-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(BUILD_SHARED_LIBS)
  install(TARGETS qslim_shared EXPORT qslim-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(EXPORT qslim-targets NAMESPACE qslim:: DESTINATION ${qslim_package})
configure_package_config_file(cpp/cmake/qslim-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/qslim-config.cmake
  INSTALL_DESTINATION ${qslim_package})
# Before 1.0 a minor version may change what is public.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/qslim-config-version.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/qslim-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/qslim-config-version.cmake
  DESTINATION ${qslim_package})

configure_file(cpp/cmake/qslim.pc.in ${CMAKE_CURRENT_BINARY_DIR}/qslim.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/qslim.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
