#include "coordinator/service/advise.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "common/param_count.h"
#include "common/status.h"
#include "ecm/next_cells.h"

namespace capsweep::service {
namespace {

ecm::Measurement MeasurementOf(const PointSpec& point, const plan::AdaptiveQuestion::Sample& sample) {
  const ParamCount params = CountParams(point);
  ecm::Measurement m;
  m.group["mode"] = std::string(ToWord(point.mode));
  m.heads = point.heads;
  m.width = point.width;
  m.seq_len = point.seq_len;
  m.layers = point.layers;
  m.head_dim = point.head_dim;
  m.vocab = point.vocab;
  m.freeze_mlp = point.freeze_mlp;
  m.dataset_size = point.dataset_size;
  m.targets = MaxTargets(point);
  m.budget_steps = point.steps;
  m.budget_epochs = point.epochs;
  m.steps = BudgetSteps(point);
  m.seed = sample.seed;
  m.items_mem = sample.items_mem;
  m.items_corr = sample.items_corr;
  m.params_total = params.total;
  m.params_train = params.train;
  return m;
}

// Models of the grid's kind, up to twice its size.
void SetDesign(const plan::AdaptiveQuestion& question, ecm::NextRequest& request) {
  const PointSpec& first = *question.cells.front().point;
  bool split = false;
  int64_t heads = 1, width = 1;
  for (const auto& cell : question.cells) {
    heads = std::max(heads, cell.point->heads);
    width = std::max(width, cell.point->width);
    split = split || cell.point->head_dim != first.head_dim;
  }
  request.items = static_cast<double>(question.search->design_items);
  request.max_heads = 2 * heads;
  request.max_width = 2 * width;
  request.params = [first, split, length = question.search->target_seq_len](int64_t h, int64_t b) -> int64_t {
    PointSpec model = first;
    model.heads = h;
    model.width = b;
    model.seq_len = length;
    if (split) {
      if (b % h != 0) return -1;
      model.head_dim = b / h;
    }
    return CountParams(model).total;
  };
}

}  // namespace

absl::StatusOr<plan::AdaptiveAnswer> Advise(const plan::AdaptiveQuestion& question) {
  std::vector<ecm::Measurement> measurements;
  for (const auto& sample : question.samples) {
    measurements.push_back(MeasurementOf(*question.cells[sample.cell].point, sample));
  }
  std::vector<ecm::SuggestCell> candidates;
  for (const auto& cell : question.cells) {
    candidates.push_back({.heads = static_cast<double>(cell.point->heads),
                          .width = static_cast<double>(cell.point->width),
                          .seq_len = static_cast<double>(cell.point->seq_len),
                          .seconds = cell.cost,
                          .most_repeats = cell.left});
  }
  ecm::NextRequest request;
  request.heads = static_cast<double>(question.search->target_heads);
  request.width = static_cast<double>(question.search->target_width);
  request.seq_len = static_cast<double>(question.search->target_seq_len);
  request.form = question.search->form;
  if (question.search->design_items > 0) SetDesign(question, request);
  request.seconds = question.budget;
  request.points = question.points;
  ASSIGN_OR_RETURN(ecm::NextCells next, ecm::ChooseNextCells(measurements, std::move(candidates), request));
  plan::AdaptiveAnswer answer;
  answer.unfitted = std::move(next.unfitted);
  answer.heads = std::llround(next.heads);
  answer.width = std::llround(next.width);
  answer.seq_len = std::llround(next.seq_len);
  answer.predicted = next.predicted;
  answer.low = next.low;
  answer.high = next.high;
  answer.order = std::move(next.order);
  return answer;
}

}  // namespace capsweep::service
