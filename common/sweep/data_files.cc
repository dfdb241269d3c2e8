#include "common/sweep/data_files.h"

#include <filesystem>
#include <utility>

#include "common/status.h"
#include "common/sweep/errors.h"
#include "common/text.h"

namespace capsweep::sweep {

absl::Status LoadDataFiles(SweepSpec& spec) {
  Errors errors(spec.file_name);
  for (const Axis& axis : spec.axes) {
    if (axis.field == "file_hash") {
      errors.Add(axis.line, axis.field, "is worked out from the file; leave it out");
    }
    if (axis.field != "file") continue;
    for (const Scalar& value : axis.values) {
      const auto& text = std::get<std::string>(value);
      std::filesystem::path path(text);
      if (path.is_relative() && spec.folder.empty()) {
        errors.Add(axis.line, axis.field,
                   StrCat(text, " is a relative path, which means nothing here; write it from /"));
        continue;
      }
      path = (std::filesystem::path(spec.folder) / path).lexically_normal();
      absl::StatusOr<DataFile> file = LoadDataFile(path.string());
      if (!file.ok()) {
        errors.Add(axis.line, axis.field, file.status());
        continue;
      }
      SweepDataFile loaded{path.string(), std::make_shared<const DataFile>(*std::move(file)), {}};
      for (const Mode mode : {Mode::kLabel, Mode::kSeq, Mode::kLm}) {
        loaded.shapes.emplace(mode, ShapeOf(*loaded.file, mode));
      }
      spec.data_files[text] = std::move(loaded);
    }
  }
  RETURN_IF_ERROR(errors.ToStatus());
  for (SweepSpec& study : spec.studies) {
    study.folder = spec.folder;
    RETURN_IF_ERROR(LoadDataFiles(study));
  }
  return absl::OkStatus();
}

absl::Status CheckDataFile(const SweepDataFile& file, const PointSpec& point) {
  const absl::StatusOr<DataShape>& shape = file.shapes.at(point.mode);
  return shape.ok() ? CheckDataFits(*file.file, *shape, point) : shape.status();
}

}  // namespace capsweep::sweep
