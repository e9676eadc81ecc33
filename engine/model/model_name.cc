#include "engine/model/model_name.h"

#include <filesystem>
#include <system_error>

#include "engine/text/utf8.h"

namespace cascade {
namespace {

bool IsUnprintable(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069);
}

}  // namespace

std::string PrintableName(std::string_view name) {
  std::string printable;
  for (size_t pos = 0; pos < name.size();) {
    const size_t begin = pos;
    if (IsUnprintable(NextCodePoint(name, &pos))) {
      printable += ' ';
    } else {
      printable += name.substr(begin, pos - begin);
    }
  }
  return printable;
}

std::string NameOfPath(const std::string& path) {
  std::error_code error;
  std::filesystem::path whole = std::filesystem::absolute(path, error).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  std::string name = whole.filename().string();
  constexpr std::string_view kCached = "models--";
  const std::filesystem::path parent = whole.parent_path();
  if (parent.filename() == "snapshots") {
    if (std::string repository = parent.parent_path().filename().string(); repository.starts_with(kCached)) {
      name = repository.substr(kCached.size());
      if (const size_t mark = name.find("--"); mark != std::string::npos) name.replace(mark, 2, "/");
    }
  }
  if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  std::string valid;
  AppendValidUtf8(name, &valid);
  return PrintableName(valid);
}

}  // namespace cascade
