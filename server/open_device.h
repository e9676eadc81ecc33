// --device: which back end there is.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/device_config.h"

namespace cascade {

struct OpenedDevice {
  std::unique_ptr<kernels::Backend> backend;
  DeviceConfig config;
};

// auto: CUDA if this program has it and the machine too, else the CPU; the log says why when it could have been CUDA.
// ExitErrors: kDevice when the device that is asked for is not there, too old or does not work; kConfig.
absl::StatusOr<OpenedDevice> OpenDevice(const ServerConfig& config);

}  // namespace cascade
