// Devices, streams, events, graphs and launches of cuda_runtime.h.
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <utility>

#include "tests/support/cuda_emulator/runtime_state.h"

namespace cascade::kernels::cuda::emulator {
namespace {

constexpr size_t kSharedWithoutAsking = 48 << 10;

void RunOne(Stream& stream) {
  const Work work = std::move(stream.queue.front());
  stream.queue.pop_front();
  work();
}

void RunUntil(EventState& event, int64_t target) {
  while (event.reached < target && !event.stream->queue.empty()) RunOne(*event.stream);
}

}  // namespace

State& state() {
  static State* const one = [] {
    // What is freed is kept: back ends that come and go would have the kernel clear their memory anew.
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
    return new State;
  }();
  return *one;
}

cudaError_t Fail(cudaError_t error) {
  if (error != cudaSuccess) state().last = error;
  return error;
}

cudaError_t BeginCall() {
  State& s = state();
  ++s.calls;
  if (s.sticky != cudaSuccess) return Fail(s.sticky);
  if (s.fail_after == 0 || --s.fail_after > 0) return cudaSuccess;
  if (s.fail_sticky) s.sticky = s.fail_error;
  return Fail(s.fail_error);
}

bool DisturbsCapture(bool waits) {
  bool disturbs = false;
  for (Stream* stream : state().streams) {
    if (!stream->capturing || (!waits && stream->mode == cudaStreamCaptureModeRelaxed)) continue;
    stream->invalidated = true;
    disturbs = true;
  }
  return disturbs;
}

Stream& Of(Stream* stream) { return stream == nullptr ? state().default_stream : *stream; }

void RunAll(Stream& stream) {
  while (!stream.queue.empty()) RunOne(stream);
}

void RunEverything() {
  RunAll(state().default_stream);
  for (Stream* stream : state().streams) RunAll(*stream);
}

void Enqueue(Stream* to, Work work) {
  Stream& stream = Of(to);
  if (stream.capturing) {
    stream.graph->work.push_back(std::move(work));
    return;
  }
  stream.queue.push_back(std::move(work));
  if (to == nullptr) RunAll(stream);
}

Device& device() { return state().device; }

void FailAfter(int n, cudaError_t error, bool sticky) {
  const Lock lock(state().mutex);
  state().fail_after = n;
  state().fail_error = error;
  state().fail_sticky = sticky;
}

void Heal() {
  const Lock lock(state().mutex);
  state().fail_after = 0;
  state().sticky = state().last = cudaSuccess;
}

int64_t Calls() { return state().calls; }
int64_t Launches() { return state().launches; }
size_t AllocatedBytes() { return state().allocated; }

cudaError_t Launch(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, Stream* stream,
                   std::function<void()> thread) {
  CASCADE_BEGIN_CALL();
  State& s = state();
  if (block.x == 0 || block.x > 1024 || block.y != 1 || block.z != 1) return Fail(cudaErrorInvalidConfiguration);
  if (grid.x == 0 || grid.x > 0x7FFFFFFFu || grid.y == 0 || grid.y > 65535 || grid.z == 0 || grid.z > 65535) {
    return Fail(cudaErrorInvalidConfiguration);
  }
  const auto limit = s.shared_limits.find(kernel);
  if (shared_bytes > (limit == s.shared_limits.end() ? kSharedWithoutAsking : limit->second)) {
    return Fail(cudaErrorInvalidValue);
  }
  Enqueue(stream, [=, thread = std::move(thread)] {
    ++state().launches;
    RunGrid(kernel, grid, block, shared_bytes, thread);
    CheckAllGuards();
  });
  return cudaSuccess;
}

}  // namespace cascade::kernels::cuda::emulator

using namespace cascade::kernels::cuda::emulator;

cudaError_t cudaGetLastError() {
  const Lock lock(state().mutex);
  const cudaError_t error = state().sticky != cudaSuccess ? state().sticky : state().last;
  state().last = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() {
  const Lock lock(state().mutex);
  return state().sticky != cudaSuccess ? state().sticky : state().last;
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorECCUncorrectable:
      return "uncorrectable ECC error encountered";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    default:
      return "unknown error";
  }
}
const char* cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }

cudaError_t cudaGetDeviceCount(int* count) {
  CASCADE_BEGIN_CALL();
  *count = device().count;
  return device().count == 0 ? Fail(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  CASCADE_BEGIN_CALL();
  if (index < 0 || index >= device().count) return Fail(cudaErrorInvalidDevice);
  *value = 0;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  CASCADE_BEGIN_CALL();
  if (index < 0 || index >= device().count) return Fail(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "emulated device");
  properties->major = device().major;
  properties->minor = device().minor;
  properties->multiProcessorCount = device().num_sms;
  properties->totalGlobalMem = device().memory_bytes;
  properties->sharedMemPerBlock = kSharedWithoutAsking;
  properties->sharedMemPerBlockOptin = device().shared_bytes;
  properties->sharedMemPerMultiprocessor = device().shared_bytes + 1024;
  properties->l2CacheSize = 60 << 20;
  properties->persistingL2CacheMaxSize = 30 << 20;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->maxThreadsPerBlock = 1024;
  properties->regsPerMultiprocessor = 65536;
  properties->warpSize = 32;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int index) {
  CASCADE_BEGIN_CALL();
  return index < 0 || index >= device().count ? Fail(cudaErrorInvalidDevice) : cudaSuccess;
}

cudaError_t cudaGetDevice(int* index) {
  CASCADE_BEGIN_CALL();
  *index = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  CASCADE_BEGIN_CALL();
  if (DisturbsCapture(true)) return Fail(cudaErrorStreamCaptureUnsupported);
  RunEverything();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  CASCADE_BEGIN_CALL();
  *stream = new Stream;
  state().streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(state().mutex);
  if (state().streams.erase(stream) == 0) return Fail(cudaErrorInvalidResourceHandle);
  if (state().sticky == cudaSuccess) RunAll(*stream);
  delete stream->graph;
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  CASCADE_BEGIN_CALL();
  if (DisturbsCapture(true)) return Fail(cudaErrorStreamCaptureUnsupported);
  RunAll(Of(stream));
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  CASCADE_BEGIN_CALL();
  if (Of(stream).capturing) {
    Of(stream).invalidated = true;
    return Fail(cudaErrorStreamCaptureUnsupported);
  }
  if (Of(stream).queue.empty()) return cudaSuccess;
  RunOne(Of(stream));
  return cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  CASCADE_BEGIN_CALL();
  Enqueue(stream, [event = event->state, target = event->state->recorded] { RunUntil(*event, target); });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  CASCADE_BEGIN_CALL();
  *event = new Event;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock(state().mutex);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  CASCADE_BEGIN_CALL();
  if (Of(stream).capturing) {  // on a device it would join other streams to the capture
    Of(stream).invalidated = true;
    return Fail(cudaErrorStreamCaptureUnsupported);
  }
  event->state->stream = &Of(stream);
  ++event->state->recorded;
  Enqueue(stream, [event = event->state, target = event->state->recorded] {
    event->reached = target;
    event->time = std::chrono::steady_clock::now();
  });
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  CASCADE_BEGIN_CALL();
  if (event->state->recorded > event->state->reached) RunUntil(*event->state, event->state->recorded);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  CASCADE_BEGIN_CALL();
  if (event->state->recorded == event->state->reached) return cudaSuccess;
  if (!event->state->stream->queue.empty()) RunOne(*event->state->stream);
  return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  CASCADE_BEGIN_CALL();
  if (begin->state->reached == 0 || end->state->reached == 0) return Fail(cudaErrorInvalidResourceHandle);
  *milliseconds = std::chrono::duration<float, std::milli>(end->state->time - begin->state->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  CASCADE_BEGIN_CALL();
  if (stream == nullptr || stream->capturing) return Fail(cudaErrorStreamCaptureUnsupported);
  stream->capturing = true;
  stream->invalidated = false;
  stream->mode = mode;
  stream->graph = new Graph;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  const Lock lock(state().mutex);
  // The capture ends even if the call fails.
  const std::unique_ptr<Graph> made(std::exchange(stream->graph, nullptr));
  stream->capturing = false;
  if (const cudaError_t begun = BeginCall(); begun != cudaSuccess) return begun;
  if (made == nullptr) return Fail(cudaErrorInvalidValue);
  if (stream->invalidated) return Fail(cudaErrorStreamCaptureInvalidated);
  *graph = new Graph(std::move(*made));
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  CASCADE_BEGIN_CALL();
  *status = !Of(stream).capturing    ? cudaStreamCaptureStatusNone
            : Of(stream).invalidated ? cudaStreamCaptureStatusInvalidated
                                     : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags) {
  *exec = nullptr;
  CASCADE_BEGIN_CALL();
  *exec = new GraphExec{std::make_shared<std::vector<Work>>(graph->work)};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
  CASCADE_BEGIN_CALL();
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  CASCADE_BEGIN_CALL();
  Enqueue(stream, [work = exec->work] {
    for (const Work& one : *work) one();
  });
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  CASCADE_BEGIN_CALL();
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<size_t>(value) > device().shared_bytes) return Fail(cudaErrorInvalidValue);
  state().shared_limits[kernel] = value;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* kernel, int threads,
                                                          size_t shared_bytes) {
  CASCADE_BEGIN_CALL();
  const size_t by_shared = (device().shared_bytes + 1024) / (shared_bytes + 1024);
  *blocks = static_cast<int>(std::min<size_t>({static_cast<size_t>(2048 / threads), by_shared, 32}));
  return cudaSuccess;
}
