// A folder that fails on command, so that a test can let the n-th file operation fail, for every n.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/directory.h"

namespace cascade {

enum class Fault {
  kNoSpace,      // RESOURCE_EXHAUSTED: all that writes: Create, OpenAppend, Append, both Syncs, Link, Rename, Remove
  kIoError,      // INTERNAL: the same; DATA_LOSS: Read, List, OpenRead, Exists
  kShortWrite,   // RESOURCE_EXHAUSTED: Append, after a prefix of random length, shorter than the whole
  kFailedSync,   // INTERNAL: both Syncs
  kFailedRename  // INTERNAL: Rename and Link
};

// Passes all on to another folder and counts it, except FreeBytes; an operation that fails is not passed on (a short
// write's prefix is). As with a real file, one that failed is given up: Append and Sync are FAILED_PRECONDITION from
// then on. Never fails Lock or IsLocked, which have no fault that suits them. Files and locks may outlive it. Any
// thread.
class FaultyDirectory final : public Directory {
 public:
  explicit FaultyDirectory(std::unique_ptr<Directory> real, uint64_t seed = 1);
  ~FaultyDirectory() override;

  // Fails the `operation_number`-th operation from now, at least 1, or the next one after it that `fault` suits; and,
  // if `from_then_on`, every later one that it suits. Takes the place of what was asked for before.
  void FailAt(int64_t operation_number, Fault fault, bool from_then_on);
  void Heal();

  int64_t operations() const;    // since the last FailAt or Heal
  int64_t faults_fired() const;  // ever
  int64_t last_fault() const;    // number of the operation that the newest fault befell since then; 0: none
  // Ever: what nobody may try with a file of which an Append or a Sync has failed. Those again; to open it once more
  // to write; to rename it; or to link it if that has not been done before.
  int64_t uses_after_failure() const;
  int open_files() const;  // open now, for reading or writing
  int held_locks() const;  // now

  absl::StatusOr<std::vector<std::string>> List() override;
  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenRead(const std::string& name) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& name) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenAppend(const std::string& name, int64_t size) override;
  absl::Status Link(const std::string& from, const std::string& to) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& name) override;
  absl::Status Sync() override;
  absl::StatusOr<bool> Exists(const std::string& name) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& name) override;
  absl::StatusOr<bool> IsLocked(const std::string& name) override;
  absl::StatusOr<int64_t> FreeBytes() override;

  class Faults;  // shared with the files

 private:
  absl::StatusOr<std::unique_ptr<WritableFile>> Wrap(absl::StatusOr<std::unique_ptr<WritableFile>> file,
                                                     const std::string& name, bool created) const;

  const std::unique_ptr<Directory> real_;
  const std::shared_ptr<Faults> faults_;
};

}  // namespace cascade
