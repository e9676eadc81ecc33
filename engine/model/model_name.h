// What a model is called, fit for one line of a log or a table.
#pragma once

#include <string>
#include <string_view>

namespace cascade {

// A stranger's name with spaces for what would move or colour a terminal's text: controls, line ends, marks of direction.
// `name` is valid UTF-8.
std::string PrintableName(std::string_view name);

// The name of a model that has none of its own: the file's without ".gguf", the folder's, or the repository's in a cache of
// Hugging Face ("models--org--name/snapshots/..").
std::string NameOfPath(const std::string& path);

}  // namespace cascade
