// A file of an agent's spool. An even first byte: the bytes as they are; odd: with the checksum that fits them, so that
// what is behind it is reached.
#include "common/hash.h"
#include "common/text.h"
#include "tests/fuzz/target.h"
#include "worker/agent/report.h"

using namespace capsweep;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  std::string bytes(fuzz::Text(data + 1, size - 1));
  if ((data[0] & 1) != 0) {
    bytes = StrCat("capsweep-report 1 ", Sha256Hex(bytes), "\n", bytes);
  }
  std::vector<std::string> parts;
  for (const std::string_view part : agent::SplitReports(bytes).reports) {
    parts.emplace_back(part);
  }
  fuzz::Require(bytes.ends_with(StrJoin(parts, "\n")), "cutting a file into reports loses nothing of them");
  const absl::StatusOr<agent::Report> report = agent::DecodeReport(bytes);
  if (!report.ok()) {
    return 0;
  }
  fuzz::Require((report->kind == agent::ReportKind::kResult) == (report->result != nullptr), "a result is there");
  (void)agent::WireBytes(*report);
  const std::string once = agent::EncodeReport(*report);
  const absl::StatusOr<agent::Report> again = agent::DecodeReport(once);
  fuzz::Require(again.ok() && agent::EncodeReport(*again) == once, "what is written reads the same");
  return 0;
}
