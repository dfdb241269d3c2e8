# Finds LibTorch: Debian's libtorch-dev (1.13.1), an official LibTorch 2.x archive, or the folder `torch` inside a Python
# environment, each with or without CUDA. LibTorch's own TorchConfig.cmake stops with an error when it was built with
# CUDA and no CUDA toolkit is installed; a toolkit is not needed to link it, so this module looks for headers and
# libraries itself.
#
#   CMAKE_PREFIX_PATH or Torch_ROOT   a folder with include/torch and lib/libtorch.so (for PyPI's torch: site-packages/torch)
#
# Defines the target Torch::Torch, Torch_VERSION and Torch_CUDA.

# CMAKE_PREFIX_PATH may also be what torch.utils.cmake_prefix_path prints: .../torch/share/cmake.
set(Torch_hints ${Torch_ROOT})
foreach(prefix ${CMAKE_PREFIX_PATH})
  list(APPEND Torch_hints ${prefix}/../..)
endforeach()
find_path(Torch_INCLUDE_DIR torch/csrc/api/include/torch/torch.h HINTS ${Torch_hints} PATH_SUFFIXES include)

if(Torch_INCLUDE_DIR)
  get_filename_component(Torch_INCLUDE_DIR ${Torch_INCLUDE_DIR} ABSOLUTE)
  get_filename_component(Torch_PREFIX ${Torch_INCLUDE_DIR} DIRECTORY)
  set(Torch_VERSION)
  set(version_header ${Torch_INCLUDE_DIR}/torch/headeronly/version.h)  # of newer 2.x
  if(NOT EXISTS ${version_header})
    set(version_header ${Torch_INCLUDE_DIR}/torch/csrc/api/include/torch/version.h)
  endif()
  foreach(part MAJOR MINOR PATCH)
    file(STRINGS ${version_header} line REGEX "define TORCH_VERSION_${part} [0-9]+")
    string(REGEX MATCH "[0-9]+" number "${line}")
    list(APPEND Torch_VERSION ${number})
  endforeach()
  list(JOIN Torch_VERSION "." Torch_VERSION)
endif()
foreach(name torch torch_cpu c10)
  find_library(Torch_${name}_LIBRARY ${name} HINTS ${Torch_PREFIX}/lib NO_CACHE)
  list(APPEND Torch_needed Torch_${name}_LIBRARY)
endforeach()
find_library(Torch_torch_cuda_LIBRARY torch_cuda HINTS ${Torch_PREFIX}/lib NO_CACHE NO_DEFAULT_PATH)
find_library(Torch_c10_cuda_LIBRARY c10_cuda HINTS ${Torch_PREFIX}/lib NO_CACHE NO_DEFAULT_PATH)
set(Torch_CUDA OFF)
if(Torch_torch_cuda_LIBRARY)
  set(Torch_CUDA ON)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Torch REQUIRED_VARS ${Torch_needed} Torch_INCLUDE_DIR VERSION_VAR Torch_VERSION
  REASON_FAILURE_MESSAGE "install libtorch-dev, or pass -DCMAKE_PREFIX_PATH=/path/to/libtorch")

if(Torch_FOUND AND EXISTS ${Torch_PREFIX}/share/cmake/Torch/TorchConfig.cmake)
  file(STRINGS ${Torch_PREFIX}/share/cmake/Torch/TorchConfig.cmake old_abi REGEX "_GLIBCXX_USE_CXX11_ABI=0")
  if(old_abi)
    message(FATAL_ERROR "The LibTorch in ${Torch_PREFIX} was built with the old C++ ABI, which Debian's libraries are not; "
      "use the cxx11-ABI archive, or LibTorch 2.7 or newer.")
  endif()
endif()

if(Torch_FOUND AND NOT TARGET Torch::Torch)
  add_library(Torch::Torch INTERFACE IMPORTED)
  target_include_directories(Torch::Torch SYSTEM INTERFACE ${Torch_INCLUDE_DIR} ${Torch_INCLUDE_DIR}/torch/csrc/api/include)
  target_link_libraries(Torch::Torch INTERFACE ${Torch_torch_LIBRARY} ${Torch_torch_cpu_LIBRARY} ${Torch_c10_LIBRARY})
  if(Torch_CUDA)
    # Facts about GPUs and CUDA graphs need CUDA's headers: a toolkit's, or those that PyPI keeps beside torch (with nvidia-cuda-crt).
    find_path(Torch_CUDA_INCLUDE crt/host_defines.h PATHS ${Torch_PREFIX}/../nvidia/cu13/include /usr/local/cuda/include
      NO_DEFAULT_PATH)
    if(Torch_CUDA_INCLUDE)
      target_include_directories(Torch::Torch SYSTEM INTERFACE ${Torch_CUDA_INCLUDE})
      find_library(Torch_cudart_LIBRARY NAMES cudart libcudart.so.13 libcudart.so.12
        PATHS ${Torch_CUDA_INCLUDE}/../lib ${Torch_CUDA_INCLUDE}/../lib64 NO_DEFAULT_PATH)
      if(Torch_cudart_LIBRARY)
        target_link_libraries(Torch::Torch INTERFACE ${Torch_cudart_LIBRARY})
      endif()
    endif()
    # Nothing refers to the CUDA library by name: without this the linker would drop it and no GPU would be seen.
    target_link_libraries(Torch::Torch INTERFACE -Wl,--no-as-needed ${Torch_torch_cuda_LIBRARY} ${Torch_c10_cuda_LIBRARY}
      -Wl,--as-needed)
    # PyPI keeps CUDA's libraries in packages beside torch; they load by the RUNPATHs of torch's own libraries.
    target_link_options(Torch::Torch INTERFACE -Wl,--allow-shlib-undefined -Wl,--unresolved-symbols=ignore-in-shared-libs)
  endif()
endif()
