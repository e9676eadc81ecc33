#include "client/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "client/utf8.h"

namespace cascade::client {

bool IsTerminal(int fd) { return isatty(fd) == 1; }

bool WantsColour(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return IsTerminal(fd) && (no_color == nullptr || *no_color == '\0') && term != nullptr &&
         std::string_view(term) != "dumb";
}

int TerminalColumns(int fd, int otherwise) {
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : otherwise;
}

void PrintReply(std::string_view text) {
  static const bool terminal = IsTerminal(STDOUT_FILENO);
  const std::string shown = terminal ? WithoutControls(text) : std::string(text);
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  std::fflush(stdout);
}

void PrintError(const std::string& line) {
  std::fflush(stdout);
  std::fprintf(stderr, "cascade: %s\n", line.c_str());
}

}  // namespace cascade::client
