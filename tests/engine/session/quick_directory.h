// A real folder for tests of durable sessions, that a test can tamper with.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/directory.h"
#include "gtest/gtest.h"

namespace cascade::test {

// Waits for no disk: syncs do nothing, as no test here takes the power away. Any thread, but for the members that are
// set by the test.
class QuickDirectory final : public Directory {
 public:
  explicit QuickDirectory(const std::string& path) {
    absl::StatusOr<std::unique_ptr<Directory>> real = Directory::Open(path);
    EXPECT_TRUE(real.ok()) << real.status();
    real_ = *std::move(real);
  }

  bool all_dead = false;                // no lock is seen, so that a server that lives seems to have ended
  bool full = false;                    // nothing that takes space works
  std::atomic<bool> lost_sync = false;  // the next file's sync fails
  std::function<void(const std::string& from, const std::string& to)> before_link;
  std::function<absl::Status(const std::string& name)> before_open;  // for reading; an error is returned
  std::function<void()> in_file_sync;
  std::function<void(std::vector<std::string>& names)> after_list;
  int refused_locks = 0;         // so many are first
  std::string* trace = nullptr;  // not null: gets a word for each change. One thread

  absl::StatusOr<std::vector<std::string>> List() override {
    absl::StatusOr<std::vector<std::string>> names = real_->List();
    if (after_list && names.ok()) after_list(*names);
    return names;
  }
  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenRead(const std::string& name) override {
    if (const auto hook = before_open) {
      if (absl::Status status = hook(name); !status.ok()) return status;
    }
    return real_->OpenRead(name);
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& name) override {
    Trace("create ");
    if (full) return Full();
    return Wrap(real_->Create(name));
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenAppend(const std::string& name, int64_t size) override {
    return Wrap(real_->OpenAppend(name, size));
  }
  absl::Status Link(const std::string& from, const std::string& to) override {
    if (const auto hook = before_link) hook(from, to);  // a copy: it may take itself away
    Trace("link ");
    return full ? Full() : real_->Link(from, to);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    Trace("rename ");
    return real_->Rename(from, to);
  }
  absl::Status Remove(const std::string& name) override {
    Trace("remove ");
    return real_->Remove(name);
  }
  absl::Status Sync() override {
    Trace("sync_folder ");
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Exists(const std::string& name) override { return real_->Exists(name); }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& name) override {
    if (refused_locks > 0 && refused_locks-- > 0) return absl::UnavailableError("another holder has it");
    return real_->Lock(name);
  }
  absl::StatusOr<bool> IsLocked(const std::string& name) override {
    if (all_dead) return false;
    return real_->IsLocked(name);
  }
  absl::StatusOr<int64_t> FreeBytes() override { return real_->FreeBytes(); }

 private:
  class File final : public WritableFile {
   public:
    File(std::unique_ptr<WritableFile> real, QuickDirectory& directory)
        : real_(std::move(real)), directory_(directory) {}
    absl::Status Append(std::span<const uint8_t> bytes) override {
      directory_.Trace("append ");
      return directory_.full ? Full() : real_->Append(bytes);
    }
    absl::Status Sync() override {
      directory_.Trace("sync ");
      if (const auto hook = directory_.in_file_sync) hook();
      return directory_.lost_sync.exchange(false) ? absl::InternalError("the device failed") : absl::OkStatus();
    }
    int64_t size() const override { return real_->size(); }

   private:
    const std::unique_ptr<WritableFile> real_;
    QuickDirectory& directory_;
  };

  void Trace(const char* word) {
    if (trace != nullptr) *trace += word;
  }
  static absl::Status Full() { return absl::ResourceExhaustedError("no space left on the device"); }
  absl::StatusOr<std::unique_ptr<WritableFile>> Wrap(absl::StatusOr<std::unique_ptr<WritableFile>> file) {
    if (!file.ok()) return file.status();
    return std::make_unique<File>(*std::move(file), *this);
  }

  std::unique_ptr<Directory> real_;
};

}  // namespace cascade::test
