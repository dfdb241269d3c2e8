#include "coordinator/service/table_reply.h"

#include <cstdint>
#include <string>
#include <variant>

#include "common/text.h"
#include "coordinator/service/limits.h"

namespace capsweep::service {
namespace {

void FillValue(const store::Cell& cell, v1::Value* out) {
  if (const auto* integer = std::get_if<int64_t>(&cell)) {
    out->set_integer(*integer);
  } else if (const auto* real = std::get_if<double>(&cell)) {
    out->set_real(*real);
  } else if (const auto* text = std::get_if<std::string>(&cell)) {
    IsUtf8(*text) ? out->set_text(*text) : out->set_blob(*text);
  } else {
    out->set_null(true);
  }
}

}  // namespace

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t size = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if ((lead >= 0x80 && lead < 0xC2) || lead > 0xF4 || i + size > text.size()) {
      return false;
    }
    uint32_t code = size == 1 ? lead : lead & (0xFFu >> (size + 1));
    for (size_t k = 1; k < size; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0) != 0x80) {
        return false;
      }
      code = code << 6 | (next & 0x3Fu);
    }
    const bool overlong = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
    if (overlong || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
      return false;
    }
    i += size;
  }
  return true;
}

absl::StatusOr<size_t> FillTable(const store::Table& table, v1::TableResponse* response) {
  for (const std::string& column : table.columns) {
    response->add_columns(column);
  }
  constexpr size_t kRowOverhead = 5;  // tag and length
  size_t bytes = response->ByteSizeLong();
  size_t written = 0;
  for (const std::vector<store::Cell>& row : table.rows) {
    v1::Row* out = response->add_rows();
    for (const store::Cell& cell : row) {
      FillValue(cell, out->add_values());
    }
    bytes += out->ByteSizeLong() + kRowOverhead;
    if (bytes > kMaxReplyBytes) {
      response->mutable_rows()->RemoveLast();
      break;
    }
    ++written;
  }
  if (written == 0 && !table.rows.empty()) {
    return absl::ResourceExhaustedError(
        StrCat("one row is larger than ", kMaxReplyBytes >> 20, " MiB; select fewer or shorter columns"));
  }
  response->set_truncated(table.truncated || written < table.rows.size());
  return written;
}

}  // namespace capsweep::service
