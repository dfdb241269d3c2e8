#include "worker/trainer/torch/blas.h"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "common/text.h"

namespace capsweep::trainer {
namespace {

// The file that serves `symbol`, links resolved: Debian's alternatives hide the real library behind libblas.so.3.
std::string FileOf(const char* symbol) {
  void* address = dlsym(RTLD_DEFAULT, symbol);
  Dl_info info;
  if (address == nullptr || dladdr(address, &info) == 0 || info.dli_fname == nullptr) {
    return "";
  }
  const std::unique_ptr<char, void (*)(void*)> real(realpath(info.dli_fname, nullptr), &std::free);
  return real != nullptr ? real.get() : info.dli_fname;
}

// "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH …" -> " 0.3.21"
std::string OpenBlasVersion() {
  using GetConfig = char* (*)();
  const auto get_config = reinterpret_cast<GetConfig>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
  if (get_config == nullptr) {
    return "";
  }
  const std::string_view config = get_config();
  const size_t space = config.find(' ');
  const size_t end = config.find(' ', space + 1);
  return space == std::string_view::npos ? "" : std::string(config.substr(space, end - space));
}

}  // namespace

std::string BlasName(bool torch_has_mkl) {
  if (torch_has_mkl) {
    return "mkl";
  }
  const std::string file = FileOf("sgemm_");
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"atlas", "atlas"}, {"blis", "blis"}, {"mkl", "mkl"}, {"/blas/", "reference"}};
  if (file.find("openblas") != std::string::npos) {
    return StrCat("openblas", OpenBlasVersion());
  }
  for (const auto& [part, name] : kNames) {
    if (file.find(part) != std::string::npos) {
      return std::string(name);
    }
  }
  return "unknown";
}

}  // namespace capsweep::trainer
