// Files as the engine reads them, injectable so that faults can be tested without a disk.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace cascade {

// A file's bytes, read-only. Whoever shortens the file on disk while it is mapped makes reads beyond its new end fatal,
// so model files are replaced by renaming, never written over. Immutable; any thread.
class MappedFile {
 public:
  virtual ~MappedFile() = default;
  virtual std::span<const uint8_t> bytes() const = 0;

  // Hints about a part of bytes(); they never change what is read, and may do nothing.
  // It is about to be read from begin to end: the disk may start.
  virtual void Prefetch(std::span<const uint8_t> part) const { static_cast<void>(part); }
  // It has been read: its whole pages may leave this process's memory (not the system's page cache).
  virtual void Release(std::span<const uint8_t> part) const { static_cast<void>(part); }
};

// Any thread.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // The whole of a regular, non-empty file (symbolic links are followed). NOT_FOUND, PERMISSION_DENIED,
  // INVALID_ARGUMENT (a directory, a pipe, a device, an empty file); messages begin with the path. Never blocks on a
  // pipe.
  virtual absl::StatusOr<std::unique_ptr<MappedFile>> Map(const std::string& path) = 0;
  static FileSystem& Real();
};

}  // namespace cascade
