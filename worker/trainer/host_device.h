// Marks a function that CUDA kernels call too. Such functions are plain C++: no library, no exception, no clock.
#pragma once

#ifdef __CUDACC__
#define CAPSWEEP_HD __host__ __device__ __forceinline__
#define CAPSWEEP_UNROLL _Pragma("unroll")
#define CAPSWEEP_UNROLL_2 _Pragma("unroll 2")
#else
#define CAPSWEEP_HD inline
#define CAPSWEEP_UNROLL
#define CAPSWEEP_UNROLL_2
#endif
