// Models from bytes in memory, read at the edge of a page that must not be touched.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/file.h"
#include "engine/model/gguf_model.h"
#include "kernels/base/check.h"
#include "tests/support/gguf_writer.h"

namespace cascade {

// The bytes end where an unreadable page begins: reading one byte too many is a crash, not luck.
class GuardedFile final : public MappedFile {
 public:
  explicit GuardedFile(std::string_view bytes) : size_(bytes.size()) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    readable_ = (size_ + page - 1) / page * page;
    mapped_ = readable_ + page;
    void* const base = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CASCADE_CHECK(base != MAP_FAILED);
    base_ = static_cast<uint8_t*>(base);
    CASCADE_CHECK(mprotect(base_ + readable_, page, PROT_NONE) == 0);
    if (size_ > 0) std::memcpy(base_ + readable_ - size_, bytes.data(), size_);
  }
  ~GuardedFile() override { munmap(base_, mapped_); }
  GuardedFile(const GuardedFile&) = delete;
  GuardedFile& operator=(const GuardedFile&) = delete;

  std::span<const uint8_t> bytes() const override { return {base_ + readable_ - size_, size_}; }

 private:
  size_t size_;
  size_t readable_ = 0;
  size_t mapped_ = 0;
  uint8_t* base_ = nullptr;
};

// Files that are only in memory, each mapped at such an edge.
class MemoryFiles final : public FileSystem {
 public:
  std::map<std::string, std::string> contents;  // by path

  absl::StatusOr<std::unique_ptr<MappedFile>> Map(const std::string& path) override {
    const auto it = contents.find(path);
    if (it == contents.end()) return absl::NotFoundError(path + ": cannot open: No such file or directory");
    return std::make_unique<GuardedFile>(it->second);
  }
};

inline absl::StatusOr<std::unique_ptr<ModelSource>> OpenBytes(std::string_view bytes) {
  MemoryFiles files;
  files.contents["model.gguf"] = bytes;
  return OpenGgufModel(files, "model.gguf");
}
inline absl::StatusOr<std::unique_ptr<ModelSource>> Open(const GgufWriter& writer) { return OpenBytes(writer.Build()); }

}  // namespace cascade
