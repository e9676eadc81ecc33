#include "tests/benchmarks/sessions/plain_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "tests/benchmarks/bench_sessions.h"

namespace cascade::bench {
namespace {

[[noreturn]] void Die(const std::string& path) {
  std::perror(path.c_str());
  std::exit(1);
}

int Open(const std::string& path, int flags) {
  const int file = open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (file < 0) Die(path);
  return file;
}

void WriteAll(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(file, bytes.data(), bytes.size());
    if (count <= 0) Die("write");
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

template <class Visit>
void ForEachFile(const std::string& folder, const std::string& extension, Visit visit) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file() && (extension.empty() || entry.path().extension() == extension)) visit(entry);
  }
}

}  // namespace

double WritePlainFile(const std::string& path, std::span<const std::byte> bytes) {
  const double begin = Now();
  const int file = Open(path, O_WRONLY | O_CREAT | O_TRUNC);
  WriteAll(file, bytes);
  if (fdatasync(file) != 0) Die(path);
  close(file);
  return Now() - begin;
}

double ReadPlainFile(const std::string& path, std::span<std::byte> bytes) {
  const double begin = Now();
  const int file = Open(path, O_RDONLY);
  while (!bytes.empty()) {
    const ssize_t count = read(file, bytes.data(), bytes.size());
    if (count <= 0) Die(path);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  close(file);
  return Now() - begin;
}

PlainLog::PlainLog(const std::string& path) : file_(Open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND)) {}
PlainLog::~PlainLog() { close(file_); }

double PlainLog::AppendDurably(std::span<const std::byte> bytes) {
  const double begin = Now();
  WriteAll(file_, bytes);
  if (fdatasync(file_) != 0) Die("fdatasync");
  return Now() - begin;
}

void ForgetCached(const std::string& folder, const std::string& extension) {
  ForEachFile(folder, extension, [](const std::filesystem::directory_entry& entry) {
    const int file = Open(entry.path(), O_RDONLY);
    // Only clean pages are dropped.
    if (fdatasync(file) != 0 || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) != 0) Die(entry.path());
    close(file);
  });
}

std::vector<int64_t> FileSizes(const std::string& folder, const std::string& extension) {
  std::vector<int64_t> sizes;
  ForEachFile(folder, extension, [&](const std::filesystem::directory_entry& entry) {
    sizes.push_back(static_cast<int64_t>(entry.file_size()));
  });
  return sizes;
}

}  // namespace cascade::bench
