// The report of a sweep as one HTML page. Pure: everything it says is in its input.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/figures/figures.h"
#include "coordinator/store/reader.h"

namespace capsweep::cli {

struct ReportFacts {
  store::SweepProgress progress;
  std::string file_name, text, measure;  // the sweep file
  std::string source;                    // where it was read from
  std::string made_at, made_by;          // when the report was made; the program and its version
  std::string first_result, last_result;
  double training_seconds = 0;
  int64_t results = 0, seeds = 0, by_budget = 0;  // by_budget: runs that ended with their budget
  struct Device {
    std::string backend, kind, name, host, version;
    int64_t points = 0;
    double seconds = 0;
  };
  std::vector<Device> devices;
  struct Failure {
    std::string reason;
    int64_t points = 0;
  };
  std::vector<Failure> failures;
};

// A figure as it was drawn, or why it was not.
struct ReportFigure {
  const figures::FigureKind* kind = nullptr;
  std::string svg;  // "": `why_not`
  std::vector<std::string> notes;
  std::string why_not;
};

// Everything that comes from data is escaped. `data` holds groups and fit.
std::string ReportHtml(const ReportFacts& facts, const figures::FigureData& data,
                       const std::vector<ReportFigure>& drawn);

// What the numbers of a sweep do not show, in sentences; each is a comparison of figures that the report prints.
std::vector<std::string> MissingSentences(const ReportFacts& facts, const figures::FigureData& data);

// What a fit says: the preferred form, the held-out rows, saturation, what is not identified.
std::vector<std::string> FitSentences(const ecm::GroupFit& fit);

}  // namespace capsweep::cli
