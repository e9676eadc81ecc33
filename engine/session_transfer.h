// Sessions as streams of bytes, to go on elsewhere.
//
// A head - magic, version, size, then a journal's segment of one record (engine/session/journal_record.h) with the
// session's state and its last ids - and an image (engine/cache/cache_image.h) that has seen the tokens before those.
// Without a history the size is that of the image and less than a stride of ids, whatever the session has seen. All of
// it is sealed with the server's key: another server must have the same one.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/mover.h"
#include "engine/session/session_store.h"

namespace cascade {

// What both directions need; all of it outlives the imports.
struct TransferContext {
  const EngineOptions& options;
  Vault& vault;
  Model& model;
  Mover& mover;
  SessionStore& sessions;
};

// See Engine::ExportSession and Engine::ImportSession.
absl::StatusOr<SessionExport> Export(const TransferContext& context, const std::string& id, bool with_history);
std::unique_ptr<SessionImport> BeginImport(const TransferContext& context);

}  // namespace cascade
