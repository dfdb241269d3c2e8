#include "worker/trainer/checkpoint.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include "common/hash.h"
#include "common/text.h"
#include "worker/trainer/model/layout.h"

namespace capsweep::trainer {
namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are written in native order");

constexpr std::string_view kMagic = "capsweep-checkpoint\n";
constexpr uint32_t kFormat = 3;
constexpr size_t kDigestLength = 64;

// Writer and Reader visit the same fields in the same order (VisitContent), so that they cannot disagree.
class Writer {
 public:
  template <class T>
  void operator()(const T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
      Raw(&value, sizeof value);
    } else if constexpr (std::is_same_v<T, Evaluation>) {
      VisitEvaluation(value, *this);
    } else {  // string or vector
      (*this)(static_cast<uint64_t>(value.size()));
      using Element = typename T::value_type;
      if constexpr (std::is_arithmetic_v<Element>) {
        Raw(value.data(), value.size() * sizeof(Element));
      } else {
        for (const Element& element : value) (*this)(element);
      }
    }
  }

  template <class E, class Visitor>
  static void VisitEvaluation(E& e, Visitor& v) {
    v(e.epoch), v(e.step), v(e.items_mem), v(e.tokens_mem), v(e.nll_bits), v(e.train_loss), v(e.heldout_loss);
  }

  std::string bytes;

 private:
  void Raw(const void* data, size_t size) {
    if (size > 0) bytes.append(static_cast<const char*>(data), size);
  }
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
      Raw(&value, sizeof value);
    } else if constexpr (std::is_same_v<T, Evaluation>) {
      Writer::VisitEvaluation(value, *this);
    } else {
      uint64_t size = 0;
      (*this)(size);
      using Element = typename T::value_type;
      // Never allocate more than the bytes that are left could fill.
      ok_ = ok_ && size <= rest_.size() / (std::is_arithmetic_v<Element> ? sizeof(Element) : 1);
      if (!ok_) return;
      value.resize(size);
      if constexpr (std::is_arithmetic_v<Element>) {
        Raw(value.data(), value.size() * sizeof(Element));
      } else {
        for (Element& element : value) (*this)(element);
      }
    }
  }

  bool AtEnd() const { return ok_ && rest_.empty(); }

 private:
  void Raw(void* data, size_t size) {
    ok_ = ok_ && size <= rest_.size();
    if (!ok_ || size == 0) return;
    std::memcpy(data, rest_.data(), size);
    rest_.remove_prefix(size);
  }

  std::string_view rest_;
  bool ok_ = true;
};

template <class Content, class Visitor>
void VisitContent(Content& c, Visitor& v) {
  v(c.backend), v(c.build), v(c.point_key);
  auto& run = c.run;
  v(run.step), v(run.epoch_loss_sum), v(run.epoch_targets), v(run.train_loss), v(run.best_loss), v(run.best_epoch);
  v(run.evaluation_due), v(run.plateau), v(run.items_mem_best), v(run.stop_reason), v(run.curve), v(run.neighbours);
  v(run.seconds_setup), v(run.seconds_train), v(run.seconds_eval);
  v(c.weights), v(c.first_moment), v(c.second_moment);
}

absl::Status Damaged(std::string_view what) {
  return absl::DataLossError(StrCat("checkpoint: ", what, "; train the point from the start"));
}

}  // namespace

std::string EncodeCheckpoint(const CheckpointContent& content) {
  Writer writer;
  writer.bytes = kMagic;
  writer(kFormat);
  VisitContent(content, writer);
  return writer.bytes + Sha256Hex(writer.bytes);
}

absl::StatusOr<CheckpointContent> DecodeCheckpoint(std::string_view bytes) {
  if (bytes.size() < kMagic.size() + sizeof kFormat + kDigestLength || bytes.substr(0, kMagic.size()) != kMagic) {
    return Damaged("the bytes are not a checkpoint");
  }
  const std::string_view signed_part = bytes.substr(0, bytes.size() - kDigestLength);
  if (Sha256Hex(signed_part) != bytes.substr(signed_part.size())) {
    return Damaged("the checksum does not match, the data are damaged");
  }
  Reader reader(signed_part.substr(kMagic.size()));
  uint32_t format = 0;
  reader(format);
  if (format != kFormat) {
    return Damaged(StrCat("format version ", format, " is not the supported ", kFormat));
  }
  CheckpointContent content;
  VisitContent(content, reader);
  if (!reader.AtEnd()) {
    return Damaged("the fields do not fill the data");
  }
  return content;
}

absl::Status CheckResumable(const CheckpointContent& content, const PointSpec& point, std::string_view backend,
                            std::string_view build) {
  const auto differs = [](std::string_view what, std::string_view has, std::string_view wanted) {
    return absl::FailedPreconditionError(
        StrCat("checkpoint: ", what, " is '", has, "', not '", wanted, "'; train the point from the start"));
  };
  if (content.point_key != PointKey(point)) {
    return differs("point", content.point_key, PointKey(point));
  }
  if (content.backend != backend) {
    return differs("back end", content.backend, backend);
  }
  if (content.build != build) {
    return differs("build", content.build, build);
  }
  const ParamLayout layout = MakeLayout(point);
  const auto total = static_cast<size_t>(layout.total);
  const auto train = static_cast<size_t>(layout.train);
  if (content.weights.size() != total || content.first_moment.size() != train ||
      content.second_moment.size() != train) {
    return differs("number of weights", StrCat(content.weights.size()), StrCat(total));
  }
  if (content.run.step < 0 || content.run.step > BudgetSteps(point)) {
    return differs("step", StrCat(content.run.step), StrCat("0..", BudgetSteps(point)));
  }
  return absl::OkStatus();
}

}  // namespace capsweep::trainer
