// What the program may assume about where it writes.
#pragma once

#include <string>
#include <string_view>

namespace cascade::client {

bool IsTerminal(int fd);
// A terminal, and neither NO_COLOR nor TERM=dumb says otherwise.
bool WantsColour(int fd);
// Columns of the terminal at `fd`; `otherwise` if it is none.
int TerminalColumns(int fd, int otherwise);

// Writes text of the model to standard output at once; without control characters if that is a terminal.
void PrintReply(std::string_view text);
// One line on standard error, "cascade: " before it.
void PrintError(const std::string& line);

}  // namespace cascade::client
