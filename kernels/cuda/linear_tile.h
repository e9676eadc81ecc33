// Linear layers over some tens of rows: tensor cores, and still at the speed of memory. Also the kernel of
// deterministic mode, for any number of rows.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/linear_call.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

inline constexpr int kTileRows = 64;  // of x, in one pass over the weights

// Holds what blocks that share a tile leave for the last of them. One stream.
class LinearTile {
 public:
  static absl::StatusOr<std::unique_ptr<LinearTile>> Create(Stream& stream, DeviceMemory& memory);

  // At most four matrices of one format over one x: BF16 or F16, any number of rows. Columns: a multiple of 8, of 32
  // for quantised weights. A row's bits depend on that row, the weights and the device only.
  void Run(Stream& stream, TensorView x, std::span<const LinearCall> calls);

 private:
  LinearTile() = default;

  unsigned char* partials_ = nullptr;  // two of each block
  unsigned* arrivals_ = nullptr;       // [kMaxTiles], zero between launches
};

}  // namespace cascade::kernels::cuda
