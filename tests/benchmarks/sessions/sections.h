// The parts of session_bench. Each makes folders of its own below SessionOptions::data_dir, and prints its figures.
#pragma once

#include <cstddef>
#include <string>

#include "engine/cache/cascade_geometry.h"
#include "tests/benchmarks/sessions/session_options.h"

namespace cascade::bench {

// What a model without arithmetic is made as large as.
struct SlotSizes {
  CascadeGeometry geometry;
  size_t slot_bytes = 0;
  size_t score_bytes = 0;
};

// Without arithmetic.
void MeasureImageBytes(const SessionOptions& options, const SlotSizes& sizes);
void MeasureCommits(const SessionOptions& options, const SlotSizes& sizes);
void MeasureStart(const SessionOptions& options, const SlotSizes& sizes);
// Forks, so no other thread may run.
void MeasureRecovery(const SessionOptions& options, const SlotSizes& sizes);
// With the real model.
void MeasureParking(const SessionOptions& options);
void MeasureNeighbours(const SessionOptions& options);

// A folder that goes with this.
class ScratchFolder {
 public:
  explicit ScratchFolder(const SessionOptions& options);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::string Path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace cascade::bench
