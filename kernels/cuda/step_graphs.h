// Recorded steps: one CUDA graph per number of rows.
#pragma once

#include <map>

#include "kernels/cuda/stream.h"

namespace cascade::kernels::cuda {

// One thread. What is recorded must not change any argument but what is in device memory.
class StepGraphs {
 public:
  ~StepGraphs() { Clear(); }

  // Launches the recording; false when there is none.
  bool Replay(Stream& stream, int recording);
  // All launches, copies and fills until EndRecording are kept instead of run.
  void BeginRecording(Stream& stream, int recording);
  // Runs what was recorded. Nothing when nothing is being recorded. A failed recording is not kept.
  void EndRecording(Stream& stream);
  void Clear();

 private:
  std::map<int, cudaGraphExec_t> graphs_;
  int recording_ = -1;
};

}  // namespace cascade::kernels::cuda
