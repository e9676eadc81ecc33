#pragma once

#include <string>
#include <vector>

#include "client/client.h"

namespace cascade::client {

// One line per token: its id, its text, its probability and, where they were asked for, the most probable ones. Asks
// the server for the texts; without them only the ids are there.
std::string DrawLogprobs(Client& client, const std::vector<v1::TokenLogprobs>& tokens);

}  // namespace cascade::client
