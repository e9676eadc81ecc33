#include "kernels/cuda/step_trace.h"

#include "kernels/base/check.h"

namespace cascade::kernels::cuda {

// One more than are in flight: the end of the step before is needed when a step is collected.
StepTrace::StepTrace(DeviceTrace* trace, int steps_in_flight) : trace_(trace), size_(steps_in_flight + 1) {
  CASCADE_CHECK(size_ <= kMost);
}

StepTrace::~StepTrace() {
  for (const Events& events : events_) {
    if (events.begin != nullptr) cudaEventDestroy(events.begin);
    if (events.end != nullptr) cudaEventDestroy(events.end);
  }
}

void StepTrace::Begin(Stream& stream) {
  if (trace_ == nullptr) return;
  Events& events = events_[static_cast<size_t>(begun_++ % size_)];
  if (events.begin == nullptr) {
    stream.Check("trace", cudaEventCreate(&events.begin));
    stream.Check("trace", cudaEventCreate(&events.end));
  }
  stream.Check("trace", cudaEventRecord(events.begin, stream.get()));
}

void StepTrace::End(Stream& stream) {
  if (trace_ == nullptr) return;
  stream.Check("trace", cudaEventRecord(events_[static_cast<size_t>((begun_ - 1) % size_)].end, stream.get()));
}

void StepTrace::Collect(Stream& stream) {
  if (trace_ == nullptr) return;
  CASCADE_CHECK(collected_ < begun_);
  const Events& events = events_[static_cast<size_t>(collected_ % size_)];
  float busy = 0, idle = 0;  // milliseconds
  stream.Check("trace", cudaEventElapsedTime(&busy, events.begin, events.end));
  if (collected_ > 0) {
    const Events& before = events_[static_cast<size_t>((collected_ - 1) % size_)];
    stream.Check("trace", cudaEventElapsedTime(&idle, before.end, events.begin));
  }
  ++collected_;
  ++trace_->steps;
  trace_->busy_seconds += static_cast<double>(busy) * 1e-3;
  trace_->idle_seconds += static_cast<double>(idle) * 1e-3;
}

}  // namespace cascade::kernels::cuda
