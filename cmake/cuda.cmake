# The compiler of kernels/cuda. CMAKE_CUDA_ARCHITECTURES: compute capability 8.0 and up, with Hopper's own variant;
# a build for one kind of device is quicker: -DCMAKE_CUDA_ARCHITECTURES=90a.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90a-real 90-virtual)
endif()
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND EXISTS /usr/local/cuda/bin/nvcc)
  set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
endif()
enable_language(CUDA)
# CMake 3.25 does not know that nvcc speaks C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
string(APPEND CMAKE_CUDA_FLAGS " --expt-relaxed-constexpr")
if(CASCADE_CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CASCADE_CCACHE})
endif()
