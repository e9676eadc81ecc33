// The same bytes by plain calls: what the disk takes without us. Errors end the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cascade::bench {

// Seconds, each.
// A new file, its bytes durable.
double WritePlainFile(const std::string& path, std::span<const std::byte> bytes);
double ReadPlainFile(const std::string& path, std::span<std::byte> bytes);

// A file that grows by records.
class PlainLog {
 public:
  explicit PlainLog(const std::string& path);
  ~PlainLog();
  PlainLog(const PlainLog&) = delete;
  PlainLog& operator=(const PlainLog&) = delete;
  double AppendDurably(std::span<const std::byte> bytes);

 private:
  const int file_;
};

// The files below a folder (its journals or images by `extension`, "" is all) are read from the disk again.
void ForgetCached(const std::string& folder, const std::string& extension);
// Bytes of the files with that extension.
std::vector<int64_t> FileSizes(const std::string& folder, const std::string& extension);

}  // namespace cascade::bench
