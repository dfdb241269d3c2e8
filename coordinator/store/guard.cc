#include "coordinator/store/guard.h"

#include <algorithm>
#include <array>
#include <string>

#include "common/status.h"
#include "common/text.h"

namespace capsweep::store {
namespace {

bool Contains(const auto& list, const char* word) {
  return word != nullptr && std::any_of(list.begin(), list.end(), [&](std::string_view w) {
           return sqlite3_stricmp(std::string(w).c_str(), word) == 0;
         });
}

// These only describe the schema.
bool IsHarmlessPragma(const char* name, const char* argument) {
  static constexpr std::array<std::string_view, 8> kDescribe = {"table_info",       "table_xinfo",  "table_list",
                                                                "index_list",       "index_info",   "index_xinfo",
                                                                "foreign_key_list", "database_list"};
  static constexpr std::array<std::string_view, 3> kReadOnlyWithoutArgument = {"user_version", "application_id",
                                                                               "page_count"};
  return Contains(kDescribe, name) || (argument == nullptr && Contains(kReadOnlyWithoutArgument, name));
}

int Authorize(void*, int action, const char* first, const char* second, const char*, const char*) {
  static constexpr std::array<std::string_view, 2> kForbiddenFunctions = {"load_extension", "fts3_tokenizer"};
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
      return SQLITE_OK;
    case SQLITE_FUNCTION:
      return Contains(kForbiddenFunctions, second) ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_PRAGMA:
      return IsHarmlessPragma(first, second) ? SQLITE_OK : SQLITE_DENY;
    default:
      return SQLITE_DENY;
  }
}

absl::Status Refuse(std::string_view where, std::string_view why) {
  return absl::InvalidArgumentError(
      StrCat("where '", where, "': ", why,
             "; give one SQL expression over the columns of v_results, such as \"heads = 2 "
             "AND width > 16\""));
}

// Position after the quoted text that starts at `start`, or npos. A doubled quote stands for itself: reading it as two
// texts gives the same end.
size_t SkipQuoted(std::string_view text, size_t start) {
  const char close = text[start] == '[' ? ']' : text[start];
  const size_t end = text.find(close, start + 1);
  return end == std::string_view::npos ? end : end + 1;
}

}  // namespace

absl::Status GuardConnection(Database& db, int64_t max_value_bytes) {
  RETURN_IF_ERROR(db.Execute("PRAGMA query_only = ON; PRAGMA cell_size_check = ON"));
  sqlite3* handle = db.handle();
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr);
  sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0);
  sqlite3_limit(handle, SQLITE_LIMIT_SQL_LENGTH, 1 << 20);
  sqlite3_limit(handle, SQLITE_LIMIT_EXPR_DEPTH, 200);
  sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, static_cast<int>(std::min<int64_t>(max_value_bytes, 1 << 30)));
  sqlite3_set_authorizer(handle, &Authorize, nullptr);
  return absl::OkStatus();
}

absl::Status CheckExpression(std::string_view where) {
  if (where.find_first_not_of(" \t\r\n") == std::string_view::npos || where.find('\0') != std::string_view::npos) {
    return Refuse("", "the expression is empty or holds a zero byte");
  }
  int depth = 0;
  for (size_t i = 0; i < where.size();) {
    const char c = where[i];
    if (c == '\'' || c == '"' || c == '`' || c == '[') {
      i = SkipQuoted(where, i);
      if (i == std::string_view::npos) {
        return Refuse(where, StrCat("the quote ", c, " is not closed"));
      }
      continue;
    }
    const std::string_view two = where.substr(i, 2);
    if (two == "--" || two == "/*" || c == ';') {
      return Refuse(where, "comments and semicolons are not allowed");
    }
    if (c == '?' || c == ':' || c == '@' || c == '$') {
      return Refuse(where, "parameters are not allowed");
    }
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (depth < 0) {
      break;
    }
    ++i;
  }
  return depth == 0 ? absl::OkStatus() : Refuse(where, "the parentheses do not pair up");
}

}  // namespace capsweep::store
