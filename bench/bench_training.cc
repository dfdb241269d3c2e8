// How fast the back ends train, against A: the model as a careful PyTorch user writes it, torch::nn modules and
// torch::optim::Adam, one model, one thread. All contenders take turns in one process, so that a noisy machine is noisy
// for all of them.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/cost_model.h"
#include "common/point.h"
#include "worker/trainer/backend.h"
#include "worker/trainer/cpu/cpu_backend.h"
#include "worker/trainer/cuda/cuda_backend.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/host_facts.h"
#include "worker/trainer/torch/torch_backend.h"

namespace capsweep {
namespace {

using Seconds = std::chrono::duration<double>;

// ---- A ----
struct BlockImpl : torch::nn::Module {
  explicit BlockImpl(const PointSpec& p) : heads(p.heads), head_dim(p.head_dim), causal(p.mode == Mode::kLm) {
    const int64_t inner = p.heads * p.head_dim;
    const auto linear = [](int64_t from, int64_t to, bool bias) {
      return torch::nn::Linear(torch::nn::LinearOptions(from, to).bias(bias));
    };
    norm1 = register_module("norm1", torch::nn::LayerNorm(torch::nn::LayerNormOptions({p.width})));
    norm2 = register_module("norm2", torch::nn::LayerNorm(torch::nn::LayerNormOptions({p.width})));
    qkv = register_module("qkv", linear(p.width, 3 * inner, false));
    out = register_module("out", linear(inner, p.width, false));
    up = register_module("up", linear(p.width, 4 * p.width, true));
    down = register_module("down", linear(4 * p.width, p.width, true));
  }
  torch::Tensor forward(torch::Tensor x) {  // [b, N, B]
    const int64_t b = x.size(0), n = x.size(1);
    const auto parts = qkv->forward(norm1->forward(x)).view({b, n, 3, heads, head_dim}).permute({2, 0, 3, 1, 4});
    auto scores = torch::matmul(parts[0], parts[1].transpose(-2, -1)) / std::sqrt(static_cast<double>(head_dim));
    if (causal) {
      scores = scores + torch::full({n, n}, -1e30f, scores.options()).triu(1);
    }
    const auto mixed = torch::matmul(torch::softmax(scores, -1), parts[2]);
    x = x + out->forward(mixed.transpose(1, 2).reshape({b, n, heads * head_dim}));
    return x + down->forward(torch::gelu(up->forward(norm2->forward(x))));
  }
  int64_t heads, head_dim;
  bool causal;
  torch::nn::LayerNorm norm1{nullptr}, norm2{nullptr};
  torch::nn::Linear qkv{nullptr}, out{nullptr}, up{nullptr}, down{nullptr};
};
TORCH_MODULE(Block);

struct IdiomaticImpl : torch::nn::Module {
  explicit IdiomaticImpl(const PointSpec& p) : point(p) {
    tokens = register_module("tokens", torch::nn::Embedding(p.vocab, p.width));
    positions = register_module("positions", torch::nn::Embedding(p.seq_len, p.width));
    for (int64_t l = 0; l < p.layers; ++l) blocks->push_back(Block(p));
    register_module("blocks", blocks);
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({p.width})));
    head = register_module("head", torch::nn::Linear(torch::nn::LinearOptions(p.width, p.vocab).bias(false)));
  }
  torch::Tensor forward(const torch::Tensor& input) {  // [b, N] -> [b·T, V]
    auto x = tokens->forward(input) + positions->forward(torch::arange(input.size(1), input.options()));
    for (auto& block : *blocks) x = block->as<Block>()->forward(x);
    if (point.mode == Mode::kLabel) {
      x = x.select(1, input.size(1) - 1);
    }
    return head->forward(norm->forward(x)).view({-1, point.vocab});
  }
  PointSpec point;
  torch::nn::Embedding tokens{nullptr}, positions{nullptr};
  torch::nn::ModuleList blocks;
  torch::nn::LayerNorm norm{nullptr};
  torch::nn::Linear head{nullptr};
};
TORCH_MODULE(Idiomatic);

// ---- contenders ----
// Trains for about `budget` and returns the steps done.
using Contender = std::function<int64_t(Duration budget)>;

Contender MakeA(const PointSpec& point, torch::Device device) {
  auto model = std::make_shared<Idiomatic>(point);
  (*model)->to(device);
  auto adam = std::make_shared<torch::optim::Adam>((*model)->parameters(), torch::optim::AdamOptions(point.lr));
  const trainer::Library library = *trainer::MakeLibrary(point);
  const auto on_device = [&](const std::vector<int32_t>& values, int64_t columns) {
    return torch::tensor(values).to(torch::kInt64).view({library.items, columns}).to(device);
  };
  const auto tokens = on_device(library.tokens, library.seq_len);
  const auto targets = on_device(library.target_tokens, library.targets);
  const auto step = std::make_shared<int64_t>(0);
  return [=](Duration budget) {
    const Instant end = std::chrono::steady_clock::now() + budget;
    int64_t done = 0;
    torch::Tensor loss;
    do {
      const int64_t first = (*step)++ * point.batch_size % (library.items - point.batch_size + 1);
      adam->zero_grad();
      const auto logits = (*model)->forward(tokens.narrow(0, first, point.batch_size));
      const auto batch = targets.narrow(0, first, point.batch_size).reshape({-1});
      loss = torch::cross_entropy_loss(logits, batch);
      loss.backward();
      adam->step();
      ++done;
    } while (std::chrono::steady_clock::now() < end);
    (void)loss.item<float>();  // waits for a GPU
    return done;
  };
}

// As many models of the shape as the back end packs.
Contender MakeOurs(std::shared_ptr<trainer::Backend> backend, PointSpec point) {
  const int slots = backend->Slots(point);
  for (int slot = 0; slot < slots; ++slot) {
    point.data_seed = point.init_seed = static_cast<uint64_t>(slot) + 1;
    const absl::Status loaded = backend->Load(slot, point, nullptr);
    TORCH_CHECK(loaded.ok(), loaded.ToString());
  }
  return [=](Duration budget) {
    const auto steps = [&] {
      int64_t sum = 0;
      for (int slot = 0; slot < slots; ++slot) sum += backend->Look(slot).step;
      return sum;
    };
    const Instant end = std::chrono::steady_clock::now() + budget;
    const int64_t before = steps();
    do {
      backend->Run(end - std::chrono::steady_clock::now());
    } while (std::chrono::steady_clock::now() < end);
    (void)backend->Save(0);  // waits for what is under way on a GPU
    TORCH_CHECK(backend->Health().ok(), backend->Health().ToString());
    return steps() - before;
  };
}

struct Row {
  std::string shape, mode, backend;
  int64_t slots = 1;
  double items_per_second = 0, ratio_to_a = 0, fraction_of_peak = 0;
};

struct Named {
  std::string name;
  PointSpec point;
};

std::vector<Named> Shapes() {
  const auto make = [](int64_t heads, int64_t width, int64_t seq_len, int64_t vocab, int64_t batch) {
    PointSpec p;
    p.heads = heads, p.width = width, p.head_dim = width / heads, p.seq_len = seq_len, p.vocab = vocab;
    p.batch_size = batch, p.dataset_size = 16 * batch, p.lr = 1e-3, p.schedule = Schedule::kConstant;
    p.steps = int64_t{1} << 40, p.eval_every = int64_t{1} << 30, p.patience = 0;
    return p;
  };
  return {{"S1", make(1, 8, 8, 16, 16)}, {"S2", make(4, 32, 16, 64, 64)}, {"S3", make(8, 64, 64, 256, 256)}};
}

// Single-precision matrix products of 512×512 in FLOP/s.
double GemmRate(Duration budget, torch::Device device) {
  // On a GPU a larger product is needed to reach the peak.
  const int64_t n = device.is_cuda() ? 4096 : 512;
  const auto a = torch::rand({n, n}, device), b = torch::rand({n, n}, device);
  auto c = torch::empty({n, n}, device);
  double best = 0;
  const Instant end = std::chrono::steady_clock::now() + budget;
  while (std::chrono::steady_clock::now() < end) {
    const Instant start = std::chrono::steady_clock::now();
    torch::mm_out(c, a, b);
    if (device.is_cuda()) (void)c[0][0].item<float>();
    best = std::max(best,
                    2.0 * static_cast<double>(n * n * n) / Seconds(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Options {
  std::string format = "table", shape, mode, device = "cpu";
  double seconds = 1;  // per contender and row
};

void Measure(const Named& shape, const Options& options, std::vector<Row>& rows) {
  constexpr int kRounds = 5;
  const auto slice = std::chrono::duration_cast<Duration>(Seconds(options.seconds / kRounds));
  const std::string mode(ToWord(shape.point.mode));
  const torch::Device device(options.device);
  const std::shared_ptr<trainer::Backend> torch_backend = *trainer::MakeTorchBackend(options.device);
  const std::shared_ptr<trainer::Backend> own =
      *(device.is_cuda() ? trainer::MakeCudaBackend(options.device) : trainer::MakeCpuBackend(options.device));
  const std::vector<std::pair<std::string, Contender>> contenders = {
      {"A", MakeA(shape.point, device)},
      {"torch", MakeOurs(torch_backend, shape.point)},
      {std::string(own->name()), MakeOurs(own, shape.point)},
  };
  const std::vector<int> slots = {1, torch_backend->Slots(shape.point), own->Slots(shape.point)};
  const std::vector<Algebra> algebra = {Algebra::kPlain, Algebra::kTrimmed, Algebra::kAbsorbed};
  std::vector<std::vector<double>> rates(contenders.size() + 1);
  for (int round = -1; round < kRounds; ++round) {
    for (size_t i = 0; i < contenders.size(); ++i) {
      const Instant start = std::chrono::steady_clock::now();
      const int64_t steps = contenders[i].second(slice);
      const double rate = static_cast<double>(steps) / Seconds(std::chrono::steady_clock::now() - start).count();
      if (round >= 0) rates[i].push_back(rate);
    }
    if (round >= 0) rates.back().push_back(GemmRate(slice / 5, device));
  }
  for (size_t i = 0; i < contenders.size(); ++i) {
    std::vector<double> ratio, fraction;
    const double flops = ProductFlopsPerStep(shape.point, algebra[i]);
    for (int round = 0; round < kRounds; ++round) {
      const auto r = static_cast<size_t>(round);
      ratio.push_back(rates[i][r] / rates[0][r]);
      fraction.push_back(rates[i][r] * flops / rates.back()[r]);
    }
    rows.push_back({shape.name, mode, contenders[i].first, slots[i],
                    Median(rates[i]) * static_cast<double>(shape.point.batch_size), Median(ratio), Median(fraction)});
  }
}

void Print(const std::vector<Row>& rows, const std::string& format) {
  if (format == "json") {
    nlohmann::ordered_json out = nlohmann::ordered_json::array();
    for (const Row& r : rows) {
      out.push_back({{"shape", r.shape},
                     {"mode", r.mode},
                     {"backend", r.backend},
                     {"slots", r.slots},
                     {"items_per_second", r.items_per_second},
                     {"ratio_to_a", r.ratio_to_a},
                     {"fraction_of_peak", r.fraction_of_peak}});
    }
    std::printf("%s\n", out.dump(2).c_str());
    return;
  }
  std::printf("%-6s %-6s %-8s %5s %14s %10s %10s\n", "shape", "mode", "backend", "slots", "items/s", "x A", "of peak");
  for (const Row& r : rows) {
    std::printf("%-6s %-6s %-8s %5lld %14.0f %10.2f %9.1f%%\n", r.shape.c_str(), r.mode.c_str(), r.backend.c_str(),
                static_cast<long long>(r.slots), r.items_per_second, r.ratio_to_a, 100 * r.fraction_of_peak);
  }
}

int Main(const Options& options) {
  if (options.device != "cpu") {
    // A runs on the GPU too, so this needs a LibTorch with CUDA; the cuda back end by itself does not.
    for (const absl::Status& status :
         {trainer::MakeTorchBackend(options.device).status(), trainer::MakeCudaBackend(options.device).status()}) {
      if (!status.ok()) {
        std::fprintf(stderr, "--device %s: %s\n", options.device.c_str(), status.ToString().c_str());
        return 1;
      }
    }
  }
  at::set_num_threads(1);
  std::vector<Row> rows;
  for (const Named& shape : Shapes()) {
    for (const Mode mode : {Mode::kLabel, Mode::kSeq, Mode::kLm}) {
      if ((!options.shape.empty() && options.shape != shape.name) ||
          (!options.mode.empty() && options.mode != ToWord(mode))) {
        continue;
      }
      Named named = shape;
      named.point.mode = mode;
      named.point.lm_targets = LmTargets::kAll;
      Measure(named, options, rows);
    }
  }
  if (rows.empty()) {
    std::fprintf(stderr, "nothing to measure: --shape is S1, S2 or S3, --mode is label, seq or lm\n");
    return 2;
  }
  if (options.format == "table") {
    const std::string where = options.device == "cpu" ? trainer::CpuModelName() + ", one thread"
                                                      : trainer::CudaDeviceFacts(options.device)->name;
    std::printf("%s; A: torch::nn modules and torch::optim::Adam on LibTorch %s\n", where.c_str(), TORCH_VERSION);
  }
  Print(rows, options.format);
  return 0;
}

}  // namespace
}  // namespace capsweep

int main(int argc, char** argv) {
  capsweep::Options options;
  CLI::App app("Items trained per second by every back end, against idiomatic LibTorch and the matrix product's peak.");
  app.add_option("--format", options.format, "table or json")->check(CLI::IsMember({"table", "json"}));
  app.add_option("--shape", options.shape, "only S1, S2 or S3");
  app.add_option("--mode", options.mode, "only label, seq or lm");
  app.add_option("--device", options.device, "cpu or cuda:N")->capture_default_str();
  app.add_option("--seconds", options.seconds, "measuring time per contender and row")->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  return capsweep::Main(options);
}
