#include "worker/trainer/cuda/cuda_backend.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "common/build_info.h"
#include "common/cost_model.h"
#include "common/status.h"
#include "common/text.h"
#include "worker/trainer/cuda/parameters.h"
#include "worker/trainer/slot.h"

namespace capsweep::trainer {
namespace {

using cuda::Gpu;
using cuda::KernelChoice;
using cuda::ParameterMap;
using cuda::Task;
using cuda::TaskFailure;
using cuda::TaskState;

constexpr std::string_view kName = "cuda";
// Slots of the device's arrays of tasks and states.
constexpr int kMaxSlots = 4096;
// How long a launch trains. Between launches finished slots are collected; they stand still until the next one begins.
constexpr uint64_t kLaunchNanoseconds = 5'000'000;
// Steps whose rates the device holds, so that the longest run needs no more than a shorter one.
constexpr int64_t kRatesAhead = 8192;

template <class T>
int64_t BytesOf(const std::vector<T>& values) {
  return static_cast<int64_t>(values.size() * sizeof(T));
}

// A slot's memory on the device: one allocation, given back when the slot goes.
class SlotMemory {
 public:
  static absl::StatusOr<SlotMemory> Make(Gpu& gpu, int64_t bytes) {
    ASSIGN_OR_RETURN(void* memory, gpu.Allocate(bytes));
    return SlotMemory(gpu, memory);
  }
  SlotMemory(SlotMemory&& other) noexcept
      : gpu_(other.gpu_), base_(std::exchange(other.base_, nullptr)), used_(other.used_) {}
  SlotMemory& operator=(SlotMemory&&) = delete;
  ~SlotMemory() {
    if (base_ != nullptr) gpu_->Free(base_);
  }

  // The next piece. Make's `bytes` is the sum of Rounded over all.
  template <class T>
  T* Take(int64_t count) {
    T* piece = reinterpret_cast<T*>(static_cast<char*>(base_) + used_);
    used_ += Rounded(count * static_cast<int64_t>(sizeof(T)));
    return piece;
  }
  static int64_t Rounded(int64_t bytes) { return (bytes + 255) / 256 * 256; }

 private:
  SlotMemory(Gpu& gpu, void* base) : gpu_(&gpu), base_(base) {}

  Gpu* gpu_;
  void* base_;
  int64_t used_ = 0;
};

// A slot's weights and moments, moved between host and device.
class GpuModel : public SlotModel {
 public:
  GpuModel(Gpu& gpu, const ParameterMap& map, const Task& task) : gpu_(gpu), map_(map), task_(task) {}

  absl::StatusOr<Parameters> Save() override {
    Parameters parameters;
    for (const auto& [to, from, floats] : {std::tuple{&parameters.weights, task_.weights, map_.total()},
                                           std::tuple{&parameters.first_moment, task_.moment1, map_.train()},
                                           std::tuple{&parameters.second_moment, task_.moment2, map_.train()}}) {
      std::vector<float> block(static_cast<size_t>(floats));
      RETURN_IF_ERROR(gpu_.Download(block.data(), from, BytesOf(block)));
      *to = map_.FromKernel(block);
    }
    return parameters;
  }

  absl::Status Restore(const Parameters& parameters) override {
    for (const auto& [to, from] :
         {std::pair{task_.weights, &parameters.weights}, std::pair{task_.moment1, &parameters.first_moment},
          std::pair{task_.moment2, &parameters.second_moment}}) {
      const std::vector<float> block = map_.ToKernel(*from);
      RETURN_IF_ERROR(gpu_.Upload(to, block.data(), BytesOf(block)));
    }
    return absl::OkStatus();
  }

 private:
  Gpu& gpu_;
  ParameterMap map_;
  Task task_;
};

struct Loaded {
  Loaded(const PointSpec& p, Library library) : point(p), slot(p, std::move(library)) {}
  PointSpec point;
  Slot slot;
  Task task{};
  std::unique_ptr<SlotMemory> memory;
  KernelChoice choice{};
  double share = 0;  // of what the device runs at once
  bool in_flight = false;
};

class GpuBackend : public Backend {
 public:
  explicit GpuBackend(std::unique_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}
  ~GpuBackend() override { (void)Land(); }

  std::string_view name() const override { return kName; }

  absl::Status CanTrain(const PointSpec& point) const override {
    if (!point.backend.empty() && point.backend != kName) {
      return absl::UnimplementedError(StrCat("backend: the point asks for '", point.backend, "', this is ", kName));
    }
    RETURN_IF_ERROR(CheckKernelsServe(point, kName));
    RETURN_IF_ERROR(CheckSize(point));
    return BlocksFor(point).status();
  }

  int Slots(const PointSpec& shape) const override {
    const absl::StatusOr<int> blocks = CanTrain(shape).ok() ? BlocksFor(shape) : 1;
    return blocks.ok() ? std::min(*blocks, kMaxSlots) : 1;
  }

  bool Takes(const PointSpec& point, std::string_view /*shape*/) const override {
    const absl::StatusOr<int> blocks = BlocksFor(point);  // CanTrain has been asked
    return count_ == 0 || (blocks.ok() && count_ < kMaxSlots && share_ + 1.0 / *blocks <= 1.0 + 1e-9);
  }

  absl::Status Load(int slot, const PointSpec& point, const Checkpoint* checkpoint) override {
    const Instant start = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(CheckMemory(EstimateBytes(point)));
    RETURN_IF_ERROR(CheckSize(point));
    RETURN_IF_ERROR(Arrays());
    CheckpointContent content;
    if (checkpoint != nullptr) {
      ASSIGN_OR_RETURN(content, DecodeCheckpoint(checkpoint->bytes));
      RETURN_IF_ERROR(CheckResumable(content, point, std::string(kName), build_));
    }
    ASSIGN_OR_RETURN(const int blocks, BlocksFor(point));
    ASSIGN_OR_RETURN(Library library, MakeLibrary(point));
    auto loaded = std::make_unique<Loaded>(point, std::move(library));
    loaded->share = 1.0 / blocks;
    RETURN_IF_ERROR(FillTask(point, *loaded));
    if (checkpoint != nullptr) {
      RETURN_IF_ERROR(Checked(loaded->slot.Restore(std::move(content))));
    }
    TaskState state{};
    state.progress = loaded->slot.run().state();
    RETURN_IF_ERROR(Checked(gpu_->Upload(states_ + slot, &state, sizeof state)));
    RETURN_IF_ERROR(SendRates(slot, *loaded));
    loaded->slot.AddSetupSeconds(ToSeconds(std::chrono::steady_clock::now() - start));
    slots_.resize(std::max(slots_.size(), static_cast<size_t>(slot) + 1));
    slots_[static_cast<size_t>(slot)] = std::move(loaded);
    Recount();
    return absl::OkStatus();
  }

  // A launch stays in flight on return, so that the device works while the caller collects and loads.
  void Run(Duration budget) override {
    const Instant deadline = std::chrono::steady_clock::now() + budget;
    do {
      const bool stopped = Land();
      if (!health_.ok() || !TakeOff() || stopped) {
        return;
      }
    } while (std::chrono::steady_clock::now() < deadline);
  }

  SlotView Look(int slot) const override { return At(slot).slot.Look(); }

  absl::StatusOr<PointResult> Result(int slot) const override {
    if (!Look(slot).finished) {
      return absl::FailedPreconditionError(StrCat("slot ", slot, " has not finished"));
    }
    return At(slot).slot.Result(kName);
  }

  absl::StatusOr<Checkpoint> Save(int slot) override {
    // The weights are those of the last launch that landed, and so must be the state.
    Land();
    RETURN_IF_ERROR(health_);
    ASSIGN_OR_RETURN(const CheckpointContent content, At(slot).slot.Save(std::string(kName), build_));
    return Checkpoint{std::string(kName), EncodeCheckpoint(content)};
  }

  void Unload(int slot) override {
    if (At(slot).in_flight) {
      Land();
    }
    slots_[static_cast<size_t>(slot)].reset();
    Recount();
  }

  absl::Status Health() const override { return health_; }

 private:
  // Notes an error that is not about memory: the device is sick then.
  absl::Status Checked(absl::Status status) {
    if (!status.ok() && !absl::IsResourceExhausted(status) && health_.ok()) {
      health_ = status;
    }
    return status;
  }

  absl::Status CheckMemory(double bytes) const {
    const int64_t memory = gpu_->facts().memory_bytes;
    if (bytes > static_cast<double>(memory)) {
      return absl::ResourceExhaustedError(StrCat("the point needs about ", static_cast<int64_t>(bytes / 1e6),
                                                 " MB, the device has ", memory / 1'000'000));
    }
    return absl::OkStatus();
  }

  // Kernels count floats in 32 bits, and one thread block is no way to train a large model: a step must stay well below
  // a second, for nothing is reported in the middle of one.
  static absl::Status CheckSize(const PointSpec& point) {
    constexpr double kMostFlops = 5e10;
    if (const double flops = ProductFlopsPerStep(point, Algebra::kAbsorbed); flops > kMostFlops) {
      return absl::UnimplementedError(StrCat("a step takes ", flops / 1e9, " GFLOP, the kernels go up to ",
                                             kMostFlops / 1e9, " in one thread block"));
    }
    constexpr double kMostFloats = 1 << 28;
    PointSpec one = point;
    one.batch_size = one.dataset_size = 1;
    if (EstimateBytes(one) > 4 * kMostFloats) {
      return absl::UnimplementedError(StrCat("the model takes ", static_cast<int64_t>(EstimateBytes(one) / 1e6),
                                             " MB, the kernels go up to ",
                                             static_cast<int64_t>(4 * kMostFloats / 1e6)));
    }
    return absl::OkStatus();
  }

  static int64_t BatchOf(const PointSpec& point) { return std::min(point.batch_size, point.dataset_size); }

  // Blocks of the point's kernel that the device runs at once.
  absl::StatusOr<int> BlocksFor(const PointSpec& point) const {
    const cuda::RunShape shape = cuda::ShapeOf(point);
    const auto key = std::tuple(shape.mode, shape.layers, shape.heads, shape.head_dim, shape.width, shape.seq_len,
                                shape.vocab, shape.freeze_mlp, BatchOf(point));
    auto it = blocks_.find(key);
    if (it == blocks_.end()) {
      it = blocks_.emplace(key, gpu_->BlocksAtOnce(gpu_->Choose(shape, BatchOf(point)))).first;
    }
    return it->second;
  }

  absl::Status Arrays() {
    if (states_ != nullptr) {
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(void* tasks, gpu_->Allocate(kMaxSlots * static_cast<int64_t>(sizeof(Task))));
    ASSIGN_OR_RETURN(void* states, gpu_->Allocate(kMaxSlots * static_cast<int64_t>(sizeof(TaskState))));
    tasks_ = static_cast<Task*>(tasks);
    states_ = static_cast<TaskState*>(states);
    return absl::OkStatus();
  }

  // Gives the point its memory on the device and fills it.
  absl::Status FillTask(const PointSpec& point, Loaded& loaded) {
    const ParameterMap map(point);
    const Library& library = loaded.slot.library();
    const int64_t rates = 2 * std::min(BudgetSteps(point), kRatesAhead);
    loaded.choice = gpu_->Choose(cuda::ShapeOf(point), BatchOf(point));
    const auto floats = [](int64_t count) { return SlotMemory::Rounded(count * static_cast<int64_t>(sizeof(float))); };
    const int64_t bytes = floats(static_cast<int64_t>(library.tokens.size())) +
                          floats(static_cast<int64_t>(library.target_tokens.size())) + floats(rates) +
                          floats(map.total()) + 2 * floats(map.train()) + floats(loaded.choice.plan.global_floats);
    RETURN_IF_ERROR(CheckMemory(static_cast<double>(bytes)));
    absl::StatusOr<SlotMemory> memory = SlotMemory::Make(*gpu_, bytes);
    RETURN_IF_ERROR(Checked(memory.status()));
    loaded.memory = std::make_unique<SlotMemory>(*std::move(memory));
    Task& task = loaded.task;
    task.shape = cuda::ShapeOf(point);
    task.plan = loaded.choice.plan;
    task.course = loaded.slot.run().course();
    task.first_target = static_cast<int32_t>(library.first_target);
    task.init_seed = point.init_seed;
    const auto upload = [&](const auto& values) {
      auto* to = loaded.memory->Take<std::decay_t<decltype(values[0])>>(static_cast<int64_t>(values.size()));
      (void)Checked(gpu_->Upload(to, values.data(), BytesOf(values)));
      return to;
    };
    task.tokens = upload(library.tokens);
    task.target_tokens = upload(library.target_tokens);
    task.rates = loaded.memory->Take<float>(rates);
    task.weights = upload(map.ToKernel(InitialWeights(map.layout(), point.init_seed)));
    const std::vector<float> zeros(static_cast<size_t>(map.train()));
    task.moment1 = upload(zeros);
    task.moment2 = upload(zeros);
    task.memory = loaded.memory->Take<float>(loaded.choice.plan.global_floats);
    RETURN_IF_ERROR(health_);
    loaded.slot.SetModel(std::make_unique<GpuModel>(*gpu_, map, task));
    return absl::OkStatus();
  }

  // The rates of the steps that come next, and with them the task.
  absl::Status SendRates(int slot, Loaded& loaded) {
    Task& task = loaded.task;
    const int64_t step = loaded.slot.run().state().step;
    const std::vector<float> rates =
        cuda::MakeRates(loaded.point, step, std::min(BudgetSteps(loaded.point) - step, kRatesAhead));
    task.rates_first = step;
    task.rates_end = step + static_cast<int64_t>(rates.size() / 2);
    if (!rates.empty()) {  // else nothing but an evaluation is left
      RETURN_IF_ERROR(Checked(gpu_->Upload(const_cast<float*>(task.rates), rates.data(), BytesOf(rates))));
    }
    return Checked(gpu_->Upload(tasks_ + slot, &task, sizeof task));
  }

  void Recount() {
    count_ = 0;
    share_ = 0;
    for (const auto& loaded : slots_) {
      if (loaded != nullptr) {
        ++count_;
        share_ += loaded->share;
      }
    }
  }

  // Launches every active slot. False if there is none.
  bool TakeOff() {
    std::map<std::pair<int32_t, int32_t>, cuda::LaunchGroup> groups;  // by kernel and threads
    for (size_t i = 0; i < slots_.size(); ++i) {
      Loaded* loaded = slots_[i].get();
      if (loaded == nullptr || !loaded->slot.active()) continue;
      const Progress& progress = loaded->slot.run().state();
      if (progress.step == loaded->task.rates_end && !progress.evaluation_due &&
          !SendRates(static_cast<int>(i), *loaded).ok()) {
        return false;
      }
      const KernelChoice& choice = loaded->choice;
      cuda::LaunchGroup& group = groups[{choice.kernel, choice.threads}];
      group.kernel = choice.kernel;
      group.threads = choice.threads;
      group.shared_bytes =
          std::max(group.shared_bytes, choice.plan.shared_floats * static_cast<int64_t>(sizeof(float)));
      group.slots.push_back(static_cast<int32_t>(i));
      loaded->in_flight = true;
    }
    std::vector<cuda::LaunchGroup> launch;
    for (auto& [key, group] : groups) launch.push_back(std::move(group));
    flying_ = !launch.empty();
    return flying_ && Checked(gpu_->Launch(launch, tasks_, states_, kLaunchNanoseconds)).ok();
  }

  // Waits for the launch in flight and takes over what it did. True if a slot finished or failed.
  bool Land() {
    if (!std::exchange(flying_, false)) {
      return false;
    }
    host_states_.resize(slots_.size());
    if (!Checked(gpu_->Wait()).ok() ||
        !Checked(gpu_->Download(host_states_.data(), states_, BytesOf(host_states_))).ok()) {
      return false;
    }
    bool stopped = false;
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i] == nullptr || !std::exchange(slots_[i]->in_flight, false)) continue;
      TakeOver(host_states_[i], slots_[i]->slot);
      stopped = stopped || !slots_[i]->slot.active();
    }
    return stopped;
  }

  static void TakeOver(const TaskState& state, Slot& slot) {
    const Course& course = slot.run().course();
    std::vector<Evaluation> evaluations;
    for (int32_t i = 0; i < state.count; ++i) {
      const cuda::TaskEvaluation& e = state.evaluations[i];
      Tally tally;
      tally.nll_nats = e.nll_nats;
      evaluations.push_back(
          {e.step / course.steps_per_epoch, e.step, e.items_mem, e.tokens_mem, tally.nll_bits(), e.train_loss});
    }
    slot.Follow(state.progress, state.stop, evaluations, 1e-9 * static_cast<double>(state.nanoseconds_train),
                1e-9 * static_cast<double>(state.nanoseconds_eval));
    if (state.failure == TaskFailure::kLoss) {
      slot.FollowBadLoss(state.failed_loss);
    } else if (state.failure == TaskFailure::kEvaluation) {
      slot.FollowBadEvaluation();
    }
  }

  Loaded& At(int slot) { return *slots_.at(static_cast<size_t>(slot)); }
  const Loaded& At(int slot) const { return *slots_.at(static_cast<size_t>(slot)); }

  using ShapeAndBatch = std::tuple<cuda::TaskMode, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, bool, int64_t>;

  std::unique_ptr<Gpu> gpu_;
  // Kernels give the same bits on every GPU: a checkpoint may move between them.
  const std::string build_ = StrCat(kVersion, " cuda");
  mutable std::map<ShapeAndBatch, absl::StatusOr<int>> blocks_;
  Task* tasks_ = nullptr;        // [kMaxSlots] on the device
  TaskState* states_ = nullptr;  // [kMaxSlots] on the device
  std::vector<std::unique_ptr<Loaded>> slots_;
  std::vector<TaskState> host_states_;
  int count_ = 0;
  double share_ = 0;  // of what the device runs at once
  bool flying_ = false;
  absl::Status health_;
};

absl::StatusOr<std::unique_ptr<Gpu>> OpenByName(const std::string& device) {
  int index = -1;
  if (device.rfind("cuda:", 0) != 0) {
    return absl::UnimplementedError(
        StrCat("the cuda back end does not drive device ", device, "; use --device cuda:N"));
  }
  const auto [end, error] = std::from_chars(device.data() + 5, device.data() + device.size(), index);
  if (error != std::errc() || end != device.data() + device.size() || index < 0) {
    return absl::InvalidArgumentError(StrCat("device '", device, "' is unknown; use cpu:0 or cuda:N"));
  }
  return cuda::OpenGpu(index);
}

}  // namespace

std::unique_ptr<Backend> MakeGpuBackend(std::unique_ptr<Gpu> gpu) {
  return std::make_unique<GpuBackend>(std::move(gpu));
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const std::string& device, int /*slots*/) {
  ASSIGN_OR_RETURN(std::unique_ptr<Gpu> gpu, OpenByName(device));
  return MakeGpuBackend(std::move(gpu));
}

absl::StatusOr<DeviceFacts> CudaDeviceFacts(const std::string& device) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Gpu> gpu, OpenByName(device));
  DeviceFacts facts;
  facts.kind = gpu->facts().kind;
  facts.name = gpu->facts().name;
  facts.memory_bytes = gpu->facts().memory_bytes;
  return facts;
}

}  // namespace capsweep::trainer
