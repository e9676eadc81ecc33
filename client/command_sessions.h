// What the files of cascade sessions share.
#pragma once

#include <string>

#include "client/command.h"

namespace cascade::client {

// park, rewind, export, import.
void AddSessionMoves(CLI::App& sessions, Command& chosen);

// --durability: none, journal or image.
void AddDurability(CLI::App& command, std::string& value);
// Of such a value; "": unspecified.
v1::Durability ParseDurability(const std::string& name);

}  // namespace cascade::client
