#include "client/score_log.h"

#include <cerrno>
#include <cmath>
#include <cstring>

#include "client/terminal.h"

namespace cascade::client {
namespace {

template <class Values>
void WriteArray(std::FILE* file, const char* name, const Values& values, bool last) {
  std::fprintf(file, "\"%s\": [", name);
  for (int i = 0; i < values.size(); ++i) {
    if (i > 0) std::fputs(i % 20 == 0 ? ",\n" : ",", file);
    const double value = values[i];
    // Nine digits carry a float unchanged, and any id.
    if (std::isfinite(value)) {
      std::fprintf(file, "%.9g", value);
    } else {
      std::fputs("null", file);
    }
  }
  std::fputs(last ? "]\n" : "],\n", file);
}

}  // namespace

std::unique_ptr<ScoreLog> ScoreLog::Open(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file != nullptr) return std::unique_ptr<ScoreLog>(new ScoreLog(path, file));
  PrintError("cannot write " + path + ": " + std::strerror(errno));
  return nullptr;
}

ScoreLog::~ScoreLog() {
  if (file_ != nullptr) std::fclose(file_);
}

bool ScoreLog::Close() {
  std::fputs("{", file_);
  WriteArray(file_, "token_ids", scored_.token_ids(), false);
  WriteArray(file_, "logprobs", scored_.logprobs(), false);
  WriteArray(file_, "top_ids", scored_.top_ids(), false);
  WriteArray(file_, "top_margins", scored_.top_margins(), true);
  std::fputs("}\n", file_);
  const bool failed = std::ferror(file_) != 0;
  const bool closed = std::fclose(file_) == 0;
  file_ = nullptr;
  if (!failed && closed) return true;
  PrintError("cannot write " + path_ + ": " + std::strerror(errno));
  return false;
}

}  // namespace cascade::client
