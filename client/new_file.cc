#include "client/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "client/terminal.h"

namespace cascade::client {

std::unique_ptr<NewFile> NewFile::Open(const std::string& path) {
  struct stat existing {};
  std::string temporary;
  int fd = -1;
  if (path == "-") {
    fd = dup(STDOUT_FILENO);
  } else if (stat(path.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode)) {
    fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    temporary = path + ".XXXXXX";
    fd = mkostemp(temporary.data(), O_CLOEXEC);  // mode 0600
  }
  std::FILE* file = fd < 0 ? nullptr : fdopen(fd, "wb");
  if (file != nullptr) return std::unique_ptr<NewFile>(new NewFile(path, std::move(temporary), file));
  PrintError("cannot write " + path + ": " + std::strerror(errno));
  return nullptr;
}

NewFile::~NewFile() {
  if (file_ != nullptr) std::fclose(file_);
  if (!temporary_.empty()) std::remove(temporary_.c_str());
}

bool NewFile::Failed() {
  PrintError("cannot write " + (path_ == "-" ? "standard output" : path_) + ": " + std::strerror(errno));
  return false;
}

bool NewFile::Write(std::string_view bytes) {
  return std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size() || Failed();
}

bool NewFile::Commit() {
  const bool written = std::fflush(file_) == 0 && (temporary_.empty() || fsync(fileno(file_)) == 0);
  if (!written) return Failed();
  if (std::fclose(std::exchange(file_, nullptr)) != 0) return Failed();
  if (temporary_.empty()) return true;
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return Failed();
  temporary_.clear();
  return true;
}

}  // namespace cascade::client
