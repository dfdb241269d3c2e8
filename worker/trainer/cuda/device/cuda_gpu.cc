// A GPU by the CUDA runtime.
#include <cuda_runtime_api.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/status.h"
#include "common/text.h"
#include "worker/trainer/cuda/device/kernels.h"
#include "worker/trainer/cuda/gpu.h"

namespace capsweep::trainer::cuda {
namespace {

// The oldest compute capability that nvcc 13 compiles for: Turing.
constexpr int kOldestMajor = 7, kOldestMinor = 5;

std::string VersionText(int version) {
  return StrCat(version / 1000, ".", version % 1000 / 10);
}

// What every call of the CUDA runtime is checked with.
absl::Status ToStatus(cudaError_t error, std::string_view device, std::string_view doing) {
  if (error == cudaSuccess) {
    return absl::OkStatus();
  }
  const std::string message =
      StrCat(device, ": ", doing, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")");
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();  // not a sickness: the next call begins anew
    return absl::ResourceExhaustedError(message);
  }
  return absl::InternalError(message);
}

// What is missing when not even the number of GPUs can be had.
absl::Status NoGpu(cudaError_t error) {
  int driver = 0, runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  if (driver == 0) {
    return absl::FailedPreconditionError(
        StrCat("no NVIDIA driver was found (libcuda.so.1); this trainer needs one for CUDA ", VersionText(runtime),
               " or newer, or --device cpu:0"));
  }
  if (error == cudaErrorInsufficientDriver) {
    return absl::FailedPreconditionError(StrCat("the NVIDIA driver is too old: it is made for CUDA ",
                                                VersionText(driver), ", this trainer needs one for CUDA ",
                                                VersionText(runtime), " or newer"));
  }
  if (error == cudaErrorNoDevice) {
    return absl::NotFoundError("the driver finds no GPU (CUDA_VISIBLE_DEVICES may hide it)");
  }
  return ToStatus(error, "CUDA", "counting the GPUs");
}

class CudaGpu : public Gpu {
 public:
  static absl::StatusOr<std::unique_ptr<Gpu>> Open(int index) {
    int count = 0;
    if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
      return NoGpu(error);
    }
    if (index >= count) {
      return absl::NotFoundError(
          StrCat("device cuda:", index, ": this host shows ", count, " GPUs; use a lower number"));
    }
    auto gpu = std::make_unique<CudaGpu>(index);
    RETURN_IF_ERROR(gpu->Start());
    return gpu;
  }

  explicit CudaGpu(int index) : index_(index), device_(StrCat("cuda:", index)) {}

  ~CudaGpu() override {
    for (cudaStream_t stream : streams_) (void)cudaStreamDestroy(stream);
    if (copies_ != nullptr) (void)cudaStreamDestroy(copies_);
    (void)cudaFreeHost(slots_host_);
  }

  const GpuFacts& facts() const override { return facts_; }

  KernelChoice Choose(const RunShape& shape, int64_t batch) const override {
    return ChooseKernel(shape, batch, shared_bytes_);
  }

  absl::StatusOr<int> BlocksAtOnce(const KernelChoice& choice) const override {
    int blocks = 0;
    const cudaError_t error = BlocksPerMultiprocessor(choice, shared_bytes_, &blocks);
    if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction) {
      (void)cudaGetLastError();
      return absl::UnimplementedError(StrCat(
          facts_.name, ": this trainer's kernels were compiled with -arch=", CAPSWEEP_CUDA_ARCH,
          ", the GPU has compute capability ", capability_, "; build on this host, or with -DCAPSWEEP_CUDA_ARCH=sm_",
          capability_.substr(0, capability_.find('.')), capability_.substr(capability_.find('.') + 1)));
    }
    RETURN_IF_ERROR(Check(error, "asking for the occupancy of a kernel"));
    if (blocks == 0) {
      return absl::UnimplementedError(StrCat(facts_.name, ": no multiprocessor has room for a block of this shape"));
    }
    return blocks * multiprocessors_;
  }

  absl::StatusOr<void*> Allocate(int64_t bytes) override {
    void* memory = nullptr;
    RETURN_IF_ERROR(Check(cudaMallocAsync(&memory, static_cast<size_t>(std::max<int64_t>(bytes, 1)), copies_),
                          StrCat("allocating ", bytes, " bytes")));
    RETURN_IF_ERROR(Check(cudaStreamSynchronize(copies_), "allocating"));
    return memory;
  }
  void Free(void* memory) override {
    if (const absl::Status freed = Check(cudaFreeAsync(memory, copies_), "freeing"); !freed.ok()) {
      spdlog::warn("{}", std::string(freed.message().data(), freed.message().size()));
    }
  }
  absl::Status Upload(void* to, const void* from, int64_t bytes) override {
    return Copy(to, from, bytes, cudaMemcpyHostToDevice);
  }
  absl::Status Download(void* to, const void* from, int64_t bytes) override {
    return Copy(to, from, bytes, cudaMemcpyDeviceToHost);
  }

  absl::Status Launch(const std::vector<LaunchGroup>& groups, const Task* tasks, TaskState* states,
                      uint64_t nanoseconds) override {
    RETURN_IF_ERROR(SendSlots(groups));
    int64_t first = 0;
    for (const LaunchGroup& group : groups) {
      const auto count = static_cast<int32_t>(group.slots.size());
      RETURN_IF_ERROR(Check(LaunchKernel(group.kernel, group.threads, group.shared_bytes, tasks, states,
                                         slots_device_ + first, count, nanoseconds, StreamOf(group.kernel)),
                            StrCat("launching kernel ", group.kernel, " for ", count, " slots")));
      first += count;
    }
    return absl::OkStatus();
  }

  absl::Status Wait() override {
    for (cudaStream_t stream : streams_) {
      RETURN_IF_ERROR(Check(cudaStreamSynchronize(stream), "training"));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Check(cudaError_t error, std::string_view doing) const { return ToStatus(error, device_, doing); }

  absl::Status Start() {
    RETURN_IF_ERROR(Check(cudaSetDevice(index_), "choosing the GPU"));
    cudaDeviceProp properties;
    RETURN_IF_ERROR(Check(cudaGetDeviceProperties(&properties, index_), "reading its properties"));
    facts_ = {properties.name, StrCat(properties.name, " (", device_, ")"),
              static_cast<int64_t>(properties.totalGlobalMem)};
    capability_ = StrCat(properties.major, ".", properties.minor);
    if (std::pair(properties.major, properties.minor) < std::pair(kOldestMajor, kOldestMinor)) {
      return absl::FailedPreconditionError(StrCat(facts_.name, " has compute capability ", capability_,
                                                  "; the kernels need ", kOldestMajor, ".", kOldestMinor,
                                                  " (Turing) or newer"));
    }
    multiprocessors_ = properties.multiProcessorCount;
    shared_bytes_ = static_cast<int64_t>(properties.sharedMemPerBlockOptin);
    RETURN_IF_ERROR(Check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "making a stream"));
    streams_.resize(static_cast<size_t>(KernelCount()));
    for (cudaStream_t& stream : streams_) {
      RETURN_IF_ERROR(Check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
    }
    return KeepMemory();
  }

  // Slots come and go: freed memory stays with this process.
  absl::Status KeepMemory() {
    cudaMemPool_t pool = nullptr;
    RETURN_IF_ERROR(Check(cudaDeviceGetDefaultMemPool(&pool, index_), "finding its memory pool"));
    uint64_t all = ~uint64_t{0};
    return Check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all), "setting up its memory pool");
  }

  cudaStream_t StreamOf(int32_t kernel) const { return streams_[static_cast<size_t>(kernel)]; }

  absl::Status Copy(void* to, const void* from, int64_t bytes, cudaMemcpyKind kind) {
    RETURN_IF_ERROR(Check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), kind, copies_), "copying"));
    return Check(cudaStreamSynchronize(copies_), "copying");
  }

  absl::Status SendSlots(const std::vector<LaunchGroup>& groups) {
    int64_t count = 0;
    for (const LaunchGroup& group : groups) count += static_cast<int64_t>(group.slots.size());
    if (count > slots_room_) {
      const int64_t room = std::max<int64_t>(count, 1024);
      (void)cudaFreeHost(std::exchange(slots_host_, nullptr));
      void* host = nullptr;
      RETURN_IF_ERROR(
          Check(cudaMallocHost(&host, static_cast<size_t>(room) * sizeof(int32_t)), "allocating on the host"));
      slots_host_ = static_cast<int32_t*>(host);
      if (slots_device_ != nullptr) Free(slots_device_);
      ASSIGN_OR_RETURN(void* device, Allocate(room * static_cast<int64_t>(sizeof(int32_t))));
      slots_device_ = static_cast<int32_t*>(device);
      slots_room_ = room;
    }
    int32_t* to = slots_host_;
    for (const LaunchGroup& group : groups) to = std::copy(group.slots.begin(), group.slots.end(), to);
    return Upload(slots_device_, slots_host_, count * static_cast<int64_t>(sizeof(int32_t)));
  }

  int index_;
  std::string device_;
  GpuFacts facts_;
  std::string capability_;
  int multiprocessors_ = 0;
  int64_t shared_bytes_ = 0;
  cudaStream_t copies_ = nullptr;
  std::vector<cudaStream_t> streams_;  // one for every kernel
  int32_t* slots_host_ = nullptr;
  int32_t* slots_device_ = nullptr;
  int64_t slots_room_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Gpu>> OpenGpu(int index) {
  return CudaGpu::Open(index);
}

}  // namespace capsweep::trainer::cuda
