// Files as the engine writes them, injectable so that faults can be tested without a broken disk. One folder is opened
// by descriptor and every name is looked up below it, so no path and no symbolic link leads out of it.
//
// Errors: messages say what was tried and the plain reason, never a name or a path. RESOURCE_EXHAUSTED: no space, quota
// or descriptor is left; PERMISSION_DENIED: no permission, or a read-only file system; DATA_LOSS: the device could not
// read, INTERNAL: it could not write; FAILED_PRECONDITION: a name is no regular file (a symbolic link is none).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cascade {

// A file being written at its end; owns its descriptor. One thread at a time. After an error nobody knows what is on
// the disk, and fsync may lie the second time, so the file must be given up: Append and Sync are FAILED_PRECONDITION.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  // All of it, or an error.
  virtual absl::Status Append(std::span<const uint8_t> bytes) = 0;
  // Makes the bytes so far durable (fdatasync); the file's name is made so by Directory::Sync.
  virtual absl::Status Sync() = 0;
  virtual int64_t size() const = 0;  // what was appended without an error, and what was there before
};

// Owns its descriptor: the file stays readable when its name is removed or replaced. Any thread.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  virtual int64_t size() const = 0;  // when it was opened
  // Fills all of `out`. OUT_OF_RANGE beyond size() or the file's end, whichever is less.
  virtual absl::Status Read(int64_t offset, std::span<uint8_t> out) = 0;
};

// A lock on a file, held until this is destroyed or the process ends, however it ends.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// Names are 1 to 255 bytes of A-Z, a-z, 0-9, '.', '_' and '-', other than "." and "..": made by us, so checked. The
// files may outlive the folder's object. Any thread.
class Directory {
 public:
  virtual ~Directory() = default;
  // The folder at `path` (symbolic links are followed: the path is the operator's), made with mode 0700, durably, if
  // only its parent exists. NOT_FOUND, INVALID_ARGUMENT (an empty path), FAILED_PRECONDITION (not a folder),
  // PERMISSION_DENIED (files cannot be made in it).
  static absl::StatusOr<std::unique_ptr<Directory>> Open(const std::string& path);

  // The regular files, in any order; those that have no name of ours are left out.
  virtual absl::StatusOr<std::vector<std::string>> List() = 0;
  virtual absl::StatusOr<std::unique_ptr<ReadableFile>> OpenRead(const std::string& name) = 0;  // NOT_FOUND
  // A new, empty file of mode 0600. ALREADY_EXISTS.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& name) = 0;
  // NOT_FOUND; FAILED_PRECONDITION when the file's size is not `size`.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> OpenAppend(const std::string& name, int64_t size) = 0;

  // Names. Each call happens wholly or not at all, and is durable after Sync.
  // A second name for a file. NOT_FOUND; ALREADY_EXISTS: nothing has changed.
  virtual absl::Status Link(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;  // replaces `to`; NOT_FOUND
  virtual absl::Status Remove(const std::string& name) = 0;                         // NOT_FOUND
  // After an error nobody knows which names changed since the last Sync are durable; it must not be tried again.
  virtual absl::Status Sync() = 0;
  virtual absl::StatusOr<bool> Exists(const std::string& name) = 0;  // whether the name is taken, by whatever

  // Locks a file, made if it is not there, for this holder alone: another lock on it, also of this process, is
  // UNAVAILABLE. A forked child shares the lock until it executes a program or ends.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& name) = 0;
  // By anybody, this process too. False if there is no such file.
  virtual absl::StatusOr<bool> IsLocked(const std::string& name) = 0;

  virtual absl::StatusOr<int64_t> FreeBytes() = 0;  // of the file system, for who is not root
};

}  // namespace cascade
