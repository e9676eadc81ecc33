// Host memory for caches: a bounded number of pieces of one size, taken when they are needed and used again.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "engine/model/llama.h"
#include "kernels/base/mutex.h"

namespace cascade {

// Any thread. Pieces may outlive it.
class HostPlaces {
 public:
  // `count` pieces at most, < 0: as many as there is memory for. `model` outlives it and the pieces.
  HostPlaces(Model& model, size_t bytes, int count);

  // Null: all are taken, or there is no memory. Freed by whoever holds it last.
  std::shared_ptr<kernels::HostMemory> TryTake();
  // Waits for one; null only when there is no memory for a single one.
  std::shared_ptr<kernels::HostMemory> Take();

 private:
  struct State {
    Mutex mutex;
    CondVar freed;
    std::vector<std::unique_ptr<kernels::HostMemory>> free CASCADE_GUARDED_BY(mutex);
    int taken CASCADE_GUARDED_BY(mutex) = 0;
  };
  std::shared_ptr<kernels::HostMemory> Wrap(std::unique_ptr<kernels::HostMemory> memory);

  Model& model_;
  const size_t bytes_;
  const int count_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace cascade
