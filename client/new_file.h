#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

namespace cascade::client {

// A file that is there wholly or not at all: written beside its name, which it gets at the end, replacing what had it.
// Only its owner may read it. "-" is standard output; what exists and is no regular file, such as a pipe or a device,
// is written as it is. Errors are printed.
class NewFile {
 public:
  // Null if that fails.
  static std::unique_ptr<NewFile> Open(const std::string& path);
  // Leaves nothing unless Commit has been called.
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  bool Write(std::string_view bytes);
  // Everything is on the disk, under its name. Once.
  bool Commit();

 private:
  NewFile(std::string path, std::string temporary, std::FILE* file)
      : path_(std::move(path)), temporary_(std::move(temporary)), file_(file) {}
  bool Failed();

  const std::string path_;
  std::string temporary_;  // "": written as it is
  std::FILE* file_;        // null: closed
};

}  // namespace cascade::client
