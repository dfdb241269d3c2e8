# The CUDA kernels of the cuda back end. They need nvcc, the CUDA runtime's headers and its static library, and nothing of
# LibTorch; the program that comes out needs only the driver.
#
#   CAPSWEEP_CUDA        AUTO (default): kernels if an nvcc is found; ON: an error without one; OFF: no kernels
#   CAPSWEEP_NVCC        the nvcc to use; else CUDACXX, PATH, /usr/local/cuda, and, with ON or on a host with a GPU, what
#                        `./dev build --preset cuda` fetched
#   CAPSWEEP_CUDA_ARCH   -arch of nvcc: "native" where a GPU is present, else sm_90
set(CAPSWEEP_CUDA AUTO CACHE STRING "CUDA kernels: AUTO, ON or OFF")
set_property(CACHE CAPSWEEP_CUDA PROPERTY STRINGS AUTO ON OFF)

function(capsweep_find_nvcc)
  set(hints $ENV{CUDACXX})
  if(hints)
    get_filename_component(hints ${hints} DIRECTORY)
  endif()
  set(fetched)
  if(EXISTS /dev/nvidia0 OR CAPSWEEP_CUDA STREQUAL "ON")
    file(GLOB fetched ${PROJECT_SOURCE_DIR}/build/nvcc/lib/python3*/site-packages/nvidia/cu13/bin)
  endif()
  find_program(CAPSWEEP_NVCC nvcc HINTS ${hints} PATHS /usr/local/cuda/bin ${fetched} DOC "nvcc for the CUDA kernels")
endfunction()

# Sets `out` to "" if nvcc can compile what the kernels are written in, else to why not.
function(capsweep_try_nvcc out arch)
  set(folder ${PROJECT_BINARY_DIR}/cuda)
  file(WRITE ${folder}/try.cu "#include <array>\n#include <span>\n#include <cuda_runtime_api.h>\n"
    "__global__ void Try(float* x) { constexpr std::array<float, 2> a{1, 2}; *x = a[1]; }\n")
  execute_process(COMMAND ${CAPSWEEP_NVCC} -std=c++20 -arch=${arch} -ccbin ${CMAKE_CXX_COMPILER} --expt-relaxed-constexpr
    -c ${folder}/try.cu -o ${folder}/try.o RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_VARIABLE text)
  set(${out} "" PARENT_SCOPE)
  if(failed)
    string(STRIP "${text}" text)
    set(${out} "${CAPSWEEP_NVCC} cannot compile C++20 for ${arch} with ${CMAKE_CXX_COMPILER}: ${text}" PARENT_SCOPE)
  endif()
endfunction()

# capsweep_cuda_device(TARGET): adds the device's part to the library, or a stand-in that says what is missing. Sets
# CAPSWEEP_HAS_KERNELS.
function(capsweep_cuda_device target)
  set(CAPSWEEP_HAS_KERNELS ON PARENT_SCOPE)
  set(why_not "CAPSWEEP_CUDA is OFF")
  if(NOT CAPSWEEP_CUDA STREQUAL "OFF")
    capsweep_find_nvcc()
    set(why_not "no nvcc was found; pass -DCAPSWEEP_NVCC=/path/to/nvcc, or let './dev build --preset cuda' fetch one")
  endif()
  if(NOT CAPSWEEP_CUDA_ARCH)
    set(CAPSWEEP_CUDA_ARCH sm_90)
    if(EXISTS /dev/nvidia0)
      set(CAPSWEEP_CUDA_ARCH native)
    endif()
  endif()
  if(CAPSWEEP_NVCC AND NOT CAPSWEEP_CUDA STREQUAL "OFF")
    capsweep_try_nvcc(why_not ${CAPSWEEP_CUDA_ARCH})
  endif()
  if(why_not)
    if(CAPSWEEP_CUDA STREQUAL "ON")
      message(FATAL_ERROR "CUDA kernels were asked for, but ${why_not}")
    endif()
    message(STATUS "CUDA kernels: none (${why_not})")
    target_sources(${target} PRIVATE worker/trainer/cuda/no_device/open_gpu.cc)
    set(CAPSWEEP_HAS_KERNELS OFF PARENT_SCOPE)
    return()
  endif()

  get_filename_component(toolkit ${CAPSWEEP_NVCC} REALPATH)
  get_filename_component(toolkit ${toolkit} DIRECTORY)
  get_filename_component(toolkit ${toolkit} DIRECTORY)
  find_library(CAPSWEEP_CUDART cudart_static PATHS ${toolkit}/lib64 ${toolkit}/lib ${toolkit}/targets/x86_64-linux/lib
    NO_DEFAULT_PATH REQUIRED)
  find_path(CAPSWEEP_CUDA_INCLUDE cuda_runtime_api.h PATHS ${toolkit}/include ${toolkit}/targets/x86_64-linux/include
    NO_DEFAULT_PATH REQUIRED)
  message(STATUS "CUDA kernels: ${CAPSWEEP_NVCC}, -arch=${CAPSWEEP_CUDA_ARCH}")

  # By hand, for CMake 3.25 knows no C++20 of a new nvcc and would try to link a program first. One object for every
  # group of kernels, so that they compile side by side.
  set(device ${PROJECT_SOURCE_DIR}/worker/trainer/cuda/device)
  file(GLOB kernels CONFIGURE_DEPENDS ${device}/*.cu)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/cuda)
  foreach(source ${kernels})
    get_filename_component(name ${source} NAME_WE)
    set(object ${PROJECT_BINARY_DIR}/cuda/${name}.o)
    add_custom_command(OUTPUT ${object} DEPFILE ${object}.d DEPENDS ${source} ${CAPSWEEP_NVCC}
      COMMAND ${CAPSWEEP_NVCC} -std=c++20 -O3 -arch=${CAPSWEEP_CUDA_ARCH} -ccbin ${CMAKE_CXX_COMPILER} --fmad=false
              --expt-relaxed-constexpr -Xcompiler=-fPIC,-ffp-contract=off -I${PROJECT_SOURCE_DIR} -MD -MF ${object}.d
              -MT ${object} -c ${source} -o ${object}
      COMMENT "Compiling CUDA kernels ${name}" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  target_sources(${target} PRIVATE ${objects} worker/trainer/cuda/device/cuda_gpu.cc
    worker/trainer/cuda/device/kernels.cc)
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT ON)
  set_source_files_properties(worker/trainer/cuda/device/cuda_gpu.cc worker/trainer/cuda/device/kernels.cc PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_include_directories(${target} SYSTEM PRIVATE ${CAPSWEEP_CUDA_INCLUDE})
  target_link_libraries(${target} PUBLIC ${CAPSWEEP_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)
  target_compile_definitions(${target} PRIVATE CAPSWEEP_CUDA_ARCH="${CAPSWEEP_CUDA_ARCH}")
endfunction()
