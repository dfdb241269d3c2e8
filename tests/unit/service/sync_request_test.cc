#include "coordinator/service/sync_request.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "coordinator/service/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/coordinator_harness.h"

namespace capsweep::service {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

void SetId(int64_t point, int32_t attempt, v1::AttemptId* id) {
  id->set_point_id(point);
  id->set_attempt(attempt);
}

v1::SyncRequest GoodRequest() {
  v1::SyncRequest r;
  r.set_worker_id("node7.cluster:slurm_12@a-b");
  r.set_incarnation("0123456789abcdef");
  r.set_sequence(1);
  r.set_host("node7");
  r.set_pid(12);
  r.set_version("0.1.0");
  r.set_torch_version("1.13.1");
  (*r.mutable_labels())["rack"] = "4";
  v1::Device* device = r.add_devices();
  device->set_name("cpu:0");
  device->set_kind("cpu");
  device->set_memory_bytes(1 << 30);
  device->set_slots(1);
  device->set_ready(true);
  v1::HeldAttempt* held = device->add_held();
  SetId(1, 1, held->mutable_id());
  held->set_progress(0.5);
  v1::DeliveredResult* result = r.add_results();
  SetId(2, 1, result->mutable_id());
  result->set_device("cpu:0");
  result->mutable_result()->set_point_key("00112233445566778899aabbccddeeff");
  v1::DeliveredFailure* failure = r.add_failures();
  SetId(3, 2, failure->mutable_id());
  failure->set_device("cpu:0");
  failure->set_cause("nan_loss");
  failure->set_message("loss is NaN at step 7");
  failure->set_pack_size(1);
  v1::HandedBack* back = r.add_handed_back();
  SetId(4, 1, back->mutable_id());
  back->set_checkpoint("bytes");
  back->set_checkpoint_backend("torch");
  r.set_max_wait_seconds(20);
  return r;
}

TEST(CheckSyncRequestTest, AWellFormedRequestIsConvertedFieldByField) {
  const auto sync = CheckSyncRequest(GoodRequest());
  ASSERT_TRUE(sync.ok()) << sync.status();
  EXPECT_EQ(sync->worker.value(), "node7.cluster:slurm_12@a-b");
  EXPECT_EQ(sync->incarnation.value(), "0123456789abcdef");
  EXPECT_EQ(sync->sequence, 1);
  EXPECT_EQ(sync->max_wait, std::chrono::seconds(20));
  ASSERT_EQ(sync->devices.size(), 1u);
  EXPECT_EQ(sync->devices[0].memory_bytes, 1 << 30);
  ASSERT_EQ(sync->devices[0].held.size(), 1u);
  EXPECT_EQ(sync->devices[0].held[0].progress, 0.5);
  ASSERT_EQ(sync->results.size(), 1u);
  EXPECT_EQ(sync->results[0].id.point.value(), 2);
  EXPECT_EQ(sync->results[0].key_prefix, 0x0011223344556677u);
  ASSERT_EQ(sync->failures.size(), 1u);
  EXPECT_EQ(sync->failures[0].cause, FailureCause::kNanLoss);
  ASSERT_EQ(sync->handed_back.size(), 1u);
  EXPECT_EQ(sync->handed_back[0].checkpoint->backend, "torch");
}

struct BadCase {
  const char* field;  // what the message must start with
  std::function<void(v1::SyncRequest&)> spoil;
};

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInfinity = std::numeric_limits<double>::infinity();

std::vector<BadCase> BadCases() {
  using R = v1::SyncRequest;
  return {
      {"worker_id:", [](R& r) { r.clear_worker_id(); }},
      {"worker_id:", [](R& r) { r.set_worker_id(std::string(129, 'a')); }},
      {"worker_id:", [](R& r) { r.set_worker_id("a b"); }},
      {"worker_id:", [](R& r) { r.set_worker_id("a\nb"); }},
      {"worker_id:", [](R& r) { r.set_worker_id("\xC3\xA4"); }},
      {"incarnation:", [](R& r) { r.clear_incarnation(); }},
      {"incarnation:", [](R& r) { r.set_incarnation("a/b"); }},
      {"sequence:", [](R& r) { r.set_sequence(0); }},
      {"sequence:", [](R& r) { r.set_sequence(-5); }},
      {"database_id:", [](R& r) { r.set_database_id("no such id!"); }},
      {"host:", [](R& r) { r.set_host(std::string(256, 'h')); }},
      {"host:", [](R& r) { r.set_host("a\x1b[31m"); }},
      {"pid:", [](R& r) { r.set_pid(-1); }},
      {"version:", [](R& r) { r.set_version(std::string(129, 'v')); }},
      {"torch_version:", [](R& r) { r.set_torch_version(std::string("1\0", 2)); }},
      {"labels:", [](R& r) { (*r.mutable_labels())["a b"] = "c"; }},
      {"labels.k:", [](R& r) { (*r.mutable_labels())["k"] = std::string(300, 'c'); }},
      {"labels:",
       [](R& r) {
         for (int i = 0; i < 65; ++i) (*r.mutable_labels())[StrCat("l", i)] = "";
       }},
      {"max_wait_seconds:", [](R& r) { r.set_max_wait_seconds(-1); }},
      {"max_wait_seconds:", [](R& r) { r.set_max_wait_seconds(kNan); }},
      {"max_wait_seconds:", [](R& r) { r.set_max_wait_seconds(1e9); }},
      {"remaining_seconds:", [](R& r) { r.set_remaining_seconds(kInfinity); }},
      {"devices:",
       [](R& r) {
         for (int i = 0; i < kMaxDevices; ++i) *r.add_devices() = r.devices(0);
       }},
      {"devices[1].name:",
       [](R& r) {
         auto* d = r.add_devices();
         *d = r.devices(0);
         d->clear_held();
       }},
      {"devices[0].name:", [](R& r) { r.mutable_devices(0)->set_name("CPU"); }},
      {"devices[0].name:", [](R& r) { r.mutable_devices(0)->set_name(std::string(33, 'c')); }},
      {"devices[0].kind:", [](R& r) { r.mutable_devices(0)->clear_kind(); }},
      {"devices[0].kind:", [](R& r) { r.mutable_devices(0)->set_kind("a\tb"); }},
      {"devices[0].memory_bytes:", [](R& r) { r.mutable_devices(0)->set_memory_bytes(-1); }},
      {"devices[0].slots:", [](R& r) { r.mutable_devices(0)->set_slots(0); }},
      {"devices[0].slots:", [](R& r) { r.mutable_devices(0)->set_slots(1 << 30); }},
      {"devices[0].held:",
       [](R& r) {
         for (int i = 0; i <= kMaxHeldPerDevice; ++i) SetId(i + 1, 1, r.mutable_devices(0)->add_held()->mutable_id());
       }},
      {"devices[0].held[0].id.point_id:", [](R& r) { r.mutable_devices(0)->mutable_held(0)->clear_id(); }},
      {"devices[0].held[0].id.point_id:",
       [](R& r) { r.mutable_devices(0)->mutable_held(0)->mutable_id()->set_point_id(-3); }},
      {"devices[0].held[0].id.attempt:",
       [](R& r) { r.mutable_devices(0)->mutable_held(0)->mutable_id()->set_attempt(0); }},
      {"devices[0].held[0].progress:", [](R& r) { r.mutable_devices(0)->mutable_held(0)->set_progress(1.5); }},
      {"devices[0].held[0].progress:", [](R& r) { r.mutable_devices(0)->mutable_held(0)->set_progress(kNan); }},
      {"devices[0].held[1].id:", [](R& r) { SetId(1, 1, r.mutable_devices(0)->add_held()->mutable_id()); }},
      {"results:",
       [](R& r) {
         for (int i = 0; i < kMaxReports; ++i) *r.add_results() = r.results(0);
       }},
      {"results[0].id.point_id:", [](R& r) { r.mutable_results(0)->clear_id(); }},
      {"results[0].device:", [](R& r) { r.mutable_results(0)->set_device("cpu 0"); }},
      {"results[0].result:", [](R& r) { r.mutable_results(0)->clear_result(); }},
      {"failures:",
       [](R& r) {
         for (int i = 0; i < kMaxReports; ++i) *r.add_failures() = r.failures(0);
       }},
      {"failures[0].id.attempt:", [](R& r) { r.mutable_failures(0)->mutable_id()->set_attempt(-1); }},
      {"failures[0].device:", [](R& r) { r.mutable_failures(0)->clear_device(); }},
      {"failures[0].cause:", [](R& r) { r.mutable_failures(0)->set_cause("bored"); }},
      {"failures[0].pack_size:", [](R& r) { r.mutable_failures(0)->set_pack_size(0); }},
      {"handed_back:",
       [](R& r) {
         for (int i = 0; i < kMaxReports; ++i) *r.add_handed_back() = r.handed_back(0);
       }},
      {"handed_back[0].id.point_id:", [](R& r) { r.mutable_handed_back(0)->mutable_id()->set_point_id(0); }},
      {"handed_back[0].checkpoint_backend:", [](R& r) { r.mutable_handed_back(0)->clear_checkpoint_backend(); }},
  };
}

TEST(CheckSyncRequestTest, EverySpoiledFieldIsRefusedByItsName) {
  for (const BadCase& c : BadCases()) {
    v1::SyncRequest request = GoodRequest();
    c.spoil(request);
    const auto sync = CheckSyncRequest(request);
    EXPECT_EQ(sync.status().code(), absl::StatusCode::kInvalidArgument) << c.field;
    EXPECT_THAT(std::string(sync.status().message()), StartsWith(c.field));
  }
}

TEST(CheckSyncRequestTest, FreeTextIsCutAtACharacterAndNotRefused) {
  v1::SyncRequest request = GoodRequest();
  std::string text(kMaxFreeTextBytes - 1, 'x');
  text += "\xE2\x82\xAC and more";
  request.mutable_failures(0)->set_message(text);
  request.mutable_devices(0)->set_reason(std::string("a\0b\x1b", 4));
  const auto sync = CheckSyncRequest(request);
  ASSERT_TRUE(sync.ok()) << sync.status();
  EXPECT_EQ(sync->failures[0].message, std::string(kMaxFreeTextBytes - 1, 'x'));
  EXPECT_EQ(sync->devices[0].reason, "a b ");
}

TEST(CheckSyncRequestTest, ADeviceWhoseTrainerIsNotUpMayNotKnowItsKind) {
  v1::SyncRequest request = GoodRequest();
  request.mutable_devices(0)->clear_kind();
  request.mutable_devices(0)->set_ready(false);
  EXPECT_TRUE(CheckSyncRequest(request).ok());
}

// ---------------------------------------------------------------- results

PointSpec SomePoint() {
  PointSpec point;
  point.steps = 100;
  return point;
}

DetailsPtr SomeDetails() {
  auto details = std::make_shared<store::PointDetails>();
  details->point = SomePoint();
  details->point_key = PointKey(details->point);
  return details;
}

absl::Status Check(const PointResult& result, const DetailsPtr& details = SomeDetails()) {
  return CheckResult(details,
                     {{PointId(1), AttemptNumber(1)}, "cpu:0", 0, std::make_shared<const PointResult>(result)});
}

TEST(CheckResultTest, APlausibleResultPassesAndOneOfAnUnknownPointDoesNot) {
  const PointResult result = testing_support::PlausibleResult(SomePoint());
  EXPECT_TRUE(Check(result).ok()) << Check(result);
  EXPECT_EQ(Check(result, nullptr).code(), absl::StatusCode::kNotFound);
}

TEST(CheckResultTest, ImpossibleResultsAreRefusedByField) {
  const std::vector<std::pair<const char*, std::function<void(PointResult&)>>> cases = {
      {"point_key", [](PointResult& r) { r.point_key = "0123"; }},
      {"items_mem", [](PointResult& r) { r.items_mem = -1; }},
      {"items_mem", [](PointResult& r) { r.items_mem = r.items_mem_best = 1'000'000; }},
      {"tokens_mem", [](PointResult& r) { r.tokens_mem = 1'000'000; }},
      {"targets", [](PointResult& r) { r.targets = 0; }},
      {"finite", [](PointResult& r) { r.train_loss = kNan; }},
      {"nll_bits", [](PointResult& r) { r.nll_bits = -1; }},
      {"params_total", [](PointResult& r) { ++r.params_total; }},
      {"stop_reason", [](PointResult& r) { r.stop_reason = "tired"; }},
      {"steps", [](PointResult& r) { r.steps = 101; }},
      {"device_kind", [](PointResult& r) { r.device_kind = std::string(300, 'k'); }},
      {"blas", [](PointResult& r) { r.blas = "a\nb"; }},
      {"threads", [](PointResult& r) { r.threads = -1; }},
  };
  for (const auto& [field, spoil] : cases) {
    PointResult result = testing_support::PlausibleResult(SomePoint());
    spoil(result);
    const absl::Status status = Check(result);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  }
}

}  // namespace
}  // namespace capsweep::service
