#include "engine/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

class Mapping final : public MappedFile {
 public:
  Mapping(void* data, size_t size) : data_(data), size_(size) {}
  ~Mapping() override { munmap(data_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  std::span<const uint8_t> bytes() const override { return {static_cast<const uint8_t*>(data_), size_}; }
  void Prefetch(std::span<const uint8_t> part) const override { Advise(part, MADV_WILLNEED); }
  void Release(std::span<const uint8_t> part) const override { Advise(part, MADV_DONTNEED); }

 private:
  // To the pages that lie wholly in `part`. A hint: failure is of no consequence.
  void Advise(std::span<const uint8_t> part, int advice) const {
    const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const uintptr_t address = reinterpret_cast<uintptr_t>(part.data());
    const uintptr_t begin = (address + page - 1) / page * page;
    const uintptr_t end = (address + part.size()) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, advice);
  }

  void* data_;
  size_t size_;
};

class RealFileSystem final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<MappedFile>> Map(const std::string& path) override {
    if (path.empty()) return absl::InvalidArgumentError("file name is empty");
    if (path.find('\0') != std::string::npos) return absl::InvalidArgumentError("file name contains a zero byte");
    // O_NONBLOCK: opening a pipe must not wait for its writer; it has no effect on regular files.
    const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
    struct stat info;
    if (fstat(file.get(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot read its size"));
    if (S_ISDIR(info.st_mode))
      return absl::InvalidArgumentError(absl::StrCat(path, ": is a directory, expected a file"));
    if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": is not a regular file"));
    if (info.st_size <= 0) return absl::InvalidArgumentError(absl::StrCat(path, ": is empty"));
    if (static_cast<uint64_t>(info.st_size) > std::numeric_limits<size_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": is larger than the address space"));
    }
    const size_t size = static_cast<size_t>(info.st_size);
    void* const data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot map ", size, " bytes"));
    return std::make_unique<Mapping>(data, size);
  }
};

}  // namespace

FileSystem& FileSystem::Real() {
  static RealFileSystem* const real = new RealFileSystem;
  return *real;
}

}  // namespace cascade
