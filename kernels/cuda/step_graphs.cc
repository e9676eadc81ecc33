#include "kernels/cuda/step_graphs.h"

#include "kernels/base/check.h"

namespace cascade::kernels::cuda {

bool StepGraphs::Replay(Stream& stream, int recording) {
  const auto found = graphs_.find(recording);
  if (found == graphs_.end()) return false;
  stream.Check("graph", cudaGraphLaunch(found->second, stream.get()));
  return true;
}

void StepGraphs::BeginRecording(Stream& stream, int recording) {
  CASCADE_CHECK(recording_ < 0);
  // Relaxed: the first launch of a kernel loads its code, which stricter modes may refuse.
  const cudaError_t result = cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeRelaxed);
  stream.Check("graph", result);
  if (result == cudaSuccess) recording_ = recording;
}

void StepGraphs::EndRecording(Stream& stream) {
  if (recording_ < 0) return;
  const int recording = recording_;
  recording_ = -1;
  cudaGraph_t graph = nullptr;
  stream.Check("graph", cudaStreamEndCapture(stream.get(), &graph));
  if (graph == nullptr) return;
  cudaGraphExec_t executable = nullptr;
  if (!stream.failed()) stream.Check("graph", cudaGraphInstantiate(&executable, graph, 0));
  cudaGraphDestroy(graph);
  if (stream.failed()) {
    if (executable != nullptr) cudaGraphExecDestroy(executable);
    return;
  }
  graphs_[recording] = executable;
  stream.Check("graph", cudaGraphLaunch(executable, stream.get()));
}

void StepGraphs::Clear() {
  for (const auto& [recording, executable] : graphs_) cudaGraphExecDestroy(executable);
  graphs_.clear();
}

}  // namespace cascade::kernels::cuda
