#include "common/data_file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep {
namespace {

using Json = nlohmann::ordered_json;

constexpr int32_t kMaxToken = 999'999;       // vocab is at most 1,000,000
constexpr int64_t kMaxColumns = 2 * 65'536;  // seq_len is at most 65,536

std::string_view Trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// A value for a message: short, printable, in quotes.
std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 40;
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) out += c >= ' ' && c <= '~' ? c : '?';
  return out + (text.size() > kShown ? "...'" : "'");
}

// Length of the well-formed UTF-8 sequence at the front (RFC 3629), 0 if there is none. `text` is not empty.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const auto follows = [&](size_t i, uint8_t low = 0x80, uint8_t high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const uint8_t low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
    return follows(1, low, high) && follows(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const uint8_t low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
    return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool IsHeader(std::string_view line) {
  const char c = line.front();
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '"' || (static_cast<uint8_t>(c) & 0x80);
}

// What is wrong with a token, or "".
std::string TokenProblem(std::string_view text, int32_t& token) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), token);
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  if (text.empty()) return "is empty; write a whole number, or remove the comma";
  if (text.front() == '-' && text.size() > 1 && text.find_first_not_of("0123456789.", 1) == std::string_view::npos) {
    return StrCat(Quoted(text), " is negative; number the tokens from 0");
  }
  if (!digits) return StrCat(Quoted(text), " is not a whole number; number the tokens from 0");
  if (error != std::errc() || token > kMaxToken) {
    return StrCat(Quoted(text), " is above ", kMaxToken, ", the largest token of any vocab; number the tokens from 0");
  }
  return "";
}

std::string TokenProblem(const Json& json, int32_t& token) {
  if (json.is_number_unsigned() && json.get<uint64_t>() <= static_cast<uint64_t>(kMaxToken)) {
    token = json.get<int32_t>();
    return "";
  }
  if (json.is_number_integer()) return TokenProblem(std::string_view(json.dump()), token);
  return StrCat(Quoted(json.dump(-1, ' ', true, Json::error_handler_t::replace)),
                " is not a whole number; number the tokens from 0");
}

// Which number of an item this is, in the words of the mode.
std::string FieldOf(int64_t column, int64_t seq_len) {
  return column < seq_len ? StrCat("token ", column + 1) : StrCat("target ", column - seq_len + 1);
}

// Sets of items by number, compared by their inputs: no copy.
struct ItemInputs {
  const DataFile* file;
  size_t bytes;
  std::string_view operator()(int64_t item) const {
    return {reinterpret_cast<const char*>(file->values.data() + item * file->columns), bytes};
  }
};
struct InputsHash {
  ItemInputs inputs;
  size_t operator()(int64_t item) const {
    const std::string_view content = inputs(item);
    return absl::HashOf(absl::string_view(content.data(), content.size()));
  }
};
struct InputsEqual {
  ItemInputs inputs;
  bool operator()(int64_t a, int64_t b) const { return inputs(a) == inputs(b); }
};

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void Add(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  std::string Hex() {
    std::array<unsigned char, 32> digest{};
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), digest.data(), &size);
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string hex;
    for (const unsigned char byte : digest) {
      hex += kDigits[byte >> 4];
      hex += kDigits[byte & 15];
    }
    return hex;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

// An open file that closes itself.
class Source {
 public:
  explicit Source(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  ~Source() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() > end.size() && text.substr(text.size() - end.size()) == end;
}

absl::Status CheckOpened(const Source& source, const std::string& path, int64_t max_bytes) {
  if (source.fd() < 0 && errno == ENOENT) {
    return absl::NotFoundError(
        StrCat("file: ", path, " does not exist on this machine; put it there, or correct the path"));
  }
  if (source.fd() < 0) return FromErrno(errno, StrCat("file: open ", path));
  struct stat info;
  if (fstat(source.fd(), &info) != 0) return FromErrno(errno, StrCat("file: stat ", path));
  if (S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(StrCat("file: ", path, " is a folder; name a .csv or .jsonl file in it"));
  }
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(StrCat("file: ", path, " is not a regular file"));
  if (info.st_size > max_bytes) {
    return absl::InvalidArgumentError(StrCat("file: ", path, " has ", static_cast<int64_t>(info.st_size),
                                             " bytes, more than ", max_bytes, "; take fewer items"));
  }
  return absl::OkStatus();
}

}  // namespace

DataParser::DataParser(std::string name, DataFormat format) : format_(format) {
  file_.name = std::move(name);
}

absl::Status DataParser::Feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t newline = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, newline);
    if (static_cast<int64_t>(rest_.size() + piece.size()) > kMaxDataLineBytes) {
      return Fail(line_ + 1, StrCat("is longer than ", kMaxDataLineBytes, " bytes; write one item a line"));
    }
    if (newline == std::string_view::npos) {
      rest_ += piece;
      return absl::OkStatus();
    }
    bytes.remove_prefix(newline + 1);
    if (rest_.empty()) {
      RETURN_IF_ERROR(Line(piece));
    } else {
      rest_ += piece;
      RETURN_IF_ERROR(Line(std::exchange(rest_, std::string())));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<DataFile> DataParser::Finish() {
  if (!rest_.empty()) RETURN_IF_ERROR(Line(std::exchange(rest_, std::string())));
  if (file_.items == 0) {
    return absl::InvalidArgumentError(StrCat(file_.name, ": the file holds no items; write one a line"));
  }
  return std::move(file_);
}

absl::Status DataParser::Line(std::string_view line) {
  ++line_;
  if (line_ == 1 && line.substr(0, 3) == "\xEF\xBB\xBF") line.remove_prefix(3);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (line.find('\0') != std::string_view::npos) return Fail(line_, "holds a NUL byte; save the file as UTF-8 text");
  if (!IsUtf8(line)) return Fail(line_, "is not UTF-8; save the file as UTF-8 text");
  line = Trimmed(line);
  if (line.empty()) {
    if (blank_line_ == 0) blank_line_ = line_;
    return absl::OkStatus();
  }
  if (blank_line_ != 0) return Fail(blank_line_, "is blank; remove it");
  if (file_.items == 0 && line_ == 1 && format_ == DataFormat::kCsv && IsHeader(line)) return absl::OkStatus();
  if (file_.items == 0) file_.first_line = line_;
  return format_ == DataFormat::kCsv ? CsvItem(line) : JsonItem(line);
}

absl::Status DataParser::CsvItem(std::string_view line) {
  for (int64_t column = 1;; ++column) {
    const size_t comma = line.find(',');
    int32_t token = 0;
    const std::string problem = TokenProblem(Trimmed(line.substr(0, comma)), token);
    if (!problem.empty()) return Fail(line_, StrCat("column ", column, ": ", problem));
    file_.values.push_back(token);
    if (comma == std::string_view::npos) return EndItem(0);
    line.remove_prefix(comma + 1);
  }
}

absl::Status DataParser::JsonItem(std::string_view line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Fail(line_, "is not JSON; write a list such as [1, 2, 3], one item a line");
  const auto add = [&](const Json& list, std::string_view field) -> absl::Status {
    if (!list.is_array()) return Fail(line_, StrCat(field, ": is not a list; write whole numbers in [ ]"));
    for (size_t i = 0; i < list.size(); ++i) {
      int32_t token = 0;
      const std::string problem = TokenProblem(list[i], token);
      if (!problem.empty()) return Fail(line_, StrCat(field, " ", static_cast<int64_t>(i + 1), ": ", problem));
      file_.values.push_back(token);
    }
    return absl::OkStatus();
  };
  if (json.is_array()) {
    RETURN_IF_ERROR(add(json, "number"));
    return EndItem(0);
  }
  if (!json.is_object()) return Fail(line_, "is neither a list nor an object; write a list such as [1, 2, 3]");
  for (const auto& [key, value] : json.items()) {
    if (key != "tokens" && key != "targets" && key != "label") {
      return Fail(line_, StrCat("field ", Quoted(key), " is unknown; use tokens, with targets or label"));
    }
  }
  if (!json.contains("tokens")) return Fail(line_, "tokens: is missing; write \"tokens\": [1, 2, 3]");
  if (json.contains("targets") && json.contains("label")) {
    return Fail(line_, "targets and label are both given; keep one of them");
  }
  RETURN_IF_ERROR(add(json["tokens"], "tokens"));
  const auto inputs = static_cast<int64_t>(json["tokens"].size());
  if (json.contains("targets")) RETURN_IF_ERROR(add(json["targets"], "targets"));
  if (json.contains("label")) RETURN_IF_ERROR(add(Json::array({json["label"]}), "label"));
  if (inputs == 0) return Fail(line_, "tokens: is empty; an item needs at least one");
  return EndItem(inputs);
}

absl::Status DataParser::EndItem(int64_t inputs) {
  const int64_t columns = static_cast<int64_t>(file_.values.size()) - file_.items * file_.columns;
  if (columns == 0) return Fail(line_, "holds no numbers; an item needs at least one");
  if (columns > kMaxColumns) return Fail(line_, StrCat("has ", columns, " numbers, more than ", kMaxColumns));
  if (file_.items == 0) {
    file_.columns = columns;
    file_.inputs = inputs;
  }
  const auto words = [](int64_t n, int64_t of_inputs) {
    return of_inputs == 0 ? StrCat(n, n == 1 ? " number" : " numbers")
                          : StrCat(of_inputs, " tokens and ", n - of_inputs, " targets");
  };
  if (columns != file_.columns || inputs != file_.inputs) {
    return Fail(line_, StrCat("has ", words(columns, inputs), ", but line ", file_.first_line, " has ",
                              words(file_.columns, file_.inputs), "; give all items the same length and form"));
  }
  ++file_.items;
  return absl::OkStatus();
}

absl::Status DataParser::Fail(int64_t line, std::string_view message) const {
  return absl::InvalidArgumentError(StrCat(file_.name, ":", line, ": ", message));
}

absl::StatusOr<DataFile> ParseData(std::string_view bytes, DataFormat format, const std::string& name) {
  DataParser parser(name, format);
  RETURN_IF_ERROR(parser.Feed(bytes));
  return parser.Finish();
}

absl::StatusOr<DataFile> LoadDataFile(const std::string& path, int64_t max_bytes) {
  const bool jsonl = EndsWith(path, ".jsonl");
  const Source source(path);
  RETURN_IF_ERROR(CheckOpened(source, path, max_bytes));
  if (!jsonl && !EndsWith(path, ".csv")) {
    return absl::InvalidArgumentError(StrCat("file: ", path, " ends neither in .csv nor in .jsonl; rename it"));
  }
  DataParser parser(path, jsonl ? DataFormat::kJsonl : DataFormat::kCsv);
  Sha256 sha256;
  std::vector<char> buffer(size_t{1} << 20);
  int64_t bytes = 0;
  while (true) {
    const ssize_t got = read(source.fd(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FromErrno(errno, StrCat("file: read ", path));
    if (got == 0) break;
    bytes += got;
    if (bytes > max_bytes) {  // it grew meanwhile
      return absl::InvalidArgumentError(StrCat("file: ", path, " has more than ", max_bytes, " bytes"));
    }
    const std::string_view piece(buffer.data(), static_cast<size_t>(got));
    sha256.Add(piece);
    RETURN_IF_ERROR(parser.Feed(piece));
  }
  ASSIGN_OR_RETURN(DataFile file, parser.Finish());
  file.sha256 = sha256.Hex();
  return file;
}

absl::StatusOr<DataShape> ShapeOf(const DataFile& file, Mode mode) {
  const auto fail = [&](std::string_view message) {
    return absl::InvalidArgumentError(StrCat(file.name, ":", file.first_line, ": ", message));
  };
  DataShape shape;
  shape.items = file.items;
  const bool said = file.inputs > 0;
  const int64_t columns = file.columns;
  switch (mode) {
    case Mode::kLabel:
      shape.seq_len = said ? file.inputs : columns - 1;
      shape.targets = 1;
      if (shape.seq_len < 1 || columns - shape.seq_len != 1) {
        return fail("mode label needs tokens and, last, one label for every item");
      }
      break;
    case Mode::kSeq:
      shape.seq_len = shape.targets = said ? file.inputs : columns / 2;
      if (shape.seq_len < 1 || columns != 2 * shape.seq_len) {
        return fail("mode seq needs as many targets as tokens for every item; in a list the first half are tokens");
      }
      break;
    case Mode::kLm:
      shape.seq_len = said ? file.inputs : columns;
      if (columns != shape.seq_len) return fail("mode lm predicts the tokens themselves; leave targets and label out");
      break;
  }
  shape.largest = *std::max_element(file.values.begin(), file.values.end());
  const ItemInputs inputs{&file, static_cast<size_t>(shape.seq_len) * sizeof(int32_t)};
  absl::flat_hash_set<int64_t, InputsHash, InputsEqual> seen(0, InputsHash{inputs}, InputsEqual{inputs});
  seen.reserve(static_cast<size_t>(file.items));
  for (int64_t item = 0; item < file.items; ++item) {
    if (const auto [first, inserted] = seen.insert(item); !inserted) {
      return absl::InvalidArgumentError(StrCat(file.name, ":", file.first_line + item, ": has the same tokens as line ",
                                               file.first_line + *first,
                                               "; every item needs an input of its own, remove one of them"));
    }
  }
  return shape;
}

absl::Status CheckDataFits(const DataFile& file, const PointSpec& point) {
  ASSIGN_OR_RETURN(const DataShape shape, ShapeOf(file, point.mode));
  return CheckDataFits(file, shape, point);
}

absl::Status CheckDataFits(const DataFile& file, const DataShape& shape, const PointSpec& point) {
  if (file.sha256 != point.file_hash) {
    return absl::FailedPreconditionError(StrCat("file_hash: ", file.name, " has the SHA-256 ", file.sha256,
                                                ", but the point means ", point.file_hash,
                                                "; the file was changed: restore it, or submit the sweep file again"));
  }
  if (shape.seq_len != point.seq_len) {
    return absl::InvalidArgumentError(StrCat("seq_len: ", point.seq_len, " is not the ", shape.seq_len,
                                             " tokens of the items in ", file.name, "; use ", shape.seq_len));
  }
  if (shape.items < point.dataset_size + point.heldout_size) {
    return absl::InvalidArgumentError(StrCat("dataset_size: ", point.dataset_size, " and heldout_size ",
                                             point.heldout_size, " are more than the ", shape.items, " items of ",
                                             file.name, "; lower them"));
  }
  if (shape.largest < point.vocab) return absl::OkStatus();
  const auto large = std::find_if(file.values.begin(), file.values.end(), [&](int32_t v) { return v >= point.vocab; });
  const int64_t at = large - file.values.begin();
  return absl::InvalidArgumentError(StrCat(file.name, ":", file.first_line + at / file.columns, ": ",
                                           FieldOf(at % file.columns, shape.seq_len), ": ", *large, " is not in 0..",
                                           point.vocab - 1, "; use vocab ", shape.largest + 1, " or more"));
}

}  // namespace capsweep
