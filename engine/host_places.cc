#include "engine/host_places.h"

#include <utility>

namespace cascade {

HostPlaces::HostPlaces(Model& model, size_t bytes, int count) : model_(model), bytes_(bytes), count_(count) {}

std::shared_ptr<kernels::HostMemory> HostPlaces::Wrap(std::unique_ptr<kernels::HostMemory> memory) {
  return {memory.release(), [state = state_](kernels::HostMemory* freed) {
            MutexLock lock(state->mutex);
            state->free.emplace_back(freed);
            --state->taken;
            state->freed.NotifyAll();
          }};
}

std::shared_ptr<kernels::HostMemory> HostPlaces::TryTake() {
  std::unique_ptr<kernels::HostMemory> memory;
  {
    MutexLock lock(state_->mutex);
    if (count_ >= 0 && state_->taken >= count_) return nullptr;
    ++state_->taken;
    if (!state_->free.empty()) {
      memory = std::move(state_->free.back());
      state_->free.pop_back();
    }
  }
  if (memory == nullptr) {
    auto fresh = model_.AllocateHost(bytes_);
    if (!fresh.ok()) {
      MutexLock lock(state_->mutex);
      --state_->taken;
      state_->freed.NotifyAll();
      return nullptr;
    }
    memory = *std::move(fresh);
  }
  return Wrap(std::move(memory));
}

std::shared_ptr<kernels::HostMemory> HostPlaces::Take() {
  while (true) {
    if (std::shared_ptr<kernels::HostMemory> memory = TryTake()) return memory;
    MutexLock lock(state_->mutex);
    if (state_->taken == 0) return nullptr;
    state_->freed.Wait(state_->mutex);
  }
}

}  // namespace cascade
