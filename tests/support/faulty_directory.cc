#include "tests/support/faulty_directory.h"

#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/base/mutex.h"

namespace cascade {
namespace {

enum class Operation { kRead, kWrite, kAppend, kSync, kRename, kLock };  // kRead, kWrite: the others that do so

bool Suits(Fault fault, Operation operation) {
  switch (fault) {
    case Fault::kNoSpace:
      return operation != Operation::kRead && operation != Operation::kLock;
    case Fault::kIoError:
      return operation != Operation::kLock;
    case Fault::kShortWrite:
      return operation == Operation::kAppend;
    case Fault::kFailedSync:
      return operation == Operation::kSync;
    case Fault::kFailedRename:
      return operation == Operation::kRename;
  }
  CASCADE_CHECK(false);
}

absl::Status StatusOf(Fault fault, Operation operation) {
  switch (fault) {
    case Fault::kNoSpace:
    case Fault::kShortWrite:
      return absl::ResourceExhaustedError("fault on command: no space left on the device");
    case Fault::kIoError:
    case Fault::kFailedSync:
    case Fault::kFailedRename:
      break;
  }
  constexpr char kText[] = "fault on command: the device failed";
  return operation == Operation::kRead ? absl::DataLossError(kText) : absl::InternalError(kText);
}

// A file that was written here, whatever its names are.
struct Written {
  std::atomic<bool> failed = false;
  std::atomic<bool> linked = false;  // others may count on what was in it before it failed
};

}  // namespace

class FaultyDirectory::Faults {
 public:
  explicit Faults(uint64_t seed) : random_(seed) {}

  void Set(std::optional<Fault> fault, int64_t operation_number, bool from_then_on) {
    MutexLock lock(mutex_);
    operations_ = last_fault_ = 0;
    fault_ = fault;
    fires_at_ = operation_number;
    from_then_on_ = from_then_on;
  }

  // Counts an operation; the fault that befalls it, if any.
  std::optional<Fault> Count(Operation operation) {
    MutexLock lock(mutex_);
    ++operations_;
    if (!fault_ || operations_ < fires_at_ || !Suits(*fault_, operation)) return std::nullopt;
    ++fired_;
    last_fault_ = operations_;
    return from_then_on_ ? fault_ : std::exchange(fault_, std::nullopt);
  }
  // The same, for who needs only the error.
  absl::Status Begin(Operation operation) {
    const std::optional<Fault> fault = Count(operation);
    return fault ? StatusOf(*fault, operation) : absl::OkStatus();
  }

  // Less than `size`, if that is not 0.
  size_t ShortSize(size_t size) {
    MutexLock lock(mutex_);
    return size == 0 ? 0 : std::uniform_int_distribution<size_t>(0, size - 1)(random_);
  }

  int64_t operations() const {
    MutexLock lock(mutex_);
    return operations_;
  }
  int64_t fired() const {
    MutexLock lock(mutex_);
    return fired_;
  }

  int64_t last_fault() const {
    MutexLock lock(mutex_);
    return last_fault_;
  }

  // What becomes of names.
  std::shared_ptr<Written> Opened(const std::string& name, bool created) {
    MutexLock lock(mutex_);
    std::shared_ptr<Written>& file = names_[name];
    if (created || file == nullptr) file = std::make_shared<Written>();
    return file;
  }
  void CheckUse(const std::string& name, bool link) {
    MutexLock lock(mutex_);
    const auto found = names_.find(name);
    if (found == names_.end()) return;
    if (found->second->failed && !(link && found->second->linked)) ++uses_after_failure;
  }
  void Linked(const std::string& from, const std::string& to) {
    MutexLock lock(mutex_);
    const auto found = names_.find(from);
    if (found == names_.end()) return;
    found->second->linked = true;
    names_.insert_or_assign(to, std::shared_ptr<Written>(found->second));
  }
  void Removed(const std::string& name) {
    MutexLock lock(mutex_);
    names_.erase(name);
  }

  std::atomic<int> open_files = 0;
  std::atomic<int> held_locks = 0;
  std::atomic<int64_t> uses_after_failure = 0;

 private:
  mutable Mutex mutex_;
  int64_t operations_ CASCADE_GUARDED_BY(mutex_) = 0;
  int64_t fired_ CASCADE_GUARDED_BY(mutex_) = 0;
  int64_t last_fault_ CASCADE_GUARDED_BY(mutex_) = 0;
  std::optional<Fault> fault_ CASCADE_GUARDED_BY(mutex_);  // armed
  int64_t fires_at_ CASCADE_GUARDED_BY(mutex_) = 0;
  bool from_then_on_ CASCADE_GUARDED_BY(mutex_) = false;
  std::mt19937_64 random_ CASCADE_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<Written>> names_ CASCADE_GUARDED_BY(mutex_);
};

namespace {

using FaultsPtr = std::shared_ptr<FaultyDirectory::Faults>;

// Counts its owner while it lives.
class Counted {
 public:
  explicit Counted(std::atomic<int>& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::atomic<int>& count_;
};

class FaultyWritableFile final : public WritableFile {
 public:
  FaultyWritableFile(std::unique_ptr<WritableFile> real, std::shared_ptr<Written> file, FaultsPtr faults)
      : faults_(std::move(faults)),
        counted_(faults_->open_files),
        file_(std::move(file)),
        real_(std::move(real)),
        size_(real_->size()) {}

  absl::Status Append(std::span<const uint8_t> bytes) override {
    const std::optional<Fault> fault = faults_->Count(Operation::kAppend);
    if (absl::Status status = CheckNotFailed(); !status.ok()) return status;
    absl::Status status = fault ? StatusOf(*fault, Operation::kAppend) : real_->Append(bytes);
    if (fault == Fault::kShortWrite) {
      const absl::Status prefix = real_->Append(bytes.first(faults_->ShortSize(bytes.size())));
      if (!prefix.ok()) status = prefix;
    }
    if (status.ok()) size_ += static_cast<int64_t>(bytes.size());
    file_->failed = !status.ok();
    return status;
  }
  absl::Status Sync() override {
    absl::Status status = faults_->Begin(Operation::kSync);
    if (absl::Status failed = CheckNotFailed(); !failed.ok()) return failed;
    if (status.ok()) status = real_->Sync();
    file_->failed = !status.ok();
    return status;
  }
  int64_t size() const override { return size_; }

 private:
  absl::Status CheckNotFailed() {
    if (!file_->failed) return absl::OkStatus();
    ++faults_->uses_after_failure;
    return absl::FailedPreconditionError("a file is used that failed before");
  }

  const FaultsPtr faults_;
  const Counted counted_;
  const std::shared_ptr<Written> file_;
  const std::unique_ptr<WritableFile> real_;  // closed before it counts as closed
  int64_t size_;
};

class FaultyReadableFile final : public ReadableFile {
 public:
  FaultyReadableFile(std::unique_ptr<ReadableFile> real, FaultsPtr faults)
      : faults_(std::move(faults)), counted_(faults_->open_files), real_(std::move(real)) {}

  int64_t size() const override { return real_->size(); }
  absl::Status Read(int64_t offset, std::span<uint8_t> out) override {
    if (absl::Status status = faults_->Begin(Operation::kRead); !status.ok()) return status;
    return real_->Read(offset, out);
  }

 private:
  const FaultsPtr faults_;
  const Counted counted_;
  const std::unique_ptr<ReadableFile> real_;
};

class CountedLock final : public FileLock {
 public:
  CountedLock(std::unique_ptr<FileLock> real, FaultsPtr faults)
      : faults_(std::move(faults)), counted_(faults_->held_locks), real_(std::move(real)) {}

 private:
  const FaultsPtr faults_;
  const Counted counted_;
  const std::unique_ptr<FileLock> real_;
};

}  // namespace

FaultyDirectory::FaultyDirectory(std::unique_ptr<Directory> real, uint64_t seed)
    : real_(std::move(real)), faults_(std::make_shared<Faults>(seed)) {}

FaultyDirectory::~FaultyDirectory() = default;

void FaultyDirectory::FailAt(int64_t operation_number, Fault fault, bool from_then_on) {
  CASCADE_CHECK(operation_number >= 1);
  faults_->Set(fault, operation_number, from_then_on);
}

void FaultyDirectory::Heal() { faults_->Set(std::nullopt, 0, false); }

int64_t FaultyDirectory::operations() const { return faults_->operations(); }
int64_t FaultyDirectory::faults_fired() const { return faults_->fired(); }
int64_t FaultyDirectory::last_fault() const { return faults_->last_fault(); }
int64_t FaultyDirectory::uses_after_failure() const { return faults_->uses_after_failure; }
int FaultyDirectory::open_files() const { return faults_->open_files; }
int FaultyDirectory::held_locks() const { return faults_->held_locks; }

absl::StatusOr<std::vector<std::string>> FaultyDirectory::List() {
  if (absl::Status status = faults_->Begin(Operation::kRead); !status.ok()) return status;
  return real_->List();
}

absl::StatusOr<std::unique_ptr<ReadableFile>> FaultyDirectory::OpenRead(const std::string& name) {
  if (absl::Status status = faults_->Begin(Operation::kRead); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<ReadableFile>> file = real_->OpenRead(name);
  if (!file.ok()) return file.status();
  return std::make_unique<FaultyReadableFile>(*std::move(file), faults_);
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultyDirectory::Create(const std::string& name) {
  if (absl::Status status = faults_->Begin(Operation::kWrite); !status.ok()) return status;
  return Wrap(real_->Create(name), name, /*created=*/true);
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultyDirectory::OpenAppend(const std::string& name, int64_t size) {
  faults_->CheckUse(name, /*link=*/false);
  if (absl::Status status = faults_->Begin(Operation::kWrite); !status.ok()) return status;
  return Wrap(real_->OpenAppend(name, size), name, /*created=*/false);
}

absl::Status FaultyDirectory::Link(const std::string& from, const std::string& to) {
  faults_->CheckUse(from, /*link=*/true);
  absl::Status status = faults_->Begin(Operation::kRename);
  if (status.ok()) status = real_->Link(from, to);
  if (status.ok()) faults_->Linked(from, to);
  return status;
}

absl::Status FaultyDirectory::Rename(const std::string& from, const std::string& to) {
  faults_->CheckUse(from, /*link=*/false);
  absl::Status status = faults_->Begin(Operation::kRename);
  if (status.ok()) status = real_->Rename(from, to);
  if (!status.ok()) return status;
  faults_->Linked(from, to);
  faults_->Removed(from);
  return status;
}

absl::Status FaultyDirectory::Remove(const std::string& name) {
  absl::Status status = faults_->Begin(Operation::kWrite);
  if (status.ok()) status = real_->Remove(name);
  if (status.ok()) faults_->Removed(name);
  return status;
}

absl::Status FaultyDirectory::Sync() {
  if (absl::Status status = faults_->Begin(Operation::kSync); !status.ok()) return status;
  return real_->Sync();
}

absl::StatusOr<bool> FaultyDirectory::Exists(const std::string& name) {
  if (absl::Status status = faults_->Begin(Operation::kRead); !status.ok()) return status;
  return real_->Exists(name);
}

absl::StatusOr<std::unique_ptr<FileLock>> FaultyDirectory::Lock(const std::string& name) {
  faults_->Count(Operation::kLock);
  absl::StatusOr<std::unique_ptr<FileLock>> lock = real_->Lock(name);
  if (!lock.ok()) return lock.status();
  return std::make_unique<CountedLock>(*std::move(lock), faults_);
}

absl::StatusOr<bool> FaultyDirectory::IsLocked(const std::string& name) {
  faults_->Count(Operation::kLock);
  return real_->IsLocked(name);
}

absl::StatusOr<int64_t> FaultyDirectory::FreeBytes() { return real_->FreeBytes(); }

absl::StatusOr<std::unique_ptr<WritableFile>> FaultyDirectory::Wrap(absl::StatusOr<std::unique_ptr<WritableFile>> file,
                                                                    const std::string& name, bool created) const {
  if (!file.ok()) return file.status();
  return std::make_unique<FaultyWritableFile>(*std::move(file), faults_->Opened(name, created), faults_);
}

}  // namespace cascade
