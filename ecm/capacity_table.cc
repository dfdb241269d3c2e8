#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "ecm/capacity.h"
#include "ecm/table.h"

namespace capsweep::ecm {
namespace {

constexpr double kChanceSds = 3;

Row MeanRow(const std::vector<const Sample*>& samples) {
  const Sample& first = *samples.front();
  Row row{.heads = first.heads, .width = first.width, .seq_len = first.seq_len};
  row.dataset_size = first.dataset_size;
  row.chance = first.chance;
  row.params_total = first.params_total;
  row.params_train = first.params_train;
  row.params_parts = first.params_parts;
  row.bits_per_item = first.bits_per_item;
  row.censored = row.at_chance = true;
  row.repeats = 0;
  double sum = 0;
  for (const Sample* s : samples) {
    row.repeats += s->repeats;
    sum += s->capacity * s->repeats;
    row.censored = row.censored && s->full;
    row.at_chance = row.at_chance && s->at_chance;
    row.budget_steps = std::max(row.budget_steps, s->steps);
    if (s->repeats == 1) row.values.push_back(s->capacity);
  }
  row.capacity = sum / row.repeats;
  // The spread within and between what was given: an average that came with its own SD keeps it.
  double squares = 0;
  bool known = row.repeats > 1;
  for (const Sample* s : samples) {
    squares += s->repeats * (s->capacity - row.capacity) * (s->capacity - row.capacity);
    if (s->repeats > 1) squares += (s->repeats - 1) * std::max(0.0, s->sd) * std::max(0.0, s->sd);
    known = known && (s->repeats == 1 || s->sd >= 0);
  }
  if (known) row.sd = std::sqrt(squares / (row.repeats - 1));
  if (samples.size() == 1 && first.sd >= 0) row.sd = first.sd;
  if (static_cast<int>(row.values.size()) != row.repeats) row.values.clear();
  return row;
}

Sample ToSample(const Measurement& m, CapacityKind kind) {
  Sample s;
  s.heads = static_cast<double>(m.heads);
  s.width = static_cast<double>(m.width);
  s.seq_len = static_cast<double>(m.seq_len);
  s.dataset_size = static_cast<double>(m.dataset_size);
  // With an epoch budget the steps follow the library, so the epochs tell budgets apart.
  s.budget = m.budget_steps > 0 ? static_cast<double>(m.budget_steps) : -static_cast<double>(m.budget_epochs);
  s.steps = static_cast<double>(m.budget_steps > 0 ? m.budget_steps : m.steps);
  s.params_total = static_cast<double>(m.params_total);
  s.params_train = static_cast<double>(m.params_train);
  const double width = s.width, layers = static_cast<double>(m.layers), vocab = static_cast<double>(m.vocab);
  s.params_parts = {(vocab + s.seq_len) * width, layers * 4 * width * s.heads * static_cast<double>(m.head_dim),
                    m.freeze_mlp ? 0 : layers * (8 * width * width + 5 * width), width * vocab};
  const double targets = static_cast<double>(std::max<int64_t>(m.targets, 1));
  s.bits_per_item = m.vocab > 1 ? targets * std::log2(vocab) : 0;
  s.full = s.dataset_size > 0 && static_cast<double>(m.items_mem) >= kFullShare * s.dataset_size;

  const double guess = m.vocab > 1 ? std::pow(vocab, -targets) : 0;
  const double by_chance = s.dataset_size * guess;
  const double spread = std::sqrt(by_chance * (1 - guess));
  const bool few = static_cast<double>(m.items_mem) <= by_chance + kChanceSds * spread;
  switch (kind) {
    case CapacityKind::kItemsCorr:
      s.capacity = m.items_corr;
      s.at_chance = few;
      break;
    case CapacityKind::kItems:
      s.capacity = static_cast<double>(m.items_mem);
      s.chance = by_chance;
      s.at_chance = few;
      break;
    case CapacityKind::kBits:
      // Bits are counted against guessing already; a few right answers by luck do not make them positive.
      s.capacity = s.bits_per_item > 0 ? m.bits_mem / s.bits_per_item : 0;
      s.at_chance = s.capacity <= 0;
      break;
  }
  return s;
}

}  // namespace

std::vector<Row> MakeRows(const std::vector<Sample>& samples) {
  using Cell = std::tuple<double, double, double, double>;  // heads, seq_len, width, budget
  std::map<Cell, std::map<double, std::vector<const Sample*>>> cells;
  for (const Sample& s : samples) {
    cells[{s.heads, s.seq_len, s.width, std::abs(s.budget)}][s.dataset_size].push_back(&s);
  }
  std::vector<Row> rows;
  for (const auto& [cell, by_size] : cells) {
    Row best;
    bool have = false;
    for (const auto& [dataset_size, of_size] : by_size) {
      const Row row = MeanRow(of_size);
      if (!have || row.capacity > best.capacity) best = row;
      have = true;
    }
    best.budget = std::get<3>(cell);
    best.budget_in_epochs = by_size.begin()->second.front()->budget < 0;
    rows.push_back(best);
  }
  return rows;
}

std::vector<Group> BuildGroups(const std::vector<Measurement>& measurements, CapacityKind kind) {
  std::map<std::map<std::string, std::string>, std::vector<Sample>> samples;
  for (const Measurement& m : measurements) samples[m.group].push_back(ToSample(m, kind));
  std::vector<Group> groups;
  for (const auto& [key, of_group] : samples) groups.push_back({.key = key, .rows = MakeRows(of_group)});
  return groups;
}

}  // namespace capsweep::ecm
