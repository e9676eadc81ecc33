// A session's picture, from the server to text.
#pragma once

#include <optional>
#include <string>

#include "client/client.h"

namespace cascade::client {

struct InspectOptions {
  // One head only; both empty: the average of all.
  std::optional<int32_t> layer;
  std::optional<int32_t> head;
  // Begin at the oldest token that is held instead of the session's first.
  bool zoom = false;
  bool ascii = false;
};

// Fits the picture to standard output: its width (100 columns if it is no terminal), and colours if it shows them.
// `picture` is set on success only.
grpc::Status DrawSession(Client& client, const std::string& session_id, const InspectOptions& options,
                         std::string* picture);

}  // namespace cascade::client
