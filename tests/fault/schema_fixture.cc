// Writes the fixture of this checkout's schema version: tests/golden/schema/vN.db. Run once when a version is released,
// never again: the files are what older programs wrote (then rewritten with small pages by VACUUM, to be small here).
//   ninja -C build/release schema_fixture && build/release/bin/schema_fixture tests/golden/schema/v4.db
#include <cmath>
#include <cstdio>

#include "common/param_count.h"
#include "tests/unit/store/store_testing.h"

namespace capsweep::store {
namespace {

std::shared_ptr<PointResult> SoundResult(const PointSpec& point, int64_t items) {
  auto r = MakeResult(point, items);
  r->targets = MaxTargets(point);
  r->tokens_mem = items * r->targets;
  r->nll_bits = 1.5 + static_cast<double>(items);
  r->bits_mem =
      static_cast<double>(point.dataset_size * r->targets) * std::log2(static_cast<double>(point.vocab)) - r->nll_bits;
  r->items_corr = static_cast<double>(items) * 0.9;
  r->params_total = CountParams(point).total;
  r->params_train = CountParams(point).train;
  r->steps = BudgetSteps(point);
  r->presentations = r->steps * point.batch_size;
  r->backend = "cpu";
  r->device_kind = "cpu";
  r->device_name = "fixture";
  r->version = "0.1.0";
  r->curve = {{10, r->steps / 5, items / 2, items / 2, 1.5, 2.5},
              {50, r->steps, items, r->tokens_mem, r->nll_bits, 1.0}};
  return r;
}

// 12 points: 8 done (one after a lost attempt), one failed, one with a checkpoint, one running, one pending.
void WriteFixture(const std::string& path) {
  TestStore store(path);
  const std::vector<PointSpec> points = MakePoints(3, 4);
  store.Add(MakeSweep("released", "sweep: released\n"), points);
  store.Add(MakeSweep("second", "sweep: second\n"), {points[0], points[1]});
  const auto write = [&](std::vector<core::Mutation> mutations) {
    EXPECT_TRUE(store.Write(std::move(mutations)).ok());
  };
  write({BusyWorker()});
  for (int64_t id = 1; id <= 8; ++id) {
    if (id == 3) {
      write({Started(id, 1),
             core::AttemptEnded{Ref(id, 1), core::AttemptOutcome::kLost, "", "its worker vanished", nullptr}});
    }
    const int attempt = id == 3 ? 2 : 1;
    write({Started(id, attempt), Accepted(id, attempt, SoundResult(points[static_cast<size_t>(id - 1)], 5 * id + 1))});
  }
  write({Started(9, 1),
         core::AttemptEnded{Ref(9, 1), core::AttemptOutcome::kFailed, "nan_loss", "the loss became NaN", nullptr}});
  write({core::PointChanged{PointId(9), core::PointState::kFailed, 3, 0, "nan_loss"}});
  const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint{"cpu", std::string("half way\0there", 14)});
  write({Started(10, 1), core::CheckpointSaved{Ref(10, 1), checkpoint},
         core::AttemptEnded{Ref(10, 1), core::AttemptOutcome::kHandedBack, "", "", nullptr}});
  write({Started(11, 1)});
  write({core::Audit{"fixture", "released", "made for the tests"}});
  EXPECT_TRUE(store->AddFit("released", "{}", "{}").ok());
}

}  // namespace
}  // namespace capsweep::store

int main(int argc, char** argv) {
  if (argc != 2 || std::filesystem::exists(argv[1])) {
    std::fprintf(stderr, "schema_fixture FILE: a new file\n");
    return 2;
  }
  capsweep::store::WriteFixture(argv[1]);
  return 0;
}
