// From a checked configuration to a running engine: data folder, device, model, tokenizer, template, geometry, caches,
// sessions on the disk, engine.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "cascade/v1/cascade.pb.h"
#include "engine/base/directory.h"
#include "engine/engine.h"
#include "kernels/backend.h"
#include "server/config.h"

namespace cascade {

// Owns all of it; members are destroyed in reverse, the engine first.
struct ServingStack {
  std::unique_ptr<Directory> directory;  // null without --data-dir
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;  // may be null
  std::unique_ptr<Llama> model;
  std::unique_ptr<Vault> vault;  // null without --data-dir
  std::unique_ptr<Engine> engine;
  v1::ServerInfo info;  // sessions_free is left to the calls
};

// Opens everything and logs what it is. `on_device_fault` (may be null): EngineOptions. ExitErrors: kDevice, kModel,
// kConfig.
absl::StatusOr<std::unique_ptr<ServingStack>> BuildServingStack(const ServerConfig& config,
                                                                std::function<void(absl::Status)> on_device_fault);

}  // namespace cascade
