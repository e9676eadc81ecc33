#include "engine/base/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

using absl::StatusCode;

constexpr StatusCode kReadFault = StatusCode::kDataLoss;
// For every open below the folder. O_NONBLOCK: a pipe must not wait for its other end; no effect on regular files.
constexpr int kOpenFlags = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
constexpr char kReading[] = "reading a session's file";
constexpr char kWriting[] = "writing a session's file";
constexpr char kOpening[] = "opening a session's file";
constexpr char kLocking[] = "locking a session's file";

bool IsName(std::string_view name) {
  constexpr char kAllowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

absl::Status Error(StatusCode code, const char* operation, const char* reason) {
  return absl::Status(code, absl::StrCat(operation, ": ", reason));
}

absl::Status ErrorOf(int error, const char* operation, StatusCode device_failed = StatusCode::kInternal) {
  if (error == EIO) return Error(device_failed, operation, "the device failed");
  // absl's UNAVAILABLE would say that somebody has the lock.
  if (error == ENOLCK) return Error(StatusCode::kResourceExhausted, operation, "no lock is left");
  // O_NOFOLLOW met a symbolic link, or O_NONBLOCK a pipe that nobody reads.
  if (error == ELOOP || error == ENXIO) return Error(StatusCode::kFailedPrecondition, operation, "not a regular file");
  return absl::ErrnoToStatus(error, operation);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct OpenedFile {
  Descriptor descriptor;
  int64_t size;
};

class RealWritableFile final : public WritableFile {
 public:
  RealWritableFile(Descriptor file, int64_t size) : file_(std::move(file)), size_(size) {}

  absl::Status Append(std::span<const uint8_t> bytes) override {
    if (failed_) return GivenUp();
    for (std::span<const uint8_t> rest = bytes; !rest.empty();) {
      const ssize_t count = write(file_.get(), rest.data(), rest.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        failed_ = true;
        return ErrorOf(count < 0 ? errno : EIO, kWriting);
      }
      rest = rest.subspan(static_cast<size_t>(count));
    }
    size_ += static_cast<int64_t>(bytes.size());
    return absl::OkStatus();
  }
  absl::Status Sync() override {
    if (failed_) return GivenUp();
    if (fdatasync(file_.get()) == 0) return absl::OkStatus();
    failed_ = true;
    return ErrorOf(errno, "making a session's file durable");
  }
  int64_t size() const override { return size_; }

 private:
  static absl::Status GivenUp() {
    return Error(StatusCode::kFailedPrecondition, kWriting, "it failed before and was given up");
  }

  const Descriptor file_;  // O_APPEND
  int64_t size_;
  bool failed_ = false;
};

class RealReadableFile final : public ReadableFile {
 public:
  RealReadableFile(Descriptor file, int64_t size) : file_(std::move(file)), size_(size) {}

  int64_t size() const override { return size_; }
  absl::Status Read(int64_t offset, std::span<uint8_t> out) override {
    if (offset < 0 || offset > size_ || out.size() > static_cast<uint64_t>(size_ - offset)) return BeyondEnd();
    while (!out.empty()) {
      const ssize_t count = pread(file_.get(), out.data(), out.size(), offset);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return count == 0 ? BeyondEnd() : ErrorOf(errno, kReading, kReadFault);
      offset += count;
      out = out.subspan(static_cast<size_t>(count));
    }
    return absl::OkStatus();
  }

 private:
  static absl::Status BeyondEnd() { return Error(StatusCode::kOutOfRange, kReading, "it ends before"); }

  const Descriptor file_;
  const int64_t size_;
};

// An open-file-description lock on byte 0: unlike the locks of a process it also keeps out this process's other users,
// and is not lost when another descriptor of the file is closed.
struct flock LockOfByte0(short type) {
  return {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1, .l_pid = 0};
}

class RealFileLock final : public FileLock {
 public:
  explicit RealFileLock(Descriptor file) : file_(std::move(file)) {}
  // Unlocked by hand: a child between fork and exec has the descriptor too, and closing ours would leave it locked.
  ~RealFileLock() override {
    struct flock lock = LockOfByte0(F_UNLCK);
    fcntl(file_.get(), F_OFD_SETLK, &lock);
  }

 private:
  const Descriptor file_;
};

class RealDirectory final : public Directory {
 public:
  explicit RealDirectory(Descriptor folder) : folder_(std::move(folder)) {}

  absl::StatusOr<std::vector<std::string>> List() override {
    constexpr char kListing[] = "listing the session folder";
    // A descriptor of its own: readdir moves the position.
    Descriptor folder(openat(folder_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() < 0) return ErrorOf(errno, kListing, kReadFault);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(folder.get()), closedir);
    if (!stream) return ErrorOf(errno, kListing, kReadFault);
    folder.Release();
    std::vector<std::string> names;
    for (;;) {
      errno = 0;
      const dirent* const entry = readdir(stream.get());
      if (entry == nullptr && errno != 0) return ErrorOf(errno, kListing, kReadFault);
      if (entry == nullptr) return names;
      if (!IsName(entry->d_name)) continue;
      // Most file systems say it here, and one of many thousand files should not be asked for each.
      if (entry->d_type == DT_REG) names.emplace_back(entry->d_name);
      if (entry->d_type != DT_UNKNOWN) continue;
      struct stat info;
      const bool found = fstatat(folder_.get(), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0;
      if (!found && errno != ENOENT) return ErrorOf(errno, kListing, kReadFault);
      if (found && S_ISREG(info.st_mode)) names.emplace_back(entry->d_name);
    }
  }

  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenRead(const std::string& name) override {
    absl::StatusOr<OpenedFile> file = OpenFile(name, O_RDONLY, kOpening);
    if (!file.ok()) return file.status();
    return std::make_unique<RealReadableFile>(std::move(file->descriptor), file->size);
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& name) override {
    absl::StatusOr<OpenedFile> file =
        OpenFile(name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL, "creating a session's file");
    if (!file.ok()) return file.status();
    return std::make_unique<RealWritableFile>(std::move(file->descriptor), 0);
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenAppend(const std::string& name, int64_t size) override {
    absl::StatusOr<OpenedFile> file = OpenFile(name, O_WRONLY | O_APPEND, kOpening);
    if (!file.ok()) return file.status();
    if (file->size != size) return Error(StatusCode::kFailedPrecondition, kOpening, "its size is not the expected one");
    return std::make_unique<RealWritableFile>(std::move(file->descriptor), size);
  }

  absl::Status Link(const std::string& from, const std::string& to) override {
    CASCADE_CHECK(IsName(from) && IsName(to));
    return Done(linkat(folder_.get(), from.c_str(), folder_.get(), to.c_str(), 0), "linking a session's file");
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    CASCADE_CHECK(IsName(from) && IsName(to));
    return Done(renameat(folder_.get(), from.c_str(), folder_.get(), to.c_str()), "renaming a session's file");
  }
  absl::Status Remove(const std::string& name) override {
    CASCADE_CHECK(IsName(name));
    return Done(unlinkat(folder_.get(), name.c_str(), 0), "removing a session's file");
  }
  absl::Status Sync() override { return Done(fsync(folder_.get()), "making the session folder durable"); }
  absl::StatusOr<bool> Exists(const std::string& name) override {
    CASCADE_CHECK(IsName(name));
    struct stat info;
    if (fstatat(folder_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) return true;
    if (errno == ENOENT) return false;
    return ErrorOf(errno, "looking up a session's file", kReadFault);
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& name) override {
    for (;;) {
      absl::StatusOr<OpenedFile> file = OpenFile(name, O_RDWR | O_CREAT, kLocking);
      if (!file.ok()) return file.status();
      struct flock lock = LockOfByte0(F_WRLCK);
      if (fcntl(file->descriptor.get(), F_OFD_SETLK, &lock) != 0) {
        if (errno != EAGAIN && errno != EACCES) return ErrorOf(errno, kLocking);
        return Error(StatusCode::kUnavailable, kLocking, "another holder has it");
      }
      // Whoever held the lock before may have removed the name meanwhile; then this locks a file that nobody finds.
      struct stat info;
      if (fstat(file->descriptor.get(), &info) != 0) return ErrorOf(errno, kLocking);
      if (info.st_nlink > 0) return std::make_unique<RealFileLock>(std::move(file->descriptor));
    }
  }
  absl::StatusOr<bool> IsLocked(const std::string& name) override {
    const absl::StatusOr<OpenedFile> file = OpenFile(name, O_RDONLY, kLocking);
    if (absl::IsNotFound(file.status())) return false;
    if (!file.ok()) return file.status();
    struct flock lock = LockOfByte0(F_WRLCK);
    if (fcntl(file->descriptor.get(), F_OFD_GETLK, &lock) != 0) return ErrorOf(errno, kLocking);
    return lock.l_type != F_UNLCK;
  }

  absl::StatusOr<int64_t> FreeBytes() override {
    struct statvfs info;
    if (fstatvfs(folder_.get(), &info) != 0) return ErrorOf(errno, "measuring the free space", kReadFault);
    int64_t bytes;
    return __builtin_mul_overflow(info.f_bavail, info.f_frsize, &bytes) ? std::numeric_limits<int64_t>::max() : bytes;
  }

 private:
  static absl::Status Done(int result, const char* operation) {
    return result == 0 ? absl::OkStatus() : ErrorOf(errno, operation);
  }

  // A regular file, or an error.
  absl::StatusOr<OpenedFile> OpenFile(const std::string& name, int flags, const char* operation) {
    CASCADE_CHECK(IsName(name));
    int fd;
    do {
      fd = openat(folder_.get(), name.c_str(), flags | kOpenFlags, 0600);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) return ErrorOf(errno, operation, (flags & O_ACCMODE) == O_RDONLY ? kReadFault : StatusCode::kInternal);
    Descriptor file(fd);
    struct stat info;
    if (fstat(fd, &info) != 0) return ErrorOf(errno, operation, kReadFault);
    if (!S_ISREG(info.st_mode)) return Error(StatusCode::kFailedPrecondition, operation, "not a regular file");
    return OpenedFile{std::move(file), info.st_size};
  }

  const Descriptor folder_;
};

// Makes the folder, so that it is still there after a power loss.
absl::Status MakeFolder(const std::string& path) {
  constexpr char kMaking[] = "making the session folder";
  if (mkdir(path.c_str(), 0700) != 0) {
    if (errno == ENOENT) return Error(StatusCode::kNotFound, kMaking, "its parent is not there");
    return errno == EEXIST ? absl::OkStatus() : ErrorOf(errno, kMaking);
  }
  const Descriptor parent(open((path + "/..").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.get() >= 0 && fsync(parent.get()) == 0) return absl::OkStatus();
  const absl::Status status = ErrorOf(errno, kMaking);
  rmdir(path.c_str());  // so that the next attempt does not take it for a durable one
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Directory>> Directory::Open(const std::string& path) {
  constexpr char kOpeningFolder[] = "opening the session folder";
  if (path.empty() || path.find('\0') != std::string::npos) {
    return Error(StatusCode::kInvalidArgument, kOpeningFolder, "its name is empty or contains a zero byte");
  }
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  int fd = open(path.c_str(), kFlags);
  if (fd < 0 && errno == ENOENT) {
    if (absl::Status status = MakeFolder(path); !status.ok()) return status;
    fd = open(path.c_str(), kFlags);
  }
  if (fd < 0) return ErrorOf(errno, kOpeningFolder, kReadFault);
  Descriptor folder(fd);
  if (faccessat(fd, ".", R_OK | W_OK | X_OK, 0) != 0) return ErrorOf(errno, kOpeningFolder);
  return std::make_unique<RealDirectory>(std::move(folder));
}

}  // namespace cascade
