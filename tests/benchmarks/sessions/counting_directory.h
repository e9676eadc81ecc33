// A folder that counts what is made durable; or, to prepare a measurement quickly, makes nothing durable.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/directory.h"

namespace cascade::bench {

// Any thread. Its files must not outlive it.
class CountingDirectory final : public Directory {
 public:
  // `durable`: whether syncs are passed on.
  CountingDirectory(std::unique_ptr<Directory> real, bool durable) : real_(std::move(real)), durable_(durable) {}

  int64_t syncs() const { return syncs_.load(); }  // of files and of the folder

  absl::StatusOr<std::vector<std::string>> List() override { return real_->List(); }
  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenRead(const std::string& name) override {
    return real_->OpenRead(name);
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& name) override {
    return Wrap(real_->Create(name));
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenAppend(const std::string& name, int64_t size) override {
    return Wrap(real_->OpenAppend(name, size));
  }
  absl::Status Link(const std::string& from, const std::string& to) override { return real_->Link(from, to); }
  absl::Status Rename(const std::string& from, const std::string& to) override { return real_->Rename(from, to); }
  absl::Status Remove(const std::string& name) override { return real_->Remove(name); }
  absl::Status Sync() override { return CountSync() ? real_->Sync() : absl::OkStatus(); }
  absl::StatusOr<bool> Exists(const std::string& name) override { return real_->Exists(name); }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& name) override { return real_->Lock(name); }
  absl::StatusOr<bool> IsLocked(const std::string& name) override { return real_->IsLocked(name); }
  absl::StatusOr<int64_t> FreeBytes() override { return real_->FreeBytes(); }

 private:
  class File final : public WritableFile {
   public:
    File(std::unique_ptr<WritableFile> real, CountingDirectory& directory)
        : real_(std::move(real)), directory_(directory) {}
    absl::Status Append(std::span<const uint8_t> bytes) override { return real_->Append(bytes); }
    absl::Status Sync() override { return directory_.CountSync() ? real_->Sync() : absl::OkStatus(); }
    int64_t size() const override { return real_->size(); }

   private:
    const std::unique_ptr<WritableFile> real_;
    CountingDirectory& directory_;
  };

  bool CountSync() {
    syncs_.fetch_add(1);
    return durable_;
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> Wrap(absl::StatusOr<std::unique_ptr<WritableFile>> file) {
    if (!file.ok()) return file.status();
    return std::make_unique<File>(*std::move(file), *this);
  }

  const std::unique_ptr<Directory> real_;
  const bool durable_;
  std::atomic<int64_t> syncs_{0};
};

}  // namespace cascade::bench
